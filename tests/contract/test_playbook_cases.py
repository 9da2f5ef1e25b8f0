"""Cases of playbooks, through the real services: what passes, what fails and why, what is refused."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from services.cli.__main__ import main
from services.cli.cases import schema
from services.cli.cases.references import BUILT_IN_RULES
from tests.playbooks import SHOP, write_playbook

ROOT = Path(__file__).parents[2]
ANNA = {
    "identities": {"email": "anna@example.org"},
    "attributes": {"age": 30},
    "consents": {"marketing": {"email": "granted"}},
}
MAILED = {
    "case": "anna is mailed",
    "request": {"customer": "anna", "action_ids": ["sale"]},
    "expect": {"actions": ["sale/mail"]},
}
CHILD = {
    "case": "a child is not",
    "near_miss": True,
    "world": {"customers": {"anna": {"attributes": {"age": 12}}}},
    "request": {"customer": "anna", "action_ids": ["sale"]},
    "expect": {"actions": [], "removed": {"sale": "adult"}, "reasons": "NOT_ELIGIBLE"},
}
CLICKED = {
    "case": "who clicked is not mailed again",
    "near_miss": True,
    "world": {
        "customers": {
            "anna": {"events+": [{"type": "clicked", "at": "1d ago", "attributes": {"offer": "sale"}}]}
        }
    },
    "request": {"customer": "anna", "action_ids": ["sale"]},
    "expect": {"actions": [], "removed": {"sale": "not_clicked_yet"}},
}
WORD = {"type": "string"}


@pytest.fixture
def shop(tmp_path):
    """Write a playbook with one file of cases; ``changes`` go to the playbook, ``text`` is the file's."""

    def write(*cases, changes=(), text=None, name="sale", **world):
        folder = write_playbook(tmp_path / "shop", *changes)
        (folder / "cases").mkdir(exist_ok=True)
        data = {
            "situation": f"A {name} is on",
            "now": "2025-03-10T10:00:00+01:00",
            "world": {"customers": {"anna": ANNA}, "scores": {"default": 0.1, "sale": 0.4}} | world,
            "cases": list(cases),
        }
        text = yaml.safe_dump(data, sort_keys=False) if text is None else text
        (folder / "cases" / f"{name}.yaml").write_text(text, encoding="utf-8")
        return folder

    return write


def case(name, world=(), asked=None, **expect):
    """Return a case that asks about anna and the sale, unless ``asked`` says otherwise."""
    request = {"customer": "anna", **({"action_ids": ["sale"]} if asked is None else asked)}
    return {"case": name, "world": dict(world), "request": request, "expect": expect}


def different(**changes):
    """Return a world in which anna is different."""
    return {"customers": {"anna": changes}}


def ran(capsys, *arguments):
    """Run ``tact playbook test``; return its exit code and its lines."""
    code = main(["playbook", "test", *map(str, arguments)])
    return code, capsys.readouterr().out.splitlines()


def passed(capsys, *arguments):
    code, lines = ran(capsys, *arguments)
    assert code == 0, "\n".join(lines)
    return lines


def failed(capsys, *arguments):
    code, lines = ran(capsys, *arguments)
    assert code == 1, "\n".join(lines)
    return lines


def problems(capsys, folder):
    """Return the lines of ``tact playbook check``, without the folder's name."""
    assert main(["playbook", "check", str(folder)]) == 1
    return [line.removeprefix(f"{folder}/") for line in capsys.readouterr().err.splitlines()]


