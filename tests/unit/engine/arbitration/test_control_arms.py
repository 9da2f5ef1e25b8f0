import math
from collections import Counter

import pytest

from services.engine.arbitration.arms import arm_of

SHARES = {"random_eligible": 0.05, "hold_out": 0.02, "no_levers": 0.1, "eligibility_only": 0.001}
CUSTOMERS = [f"customer-{number}" for number in range(100_000)]


def arms(shares, playbook="retail", customers=CUSTOMERS):
    return {customer: arm_of(shares, playbook, customer)[0] for customer in customers}


def test_arms_take_their_shares_of_customers():
    counts = Counter(arms(SHARES).values())
    for arm, share in {**SHARES, "": 1 - sum(SHARES.values())}.items():
        spread = math.sqrt(len(CUSTOMERS) * share * (1 - share))
        assert abs(counts[arm] - len(CUSTOMERS) * share) < 4 * spread
    assert set(counts) == {*SHARES, ""}


def test_a_customer_comes_with_the_share_of_the_arm():
    found = {arm_of(SHARES, "retail", customer) for customer in CUSTOMERS[:10_000]}
    assert found == {*SHARES.items(), ("", 0.0)}


def test_without_arms_nobody_is_in_one():
    assert arm_of({}, "retail", "c") == ("", 0.0)


def test_an_arm_of_no_share_has_no_customers():
    assert set(arms({"a": 0.0, "b": 0.5, "c": 0.0}).values()) == {"b", ""}


def test_the_order_in_which_arms_are_written_does_not_matter():
    some = CUSTOMERS[:5_000]
    assert arms(dict(reversed(SHARES.items())), customers=some) == arms(SHARES, customers=some)


def test_a_changed_share_moves_customers_only_at_the_edges_from_its_arm_on():
    before, after = arms(SHARES), arms({**SHARES, "no_levers": 0.11})
    moved = {(before[customer], after[customer]) for customer in CUSTOMERS} - {
        (arm, arm) for arm in before.values()
    }
    assert moved == {("random_eligible", "no_levers"), ("", "random_eligible")}
    share = sum(before[customer] != after[customer] for customer in CUSTOMERS) / len(CUSTOMERS)
    assert share == pytest.approx(0.02, abs=0.002)


def test_arms_of_two_playbooks_are_independent():
    halves = {"hold_out": 0.5}
    retail, service = arms(halves), arms(halves, "service")
    both = sum(retail[customer] == service[customer] == "hold_out" for customer in CUSTOMERS)
    assert both / len(CUSTOMERS) == pytest.approx(0.25, abs=0.006)
