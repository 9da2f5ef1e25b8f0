"""What a decision knew of contacts comes back from its record, and from the rows of a store, as it was."""

import functools
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from deciding import ANNA, FILES, Shop
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.loader import load
from services.engine.policy.contact import Contact, Facts, Ledger, Response
from services.gateway.adapters.ledger_rows import contact_row, offers_of, offers_text, standing_of
from services.gateway.adapters.recollection import recalling
from services.gateway.domain.ledger import Claim, Offer, Reading, Standing
from services.gateway.domain.making import Edition
from services.gateway.domain.remaking import finished
from services.gateway.fakes import InMemoryLog

CAPS = "caps: [{name: few, text: A few a week., most: 3, window: week}]"
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))
MAYBE = st.none() | MOMENTS
WORDS = st.text(max_size=5)
FACTS = st.builds(
    Facts,
    action_id=WORDS,
    treatment_id=WORDS,
    group=WORDS,
    channel=WORDS,
    purpose=WORDS,
    action_class=WORDS,
)
TIMES = ("reserve_time", "expire_time", "consume_time", "release_time")
CONTACTS = st.builds(Contact, facts=FACTS, **dict.fromkeys(TIMES, MAYBE))
RESPONSES = st.builds(Response, facts=FACTS, kind=WORDS, time=MOMENTS)
LEDGERS = st.builds(
    Ledger, contacts=st.lists(CONTACTS, max_size=4), responses=st.lists(RESPONSES, max_size=4)
)
OFFERS = st.builds(Offer, facts=FACTS, is_inbound=st.booleans(), claim_by=MAYBE)
CLAIMS = st.builds(Claim, claim_id=WORDS, time=MOMENTS, code=WORDS, text=WORDS)


@functools.cache
def edition():
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        (Path(folder) / "policies.yaml").write_text(CAPS, encoding="utf-8")
        book = load(Path(folder))
    return Edition(book, FeatureSet(book))


class Remembering(InMemoryLog):
    """A log that knows one ledger, whoever asks."""

    known = None

    async def ledger(self, members, since):
        return Reading(ledger=self.known, versions=dict.fromkeys(members, 0))


@settings(max_examples=50)
@given(LEDGERS)
def test_the_ledger_of_a_decision_comes_back_from_its_record(ledger):
    log = Remembering()
    log.known = ledger
    shop = Shop(log=log, edition=edition())
    answer = shop.decide(customer_id=ANNA)
    recorded = finished(recalling(shop.logged(answer), shop.edition))
    standing = [contact for contact in ledger.contacts if contact.release_time is None]
    assert recorded.ledger == Ledger(contacts=standing, responses=ledger.responses)


def test_a_decision_without_a_contact_policy_has_no_ledger():
    shop = Shop()
    answer = shop.decide()
    assert finished(recalling(shop.logged(answer), shop.edition)).ledger is None


def test_an_empty_ledger_is_not_none():
    shop = Shop(edition=edition())
    answer = shop.decide(max_actions=1)
    record = shop.logged(answer)
    assert record.HasField("ledger")
    assert (list(record.ledger.contacts), list(record.ledger.responses)) == ([], [])
    assert finished(recalling(record, shop.edition)).ledger == Ledger(contacts=[], responses=[])


@given(st.lists(OFFERS, max_size=4))
def test_offers_come_back_from_their_text(offers):
    assert offers_of(offers_text(offers)) == offers


@given(OFFERS, CONTACTS, st.none() | CLAIMS)
def test_what_stands_comes_back_from_its_row(offer, contact, claim):
    assume(claim or any(getattr(contact, name) for name in TIMES))
    standing = Standing(
        customer_id="anna", offer=offer, contact=replace(contact, facts=offer.facts), claim=claim
    )
    row = contact_row("d-1", 1, standing)
    assert row[:3] == ("d-1", 1, "anna")
    assert standing_of("anna", offer, row[3:11]) == standing