def line_of(folder, text, name="sale"):
    """Return the number of the first line of a file of cases that holds a text."""
    lines = (folder / "cases" / f"{name}.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def test_cases_that_are_as_expected_pass(shop, capsys):
    folder = shop(MAILED, CHILD, CLICKED)
    assert passed(capsys, folder) == ["shop: A sale is on: 3 of 3 passed", "1 situation, 3 cases"]


def test_several_playbooks_are_added_up(shop, capsys):
    shop(MAILED, CHILD)
    folder = shop(CLICKED, name="clearance")
    lines = passed(capsys, folder, folder)
    assert lines[-1] == "4 situations, 6 cases"


def test_one_failing_case_fails_the_run_and_is_named_by_its_line(shop, capsys):
    folder = shop(MAILED, CHILD, CLICKED | {"world": {}})
    lines = failed(capsys, folder)
    assert lines[0] == "shop: A sale is on: 2 of 3 passed"
    line = line_of(folder, CLICKED["case"])
    assert lines[1] == f'  {folder}/cases/sale.yaml:{line}: "{CLICKED["case"]}" fails'
    assert lines[-1] == "1 situation, 3 cases, 1 failed"


def test_an_expected_action_that_is_missing_is_told_with_stage_rule_sentence_and_values(shop, capsys):
    folder = shop(MAILED | {"world": different(attributes={"age": 12})}, CLICKED)
    lines = [line.strip() for line in failed(capsys, folder)]
    told = lines.index("actions: expected sale/mail, got nothing")
    assert lines[told + 1 : told + 4] == [
        "sale/mail was removed at eligibility by adult: Offers are for adults.",
        "it read profile.age = 12",
        "the answer says NOT_ELIGIBLE: Offers are for adults. (2 candidates)",
    ]


def test_a_candidate_that_lost_is_told_with_its_worth(shop, capsys):
    folder = shop(MAILED | {"world": {"scores": {"sale": 0.001}}}, CLICKED)
    told = "sale/mail was not chosen: priority -0.0055 (propensity 0.001, value 4.5, cost 0.01)"
    assert f"      {told}; doing nothing was worth 0" in failed(capsys, folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"request": {"customer": "anna", "groups": ["notices"]}}, "the request's groups leave it out"),
        ({"now": "2025-04-10T10:00:00+01:00"}, "it is not live at 2025-04-10 10:00+01:00"),
        ({"request": {"customer": {"email": "nobody@example.org"}}}, "nothing was considered"),
    ],
)
def test_an_action_that_was_no_candidate_is_told_why(shop, capsys, changes, told):
    folder = shop(MAILED | changes, CLICKED)
    wanted = f"      sale/mail was no candidate: {told}"
    assert wanted in failed(capsys, folder)


def test_values_are_told_with_their_source_and_age_and_factors_with_what_they_read(shop, capsys):
    told = {"value": 12, "source": "register", "recorded": "3d ago"}
    weight = {"name": "gold", "text": "Gold.", "when": "profile.tier == 'gold'", "factor": 0.0}
    lever = {"name": "push", "text": "Push.", "factor": 2.5}
    folder = shop(
        case("young", different(attributes={"age": told}), actions=["sale"]),
        case("worthless", different(attributes={"tier": "gold"}), actions=["sale"]),
        CHILD,
        changes=[("policies", "weights", [weight]), ("policies", "levers", [lever])],
    )
    lines = {line.strip() for line in failed(capsys, folder)}
    assert lines >= {
        "it read profile.age = 12 (from register, 3 days old)",
        'weight gold x 0: Gold.; it read profile.tier = "gold"',
        "lever push x 2.5: Push.",
    }


def test_an_action_that_nobody_expected_is_told_with_its_worth(shop, capsys):
    folder = shop(case("silence", actions=[]), CLICKED)
    lines = failed(capsys, folder)
    assert "    actions: expected nothing, got sale/mail" in lines
    assert any("sale/mail was chosen at rank 1: priority 1.79" in line for line in lines)


@pytest.mark.parametrize(
    ("expect", "told"),
    [
        ({"actions": [{"action": "sale", "channel": "push"}]}, 'channel: expected "push", got "email"'),
        ({"actions": [{"action": "sale", "priority": 1.5}]}, "priority: expected 1.5, got 1.79"),
        ({"actions": [{"action": "sale", "propensity": None}]}, "propensity: expected nothing, got 0.4"),
        ({"actions": [{"action": "sale", "value": 5}]}, "value: expected 5, got 4.5"),
        ({"actions": [{"action": "sale", "cost": 0}]}, "cost: expected 0, got 0.01"),
        ({"actions": [{"action": "sale", "selection_probability": 0.5}]}, "expected 0.5, got 1"),
        ({"actions": [{"action": "sale", "device": "phone"}]}, 'device: expected "phone", got nothing'),
        ({"actions": [{"action": "sale", "recipient": "actor"}]}, 'expected "actor", got "customer"'),
        (
            {"actions": [{"action": "sale", "not_before": "in 2h"}]},
            "not_before: expected 2025-03-10 12:00+01:00, got now",
        ),
        ({"actions": [{"action": "sale", "expires": None}]}, "got 2025-03-31 23:00+01:00"),
        ({"actions": [{"action": "sale", "content": {"headline": "X"}}]}, 'expected "X", got "Sale"'),
        ({"actions": [{"action": "sale", "reasons": "LEVER"}]}, "expected a reason LEVER, got LIKELY ("),
        ({"actions": [{"action": "sale", "says": "a bird"}]}, 'expected a reason that says "a bird", got'),
        (
            {"actions": ["sale"], "reasons": "NO_CONSENT"},
            "reasons: expected a reason NO_CONSENT, got nothing",
        ),
        ({"removed": {"sale/mail": "refused"}}, "removed: expected sale/mail to be removed by refused"),
        ({"removed": {"sale/note": {"stage": "place"}}}, "expected sale/note to be removed at place"),
        ({"removed": {"sale/note": {"says": "a bird"}}}, "expected sale/note to be removed, saying 'a bird'"),
        (
            {"removed": {"recall": "refused"}},
            "recall was no candidate: the request's action_ids leave it out",
        ),
        ({"served_by": "RULES"}, "served_by: expected RULES, got MODEL"),
        ({"degradations": ["features"]}, "degradations: expected features, got nothing"),
        ({"record": {"control_arm_share": 0.5}}, "record control_arm_share: expected 0.5, got 0"),
        ({"record": {"profile.attributes[age]": None}}, "record profile.attributes[age]: expected nothing"),
        ({"record": {"candidates[sale/mail].prior": 0.5}}, "expected 0.5, got 0"),
        ({"never_logged": "sale"}, 'the log record holds "sale"'),
        ({"never_stored": "anna@example.org"}, 'profile.sqlite-wal holds "anna@example.org"'),
    ],
)
def test_every_expectation_can_fail(shop, capsys, expect, told):
    folder = shop(case("wrong", **expect), CHILD)
    lines = failed(capsys, folder)
    assert lines[-1] == "1 situation, 2 cases, 1 failed"
    assert any(told in line for line in lines), "\n".join(lines)


