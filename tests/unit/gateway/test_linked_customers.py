"""Who is one customer is decided for as one, and nobody acts on who was one too long ago."""

from dataclasses import dataclass, field, replace

import pytest
from deciding import ANNA, DOWN, EVERYTHING, Shop, chosen
from tact.decision.v1 import decision_service_pb2 as pb
from test_claims import CAP, CAPPED, GRANTED, Post, playbook

from services.gateway.domain.knowledge import Profile
from services.gateway.fakes import InMemoryProfiles

BEN = "ben"
ONE = Profile(customer_id=ANNA, attributes={"segment": "gold", "age": 40}, permissions=EVERYTHING)
NOTICED = {"caps": [CAP | {"applies_to": {"actions": ["notice"]}}], "claim_within": "1d"}
"""What needs no consent is capped."""
BOTH = replace(ONE, members=(ANNA, BEN), identity_version=1)


@dataclass(kw_only=True)
class Changing(InMemoryProfiles):
    """Answers with one profile after the other, whoever is asked for; the last one stays."""

    answers: list = field(default_factory=list)

    async def read(self, key, as_of, timeout):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def shop(*answers):
    return Shop(profiles=Changing(answers=list(answers)))


@pytest.mark.parametrize("asked", [ANNA, BEN])
def test_all_members_events_count_and_the_answer_is_about_whom_they_were_linked_to(asked):
    made = shop(BOTH)
    answer = made.decide(customer_id=asked)
    assert answer.customer_id == ANNA
    assert made.features.read_members[-1] == (ANNA, BEN)
    record = made.logged(answer)
    assert (list(record.profile.member_ids), record.profile.identity_version) == ([ANNA, BEN], 1)


def test_who_is_alone_is_read_once():
    made = shop(ONE)
    made.decide()
    assert made.features.read_members == [(ANNA,)]


def test_a_decision_that_took_long_asks_once_more_and_stands():
    made = shop(replace(BOTH, lease=0.0), BOTH)
    answer = made.decide()
    assert chosen(answer)
    assert len(made.scorer.batches) == 1
    assert len(made.log.entries) == 1


def test_a_decision_that_took_long_is_made_again_where_who_is_one_has_changed():
    made = shop(replace(ONE, lease=0.0), BOTH)
    answer = made.decide()
    assert len(made.scorer.batches) == 2
    assert list(made.logged(answer).profile.member_ids) == [ANNA, BEN]


def test_a_dry_run_may_take_as_long_as_it_likes():
    made = shop(replace(ONE, lease=0.0), BOTH)
    answer = made.decide(mode="DECISION_MODE_DRY_RUN")
    assert list(made.logged(answer, live=False).profile.member_ids) == [ANNA]


def test_caps_count_what_any_member_was_sent_and_an_unlink_gives_each_its_own():
    post = Post(playbook(**CAPPED))
    post.offer()
    ben = Profile(customer_id=BEN, attributes={"angry": False, "done": False}, permissions=GRANTED)
    post.shop.profiles.profiles[BEN] = ben
    alone = post.shop.decide(customer_id=BEN, action_ids=["card"])
    assert chosen(alone) == [("card", "one")]
    post.shop.profiles.profiles["carl"] = carl = replace(ben, customer_id="carl", members=("carl",))
    linked = replace(carl, members=("anna", "carl"), identity_version=1)
    post.shop.profiles.profiles["carl"] = linked
    answer = post.shop.decide(customer_id="carl", action_ids=["card"])
    assert [reason.code for reason in answer.reasons] == ["CONTACT_POLICY"]
    post.shop.profiles.profiles["carl"] = replace(carl, identity_version=2)
    assert chosen(post.shop.decide(customer_id="carl", action_ids=["card"])) == [("card", "one")]


def test_a_claim_counts_what_the_other_was_sent_since_they_were_linked():
    post = Post(playbook(**CAPPED))
    ours = post.offer()
    anna = post.shop.profiles.profiles["anna"]
    post.shop.profiles.profiles[BEN] = replace(anna, customer_id=BEN, members=(BEN,))
    theirs = post.shop.decide(customer_id=BEN, action_ids=["card"])
    assert post.claim(theirs) == "GO"
    linked = replace(anna, members=("anna", BEN), identity_version=1)
    post.shop.profiles.profiles |= {"anna": linked, BEN: linked}
    assert post.claim(ours) == "CONTACT_POLICY"


def linked(post, *members, version):
    """Put on file that they are one, whom the first stands for."""
    one = replace(
        post.shop.profiles.profiles["anna"],
        customer_id=members[0],
        members=tuple(sorted(members)),
        identity_version=version,
    )
    post.shop.profiles.profiles |= dict.fromkeys(members, one)


def codes(answer):
    return [reason.code for reason in answer.reasons]


@pytest.mark.parametrize(("seen", "asked"), [("anna", BEN), (BEN, BEN), (BEN, "anna"), ("anna", "anna")])
def test_a_cap_holds_over_both_ids_of_who_was_decided_about_as_one_while_profiles_are_away(seen, asked):
    post = Post(playbook(**NOTICED))
    post.shop.profiles.profiles[BEN] = post.shop.profiles.profiles["anna"]
    linked(post, "anna", BEN, version=1)
    assert chosen(post.shop.decide(customer_id=seen, action_ids=["notice"])) == [("notice", "one")]
    post.shop.profiles.failure = DOWN
    answer = post.shop.decide(customer_id=asked, action_ids=["notice"])
    assert codes(answer) == ["CONTACT_POLICY"]
    assert list(post.shop.logged(answer).profile.member_ids) == [asked]
    assert post.shop.replay(answer.decision_id).verdict == pb.REPLAY_VERDICT_IDENTICAL


def test_slots_taken_while_profiles_are_away_count_for_all_who_were_one():
    post = Post(playbook(**NOTICED))
    linked(post, "anna", BEN, version=1)
    post.shop.decide(customer_id="anna", action_ids=["page"])
    post.shop.profiles.failure = DOWN
    taken = post.shop.decide(customer_id=BEN, action_ids=["notice"])
    assert chosen(taken) == [("notice", "one")]
    assert post.log.versions["anna"] == post.log.versions[BEN]
    assert codes(post.shop.decide(customer_id="anna", action_ids=["notice"])) == ["CONTACT_POLICY"]


def test_an_unlink_that_was_decided_by_gives_each_its_own_cap_while_profiles_are_away():
    post = Post(playbook(**NOTICED))
    linked(post, "anna", BEN, version=1)
    post.shop.decide(customer_id="anna", action_ids=["notice"])
    for alone in ("anna", BEN):
        linked(post, alone, version=2)
    post.shop.decide(customer_id=BEN, action_ids=["page"])
    post.shop.profiles.failure = DOWN
    assert chosen(post.shop.decide(customer_id=BEN, action_ids=["notice"])) == [("notice", "one")]
    assert codes(post.shop.decide(customer_id="anna", action_ids=["notice"])) == ["CONTACT_POLICY"]


def test_a_claim_counts_what_the_other_was_sent_while_profiles_are_away():
    post = Post(playbook(**NOTICED))
    ours = post.offer("notice")
    post.shop.profiles.profiles[BEN] = replace(
        post.shop.profiles.profiles["anna"], customer_id=BEN, members=(BEN,)
    )
    theirs = post.shop.decide(customer_id=BEN, action_ids=["notice"])
    assert post.claim(theirs) == "GO"
    linked(post, "anna", BEN, version=1)
    post.shop.decide(customer_id="anna", action_ids=["page"])
    post.shop.profiles.failure = DOWN
    assert post.claim(ours) == "CONTACT_POLICY"
