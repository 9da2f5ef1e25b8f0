"""Who is one customer is decided for as one, and nobody acts on who was one too long ago."""

from dataclasses import dataclass, field, replace

import pytest
from deciding import ANNA, EVERYTHING, Shop, chosen
from test_claims import CAPPED, GRANTED, Post, playbook

from services.gateway.domain.knowledge import Profile
from services.gateway.fakes import InMemoryProfiles

BEN = "ben"
ONE = Profile(customer_id=ANNA, attributes={"segment": "gold", "age": 40}, permissions=EVERYTHING)
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