def test_a_request_that_the_gateway_refuses_fails_its_case_only(shop, capsys):
    half = {"context": {"location": {"latitude": 3}}}
    lines = failed(capsys, shop(case("half", asked=half, served_by="MODEL"), CHILD))
    assert lines[-1] == "1 situation, 2 cases, 1 failed"
    assert any("the gateway refused the request: INVALID_ARGUMENT" in line for line in lines)


def test_a_situation_needs_a_near_miss(shop, capsys):
    folder = shop(MAILED)
    assert failed(capsys, folder)[-2:] == [
        f'{folder}/cases/sale.yaml: "A sale is on" lacks a near miss',
        "1 situation, 1 case, 1 situation without a near miss",
    ]


def test_a_playbook_without_cases_fails(tmp_path, capsys):
    folder = write_playbook(tmp_path / "shop")
    assert failed(capsys, folder) == [f"{folder}: there are no cases", "0 situations, 0 cases"]
    assert main(["playbook", "check", str(folder)]) == 0


def test_only_runs_the_cases_and_situations_of_that_name(shop, capsys):
    shop(MAILED, CHILD)
    folder = shop(CLICKED, name="clearance")
    assert passed(capsys, folder, "--only", "CHILD")[-1] == "1 situation, 1 case"
    assert passed(capsys, folder, "--only", "clearance")[-1] == "1 situation, 1 case"
    assert main(["playbook", "test", str(folder), "--only", "a bird"]) == 1
    assert 'no case or situation is called anything with "a bird"' in capsys.readouterr().err


def test_cases_without_a_dependency_say_what_is_left(shop, capsys):
    def without(*down, priors=None, **expect):
        world = {"down": list(down)} | ({"priors": priors} if priors else {})
        named = f"{down} {priors}"
        return case(named, world, {"max_actions": 2}, degradations=list(down), **expect)

    priors = {"offers": 0.2, "default": 0.1}
    usual = [{"action": "sale", "treatment": "mail", "propensity": 0.2}]
    folder = shop(
        without(actions=["recall", "sale"], served_by="MODEL"),
        without("scoring", priors=priors, actions=["recall", *usual], served_by="PRIORS"),
        without("scoring", actions=["recall"], served_by="RULES", removed={"sale/mail": "no_propensity"}),
        without("features", priors=priors, actions=["recall"], served_by="PRIORS"),
        without("profile", actions=["recall"], removed={"sale": {"rule": "adult", "says": "missing"}}),
        CHILD,
    )
    passed(capsys, folder)


def test_scores_are_those_of_each_action(shop, capsys):
    expected = [{"action": "recall", "propensity": 0.1}, {"action": "sale", "propensity": 0.4}]
    passed(capsys, shop(case("both", asked={"max_actions": 2}, actions=expected), CHILD))


def test_a_case_changes_its_world_and_no_other(shop, capsys):
    by_mail = {"customer": {"email": "anna@example.org"}}
    without = different(consents={"marketing": None}, identities={"email": None})
    folder = shop(
        case("unpermitted", without, removed={"sale": "not_given"}),
        case("unknown", without, by_mail, actions=[], reasons="UNKNOWN_CUSTOMER"),
        case("known", asked=by_mail, actions=["recall"]),
        MAILED,
        CHILD,
    )
    passed(capsys, folder)


