"""Openings, what closes them, and for how long the oldest of those that are left has been waiting."""

import math
from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.features import open as opening
from services.engine.features.feature_set import FeatureSet
from services.engine.features.history import History, StoredEvent
from services.engine.playbook.kinds import Open
from tests.playbooks import load_playbook

SECOND: Final = 1_000_000
NOW: Final = 1_000 * SECOND
WAITING: Final = {
    "kind": "open",
    "event": "asked",
    "key": "talk",
    "closed_by": ["answered", "withdrawn"],
    "window": "100s",
    "where": {"topic": "bill"},
}
DEFINITION: Final = Open.model_validate(WAITING)


def happened(*rows):
    """Make an event of each (type, seconds before now, conversation, or None), ids in their order."""
    return [
        StoredEvent(
            event_id=f"{number:03}",
            type=kind,
            event_time=NOW - int(before * SECOND),
            attributes={"topic": "bill", **({} if talk is None else {"talk": talk})},
        )
        for number, (kind, before, talk) in enumerate(rows)
    ]


def seconds(*rows, as_of=NOW):
    return opening.compute(DEFINITION, History(happened(*rows)), as_of)


def test_it_is_the_age_of_the_oldest_that_is_open():
    assert seconds(("asked", 30, "a"), ("asked", 40.5, "b"), ("asked", 1, "b")) == 40.5


def test_nothing_is_open_where_nothing_was_opened():
    assert math.isnan(seconds(("answered", 3, "a"), ("withdrawn", 2, "b")))


def test_one_closing_ends_all_openings_of_its_key_so_far():
    assert seconds(("asked", 50, "a"), ("asked", 40, "a"), ("answered", 30, "a"), ("asked", 20, "a")) == 20
    assert math.isnan(seconds(("asked", 50, "a"), ("asked", 40, "a"), ("answered", 40, "a")))


def test_any_of_the_types_closes():
    assert math.isnan(seconds(("asked", 50, "a"), ("withdrawn", 10, "a")))


def test_another_key_closes_nothing():
    assert seconds(("asked", 50, "a"), ("answered", 10, "b"), ("answered", 5, "A")) == 50


def test_at_one_time_the_ids_tell_what_was_first():
    assert math.isnan(seconds(("asked", 9, "a"), ("answered", 9, "a")))
    assert seconds(("answered", 9, "a"), ("asked", 9, "a")) == 9


def test_what_closes_at_t_or_after_has_not_closed_yet():
    for before in (0, -1):
        assert seconds(("asked", 9, "a"), ("answered", before, "a")) == 9
    assert math.isnan(seconds(("asked", 9, "a"), ("answered", 1e-6, "a")))


def test_an_opening_that_falls_out_of_the_window_counts_no_longer():
    assert seconds(("asked", 100, "a"), ("asked", 7, "b")) == 100
    assert seconds(("asked", 100.000001, "a"), ("asked", 7, "b")) == 7


def test_what_has_no_key_neither_opens_nor_closes():
    assert math.isnan(seconds(("asked", 9, None)))
    assert seconds(("asked", 9, "a"), ("answered", 3, None)) == 9


def test_conditions_are_about_what_opens():
    other = StoredEvent(
        event_id="x", type="asked", event_time=NOW - 60 * SECOND, attributes={"topic": "rent", "talk": "a"}
    )
    closing = StoredEvent(
        event_id="y", type="answered", event_time=NOW - SECOND, attributes={"topic": "rent", "talk": "b"}
    )
    history = History([other, closing, *happened(("asked", 50, "b"), ("asked", 40, "a"))])
    assert opening.compute(DEFINITION, history, NOW) == 40


TIMES = st.integers(0, 6).map(lambda step: step * 20)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["asked", "asked", "answered", "withdrawn", "seen"]),
        TIMES,
        st.sampled_from(["a", "b", None]),
    ),
    max_size=14,
)


def order(event):
    return event.event_time, event.event_id


def closes(event, one):
    return (
        event.type in ("answered", "withdrawn")
        and event.attributes.get("talk") == one.attributes["talk"]
        and order(event) >= order(one)
    )


@settings(max_examples=400)
@given(rows=EVENTS, as_of=TIMES, ids=st.randoms(use_true_random=False))
def test_it_agrees_with_looking_at_every_event_for_every_other(rows, as_of, ids):
    numbers = list(range(len(rows)))
    ids.shuffle(numbers)
    events = [
        StoredEvent(event_id=str(number), type=e.type, event_time=e.event_time, attributes=e.attributes)
        for number, e in zip(numbers, happened(*rows), strict=True)
    ]
    at = NOW - as_of * SECOND
    openings = [e for e in events if e.type == "asked" and "talk" in e.attributes]
    waiting = [
        at - one.event_time
        for one in openings
        if at - 100 * SECOND <= one.event_time < at
        and not any(closes(e, one) and e.event_time < at for e in events)
    ]
    found = opening.compute(DEFINITION, History(events), at)
    assert found == float(Fraction(max(waiting), SECOND)) if waiting else math.isnan(found)
    spans = list(opening.spans(DEFINITION, History(events), at))
    assert spans == [
        (one.event_time, min((e.event_time for e in events if closes(e, one)), default=None))
        for one in sorted(openings, key=order)
        if one.event_time < at
    ]


def test_what_opens_and_what_closes_both_tell_its_age_and_need_their_consent(tmp_path):
    playbook = load_playbook(
        tmp_path,
        ("playbook", "purposes", "care", {"use": "data"}),
        ("playbook", "purposes", "talks", {"use": "data"}),
        ("events", "events", "asked", {"attributes": {"talk": {"type": "string"}}, "consent": "care"}),
        ("events", "events", "answered", {"attributes": {"talk": {"type": "string"}}, "consent": "talks"}),
        ("events", "events", "withdrawn", {"attributes": {"talk": {"type": "string"}}}),
        ("features", "features", {"waiting": {k: v for k, v in WAITING.items() if k != "where"}}),
        ("policies", {}),
    )
    assert playbook.feature_consents == {"waiting": {"care", "talks"}}
    features = FeatureSet(playbook)
    for rows, age in (
        ((("asked", 50, "a"), ("answered", 30, "a")), 30.0),
        ((("asked", 20, "a"), ("answered", 30, "a")), 20.0),
        ((("asked", 20, "a"), ("withdrawn", 101, "a")), 20.0),
    ):
        assert features.customer_ages(History(happened(*rows)), NOW) == [age]


@pytest.mark.parametrize(
    "change", [("key", "topic"), ("closed_by", ["answered"]), ("event", "withdrawn"), ("window", "99s")]
)
def test_another_definition_is_another_meaning(tmp_path, change):
    talks = {"attributes": {"talk": {"type": "string"}, "topic": {"type": "string"}}}
    definition = {**WAITING, "closed_by": ["answered", "handed_on"]}
    hashes = [
        load_playbook(
            tmp_path / str(number),
            *(("events", "events", name, talks) for name in ("asked", "answered", "handed_on", "withdrawn")),
            ("features", "features", {"waiting": feature}),
            ("policies", {}),
        ).definition_hashes
        for number, feature in enumerate((definition, definition | dict([change])))
    ]
    assert hashes[0] != hashes[1]
