from hypothesis import given
from hypothesis import strategies as st

from services.features.domain.events import Event
from services.features.domain.placement import Placed, Reused, place


def event(event_id, content):
    return Event(event_id=event_id, customer_id="c", type="t", event_time=content, attributes="{}")


batches = st.lists(st.lists(st.builds(event, st.sampled_from("abcde"), st.integers(0, 1))))


@given(batches)
def test_each_id_is_stored_once_with_its_first_content(calls):
    stored, first, newest = {}, {}, 0
    for batch in calls:
        known = {e.event_id: (sequence, e) for sequence, e in stored.items()}
        placements = place(batch, known, newest)
        for sent, answer in zip(batch, placements.answers, strict=True):
            if sent.event_id not in first:
                newest += 1
                first[sent.event_id] = newest, sent
                assert answer == Placed(newest, duplicate=False)
            elif first[sent.event_id][1] == sent:
                assert answer == Placed(first[sent.event_id][0], duplicate=True)
            else:
                assert answer == Reused()
        stored.update(placements.fresh)
        assert placements.newest == newest
    assert stored == dict(first.values())
    assert list(stored) == list(range(1, newest + 1))


def test_nothing_to_place_keeps_the_newest():
    placements = place([], {}, 7)
    assert (placements.answers, placements.fresh, placements.newest) == ((), {}, 7)