def test_consents_expire_and_are_withdrawn_at_their_times(shop, capsys):
    def said(**consent):
        return different(consents={"marketing": {"email": consent}})

    folder = shop(
        case("over", said(state="granted", expires="now"), removed={"sale/mail": "expired"}),
        case("almost over", said(state="granted", expires="in 1m"), actions=["sale"]),
        case("withdrawn", said(state="withdrawn", recorded="1m ago"), removed={"sale/mail": "refused"}),
        CHILD,
    )
    passed(capsys, folder)


def test_what_happens_later_is_not_known_yet(shop, capsys):
    def clicked(at):
        event = {"type": "clicked", "at": at, "attributes": {"offer": "sale"}}
        return different(**{"events+": [event]})

    folder = shop(
        case("later", clicked("in 2d"), actions=["sale"]),
        case("now", clicked("now"), actions=["sale"]),
        case("before", clicked("1d 2h ago"), actions=[]),
        case("on a day", clicked("2025-03-09T10:00:00Z"), actions=[]),
        CHILD,
    )
    passed(capsys, folder)


def test_cases_live_in_their_own_time(shop, capsys):
    event = {"type": "clicked", "at": "1d ago", "attributes": {"offer": "recall"}}
    world = different(events=[event], consents={"service": {"email": "granted"}})
    record = {"response.explanation.features[orders_30d].value": 0}
    late = case("late", world, {"action_ids": ["recall"]}, actions=["recall"], record=record)
    passed(capsys, shop(late | {"now": "2099-03-10T10:00:00+01:00"}, CHILD))


BORROWED = [
    ("profile", "attributes", "employer", WORD | {"provenance": "borrowed", "max_age": "1h"}),
    ("profile", "attributes", "child", WORD | {"consent": "family"}),
    ("playbook", "purposes", "family", {"use": "data"}),
    (
        "policies",
        "suppression",
        [
            {"name": "colleague", "text": "Not to colleagues.", "when": "profile.employer.startsWith('Ini')"},
            {"name": "parent", "text": "Not to parents.", "when": "known.profile.child"},
        ],
    ),
]


def test_borrowed_and_unpermitted_values_decide_as_they_may_and_are_logged_nowhere(shop, capsys):
    def employed(recorded):
        return different(attributes={"employer": {"value": "Initech", "recorded": recorded}})

    granted = {"consents": {"family": "granted"}}
    parent = {"attributes": {"employer": "other", "child": "Bartholomew"}}
    other = different(attributes={"employer": "other"})
    logged = {"profile.attributes[child].value": "Bartholomew"}
    folder = shop(
        case("fresh", employed("59m ago"), removed={"sale": "colleague"}, never_stored="Initech"),
        case("stale", employed("1h ago"), removed={"sale": {"rule": "colleague", "says": "missing"}}),
        case("private", different(**parent), actions=["sale"], never_logged="Bartholomew"),
        case("permitted", different(**parent, **granted), removed={"sale": "parent"}, record=logged),
        CHILD,
        # The profile service lets go of borrowed values as its time goes on.
        case("earlier", other, actions=["sale"]) | {"now": "2025-03-05T10:00:00+01:00"},
        case("later", other, actions=["sale"]) | {"now": "2025-03-15T10:00:00+01:00"},
        changes=BORROWED,
    )
    passed(capsys, folder)


STATED = [
    ("playbook", "purposes", "insight", {"use": "data"}),
    ("events", "events", "order", "consent", "insight"),
    *(
        ("features", "features", name, definition)
        for name, definition in {
            "rated": {
                "kind": "last",
                "event": "order",
                "attribute": "rating",
                "max_age": "1d",
                "default": 41,
            },
            "taste": {"kind": "affinity", "event": "order", "by": "shop", "to": "season", "default": 42},
            "doubled": {"kind": "expression", "expression": "feature.rated * 2.0", "default": 43},
            "tasted": {"kind": "expression", "expression": "feature.taste * feature.doubled", "default": 44},
            "asked": {
                "kind": "expression",
                "expression": "known.feature.rated || feature.clicks > 0.0 ? 45.0 : 46.0",
            },
            "clicks": {"kind": "count", "event": "clicked"},
        }.items()
    ),
    (
        "policies",
        "applicability",
        [
            {
                "name": "unseen",
                "text": "Nothing is known.",
                "when": " && ".join(
                    f"!known.feature.{n}" for n in ("rated", "taste", "doubled", "tasted", "asked")
                ),
            }
        ],
    ),
]


def test_a_default_never_stands_in_for_what_is_not_permitted(shop, capsys):
    order = {"type": "order", "at": "2h ago", "attributes": {"rating": 7.0, "shop": "north"}}
    old = {"type": "order", "at": "2d ago", "attributes": {"rating": 7.0, "shop": "north"}}
    granted = {"marketing": {"email": "granted"}, "insight": "granted"}
    values = "response.explanation.features"
    names = ("rated", "doubled", "asked")
    unseen = {f"{values}[{name}].value": None for name in names}

    def seen(*numbers, **more):
        told = {f"{values}[{n}].value": number for n, number in zip(names, numbers, strict=True)}
        return {"removed": {"sale": "unseen"}, "record": told | more}

    folder = shop(
        case("not permitted", different(events=[order]), actions=["sale"], record=unseen),
        case("not permitted, nothing there", actions=["sale"], record=unseen),
        case("not permitted, too old", different(events=[old]), actions=["sale"], record=unseen),
        case("nothing there", different(consents=granted), **seen(41, 82, 45)),
        case("fresh", different(consents=granted, events=[order]), **seen(7, 14, 45)),
        case(
            "too old",
            different(consents=granted, events=[old]),
            **seen(41, 82, 45, **{f"{values}[rated].age": "172800s"}),
        ),
        CHILD,
        changes=STATED,
    )
    passed(capsys, folder)


def test_customers_are_in_the_arm_that_a_case_wants(shop, capsys):
    measured = {"control_arm": "no_levers", "record": {"control_arm_share": 0.05}}
    folder = shop(
        case("plain", control_arm="", actions=["sale"]),
        case("held out", different(arm="hold_out"), removed={"sale/mail": "hold_out"}),
        case("measured", different(arm="no_levers"), **measured),
        CHILD,
        changes=[("playbook", "control_arms", {"hold_out": 0.45, "no_levers": 0.05})],
    )
    passed(capsys, folder)


def test_exploration_draws_what_a_case_wants_and_the_best_without(shop, capsys):
    # Doing nothing comes before the sale by its id, so it has the points below one half.
    drawn = [{"action": "sale", "selection_probability": 0.5}]
    folder = shop(
        # Doing nothing drawn after what has to be said shows in no reason.
        *(case(f"{n} at most", asked={"max_actions": n}, actions=["recall", "sale"]) for n in range(2, 10)),
        case("best", actions=["sale"]),
        case("worst", {"scores": {"sale": 0.001}}, actions=[], reasons="BELOW_THRESHOLD"),
        case("nothing", asked={"action_ids": ["sale"], "draw": 0.45}, actions=[], reasons="EXPLORED"),
        case("sale", asked={"action_ids": ["sale"], "draw": [0.55]}, actions=drawn),
        CHILD,
        changes=[("playbook", "exploration", {"method": "epsilon", "epsilon": 1.0})],
    )
    passed(capsys, folder)


def test_a_draw_that_never_takes_the_best_is_told(shop, capsys):
    sale = SHOP["actions"]["actions"]["sale"]
    names = [f"sale-{number}" for number in range(8)]
    changes = [("actions", "actions", name, sale) for name in names]
    exploration = ("playbook", "exploration", {"method": "epsilon", "epsilon": 1.0})
    asked = {"action_ids": names, "max_actions": len(names)}
    lines = failed(
        capsys, shop(case("all", asked=asked, served_by="MODEL"), CHILD, changes=[*changes, exploration])
    )
    assert "    exploration never let the best win: say with draw what it draws" in lines


def test_mutation_finds_a_rule_that_no_case_tests(shop, capsys):
    folder = shop(MAILED, CHILD)
    lines = failed(capsys, folder, "--mutate")
    text = (folder / "policies.yaml").read_text().splitlines()
    line = next(number for number, found in enumerate(text, start=1) if '"not_clicked_yet"' in found) - 1
    assert lines[-3:] == [
        f'{folder}/policies.yaml:{line}: no case notices that "not_clicked_yet" is deleted',
        "shop: 3 of 4 changes of rules noticed",
        "1 situation, 2 cases",
    ]


def test_mutation_is_content_once_every_rule_is_tested(shop, capsys):
    lines = passed(capsys, shop(MAILED, CHILD, CLICKED), "--mutate")
    assert lines[-2:] == ["shop: 4 of 4 changes of rules noticed", "1 situation, 3 cases"]


def test_mutation_changes_hours_weights_and_levers_too(shop, capsys):
    night = {"name": "night", "text": "Nobody is woken.", "from": "22:00", "to": "08:00"}
    weight = {"name": "grown", "text": "Grown.", "when": "profile.age > 20", "factor": 2.0}
    lever = {"name": "push_sales", "text": "Push.", "factor": 3.0, "applies_to": {"actions": ["sale"]}}
    changes = [
        ("policies", "quiet_hours", [night]),
        ("policies", "weights", [weight]),
        ("policies", "levers", [lever]),
    ]
    unlevered = failed(capsys, shop(MAILED, CHILD, CLICKED, changes=changes), "--mutate")
    assert [re.search('that "(.*)" is (.*)', line).groups() for line in unlevered if "no case" in line] == [
        ("night", "deleted"),
        ("grown", "deleted"),
        ("grown", "negated"),
        ("push_sales", "deleted"),
    ]
    worth = case("worth", actions=[{"action": "sale", "priority": 0.4 * 4.5 * 6 - 0.01}])
    late = case("late", actions=[{"action": "sale", "not_before": "2025-03-11T08:00:00+01:00"}])
    late |= {"now": "2025-03-10T23:00:00+01:00"}
    passed(capsys, shop(MAILED, CHILD, CLICKED, worth, late, changes=changes), "--mutate")


def test_rules_are_not_changed_until_all_cases_pass(shop, capsys):
    lines = failed(capsys, shop(MAILED | {"world": different(attributes={"age": 3})}, CLICKED), "--mutate")
    assert "shop: rules are not changed until all cases pass" in lines


def test_two_cases_that_are_alike_are_refused(shop, capsys):
    folder = shop(MAILED, CHILD, MAILED | {"case": "anna is mailed, too"})
    line = line_of(folder, "anna is mailed, too")
    first = line_of(folder, MAILED["case"])
    told = f'cases/sale.yaml:{line}: the same case as cases/sale.yaml:{first}: "anna is mailed"'
    assert problems(capsys, folder) == [told]


def test_two_cases_of_one_name_in_a_file_are_refused(shop, capsys):
    folder = shop(MAILED, CHILD | {"case": MAILED["case"]})
    [problem] = problems(capsys, folder)
    assert problem.endswith(
        f'a case "anna is mailed" stands at cases/sale.yaml:{line_of(folder, "mailed")} already'
    )


def test_two_situations_of_one_title_are_refused(shop, capsys):
    shop(MAILED, CHILD)
    folder = shop(CLICKED, name="zale")
    path = folder / "cases" / "zale.yaml"
    path.write_text(path.read_text().replace("A zale is on", "A sale is on"))
    assert problems(capsys, folder) == [
        'cases/zale.yaml:1: a situation "A sale is on" stands at cases/sale.yaml:1 already'
    ]


TYPOS = """\
situation: Typos
now: 2025-03-10T10:00:00+01:00
world:
  customers:
    anna:
      identities: { emial: x }
      attributes:
        agee: 3
        age: old
        tier: { value: gold, recorded: in 2d }
      consents:
        marketin: { email: granted }
        marketing: { emial: granted }
        service: granted
      arm: hold_out
      events:
        - { type: ordr, at: 1d ago }
        - { type: order, at: 1d ago, attributes: { amont: 3 } }
        - { type: order, at: 1d ago, attributes: { amount: 1.234 } }
  scores: { sail: 0.4 }
  priors: { offer: 0.2 }
cases:
  - case: first
    world: { customers: { ana: { attributes: { age: 12 } } } }
    request:
      customer: ann
      action_ids: [sail]
      groups: [offer]
      context:
        channel: emal
        time_zone: Europe/Berln
        attributes: { pagee: home }
    expect:
      actions:
        - sail
        - sale/mial
        - { action: sale, channel: emal, bundle: both }
      removed:
        sale: adlt
        recal: adult
        recall/mial: adult
      record: { candidats: 3, "candidates[sale].propensty": 1 }
      never_logged: foobar
  - case: second
    world: { down: [features] }
    request: { customer: { emial: x } }
    expect: { actions: [] }
"""


def test_every_name_and_value_that_is_wrong_is_told_with_its_line_and_the_nearest_right_one(shop, capsys):
    found = problems(capsys, shop(text=TYPOS))
    assert found == sorted(found, key=lambda line: int(line.split(":")[1]))
    assert {line.removeprefix("cases/sale.yaml:") for line in found} == {
        '6: unknown identity "emial"; did you mean "email"?',
        '8: unknown attribute "agee"; did you mean "age"?',
        "9: age: must be a number, not a string",
        "10: must lie before now: a decision sees what was known before it",
        '12: unknown purpose "marketin"; did you mean "marketing"?',
        '13: unknown channel "emial"; did you mean "email"?',
        '14: "service" is a purpose of use contact: say on which channel',
        '15: unknown control arm "hold_out"',
        '17: unknown event "ordr"; did you mean "order"?',
        '18: unknown attribute "amont"; did you mean "amount"?',
        "19: amount: must have at most 2 decimals",
        '20: unknown action "sail"; did you mean "sale"?',
        '21: unknown group "offer"; did you mean "offers"?',
        '24: unknown customer "ana"; did you mean "anna"?',
        '26: unknown customer "ann"; did you mean "anna"?',
        '27: unknown action "sail"; did you mean "sale"?',
        '28: unknown group "offer"; did you mean "offers"?',
        '30: unknown channel "emal"; did you mean "email"?',
        '31: "Europe/Berln" is no IANA time zone',
        '32: unknown attribute "pagee"; did you mean "page"?',
        '35: unknown action "sail"; did you mean "sale"?',
        '36: unknown treatment "mial"; did you mean "mail"?',
        '37: unknown channel "emal"; did you mean "email"?',
        '37: unknown bundle "both"',
        '39: unknown rule "adlt"; did you mean "adult"?',
        '40: unknown action "recal"; did you mean "recall"?',
        '41: unknown treatment "mial"; did you mean "mail"?',
        '42: "candidats": unknown field "candidats"; did you mean "candidates"?',
        '42: "candidates[sale].propensty": unknown field "propensty"; did you mean "propensity"?',
        '43: "foobar" stands neither in the world nor in the request, so it proves nothing',
        '46: unknown identity "emial"; did you mean "email"?',
    }


def test_without_features_a_world_needs_base_rates(shop, capsys):
    folder = shop(case("down", {"down": ["features"]}, served_by="PRIORS"), CHILD)
    [problem] = problems(capsys, folder)
    assert problem.endswith(": without features decisions rest on base rates: the world needs priors")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"expekt": {}}, 'unknown key "expekt"; did you mean "expect"?'),
        ({"expect": {}}, "expect: nothing is expected"),
        ({"expect": {"never_logged": "abc"}}, "String should have at least 4 characters"),
        ({"near_miss": True, "expect": {"served_by": "MODEL"}}, 'it needs "actions" or "removed"'),
        ({"request": {"customer": {"email": "x", "phone": "y"}}}, "must be the name of a customer"),
        ({"request": {"customer": "anna", "draw": 1.0}}, "Input should be less than 1"),
        ({"now": "2025-03-10"}, "is no time with its offset"),
        ({"world": different(events=[{"type": "order", "at": "a week ago"}])}, "'a' is no length of time"),
        ({"world": different(events=[{"type": "order", "at": "yesterday"}])}, "'yesterday' is no time"),
        ({"world": {"down": ["feature"]}}, '"feature" is unknown; did you mean "features"?'),
        ({"world": {"scores": {"sale": 1.5}}}, "Input should be less than or equal to 1"),
    ],
)
def test_a_case_of_a_wrong_shape_is_refused_with_its_line(shop, capsys, wrong, told):
    folder = shop(MAILED | wrong, CHILD)
    found = problems(capsys, folder)
    assert any(told in problem for problem in found), found
    assert failed(capsys, folder)[-1] == "0 situations, 0 cases"


def test_a_file_of_cases_has_its_own_ending(shop, capsys):
    folder = shop(MAILED, CHILD)
    (folder / "cases" / "more.yml").write_text("")
    assert problems(capsys, folder) == ['cases/more.yml:1: a file of cases ends in ".yaml"']


def test_every_rule_that_removes_without_a_line_in_policies_can_be_named():
    sources = [
        path.read_text()
        for folder in ("services/engine/policy", "services/gateway/domain")
        for path in (ROOT / folder).glob("*.py")
    ]
    pattern = r'(?:_removal\(|Removal\(\s*stage="\w+",\s*rule=)"(\w+)"'
    assert {name for text in sources for name in re.findall(pattern, text)} == set(BUILT_IN_RULES)


def section():
    """Return what the README says of cases."""
    return (ROOT / "playbooks" / "README.md").read_text().split("\n## Cases\n")[1].split("\n## ")[0]


def test_the_example_of_the_readme_passes(shop, capsys):
    text = section()[section().index("    situation:") :].split("\n\n")[0]
    umbrella = {
        "group": "notices",
        "purpose": "marketing",
        "why": "It rains where you are.",
        "value": 2.0,
        "treatments": {"push": {"channel": "app", "content": {"headline": "Take an umbrella"}}},
    }
    rain = {
        "name": "it_rains",
        "text": "Umbrellas are for rainy days.",
        "when": "context.raining",
        "applies_to": {"actions": ["umbrella"]},
    }
    bought = {"department": WORD, "amount": {"type": "decimal", "scale": 2}}
    changes = [
        ("playbook", "context", "raining", {"type": "boolean"}),
        ("playbook", "channels", "app", {}),
        ("events", "events", "purchase", {"attributes": bought}),
        ("actions", "actions", "umbrella", umbrella),
        ("policies", "applicability", [rain]),
    ]
    folder = shop(text=textwrap.dedent(text), changes=changes)
    assert passed(capsys, folder) == ["shop: It rains: 3 of 3 passed", "1 situation, 3 cases"]


CONTACT = {"contact": "sale/mail", "at": "1d ago"}
CLAIM = {"claim": {"at": "in 1h", "expect": "GO"}}


@pytest.mark.parametrize(
    ("contact", "then", "message"),
    [
        ({"contact": "sale"}, [], '"sale" is no treatment such as sale/mail'),
        ({"contact": "sale/male"}, [], 'unknown treatment "male"; did you mean "mail"?'),
        ({"at": "in 1h"}, [], "must lie before now: a decision sees what was known before it"),
        ({"responses": {"rejected": "2d ago"}}, [], "must not lie before the contact"),
        ({"until": "in 1h"}, [], '"until" belongs to what is reserved, which needs it'),
        ({"state": "reserved"}, [], '"until" belongs to what is reserved, which needs it'),
        ({"state": "reserved", "until": "2d ago"}, [], "must lie after the contact"),
        (
            {},
            [{"claim": {"at": "1h ago", "expect": "GO"}}],
            "must not lie before the decision, nor the step before",
        ),
        (
            {},
            [CLAIM, {"outcome": {"kind": "viewed"}}],
            "must not lie before the decision, nor the step before",
        ),
        ({}, [CLAIM | {"outcome": {"kind": "viewed"}}], 'a step is either a "claim" or an "outcome"'),
    ],
    ids=str,
)
def test_contacts_and_steps_that_cannot_be_are_named(shop, capsys, contact, then, message):
    world = {"customers": {"anna": {"contacts": [CONTACT | contact]}}}
    found = problems(capsys, shop(MAILED | {"world": world, "then": then}))
    assert any(message in line for line in found), found
    assert all(line.startswith("cases/sale.yaml:") for line in found if message in line)


def test_what_happens_then_is_compared(shop, capsys):
    then = [{"claim": {"expect": "EXPIRED"}}, {"outcome": {"kind": "viewed", "rank": 7}}]
    lines = failed(capsys, shop(MAILED | {"then": then}))
    assert any("then, step 1: expected EXPIRED, got GO" in line for line in lines)
    assert any("then, step 2: expected accepted, got DECISION_UNKNOWN" in line for line in lines)


def test_the_readme_names_every_key_and_every_built_in_rule():
    words = set(re.findall(r"[a-z_+]+", section()))
    shapes = (
        schema.CasesFile,
        schema.CaseShape,
        schema.World,
        schema.Customer,
        schema.Known,
        schema.Stated,
        schema.Event,
        schema.Contact,
        schema.Step,
        schema.Claim,
        schema.Report,
        schema.Request,
        schema.Context,
        schema.Actor,
        schema.Expected,
        schema.ExpectedAction,
        schema.ExpectedRemoval,
    )
    keys = {field.alias or name for shape in shapes for name, field in shape.model_fields.items()}
    assert keys | set(BUILT_IN_RULES) <= words


PLAYBOOKS = ("retail", "service", "sales")


def test_the_shipped_playbooks_pass_and_cover_what_they_promise(capsys):
    status = main(["playbook", "test", *(f"{ROOT}/playbooks/{name}" for name in PLAYBOOKS)])
    situations, cases = re.search(r"(\d+) situations, (\d+) cases$", capsys.readouterr().out.strip()).groups()
    assert status == 0
    assert int(situations) >= 20
    assert int(cases) >= 110


def test_the_readme_links_every_file_of_cases():
    readme = (ROOT / "playbooks" / "README.md").read_text()
    linked = set(re.findall(r"\((\w+/cases/[\w-]+\.yaml)\)", readme))
    files = {str(path.relative_to(ROOT / "playbooks")) for path in ROOT.glob("playbooks/*/cases/*.yaml")}
    assert linked == files
