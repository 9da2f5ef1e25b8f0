"""A record ends with a digest of itself: whatever happens to one of its bits is noticed."""

import random

import bazaar
import pytest
from deciding import Shop
from hypothesis import given
from hypothesis import strategies as st
from tact.log.v1 import decision_record_pb2 as log_pb

from services.gateway.adapters.sealing import is_intact, is_sealed, seal_of, sealed

TAIL = 35
"""So many bytes the digest and what precedes it take."""


def flipped(record, bit):
    """Return a record with one bit the other way round."""
    changed = bytearray(record)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.fixture(scope="module")
def record():
    shop = Shop()
    shop.decide(request_id="a-1", include_explanation=True)
    (entry,) = shop.log.entries.values()
    return entry.record


def test_every_flipped_bit_of_a_record_is_noticed(record):
    assert is_intact(record)
    for bit in range(len(record) * 8):
        assert seal_of(flipped(record, bit)) == "damaged", bit


@given(st.binary(max_size=200), st.data())
def test_every_flipped_bit_of_any_bytes_is_noticed(content, data):
    whole = sealed(content)
    assert (is_intact(whole), is_sealed(whole)) == (True, True)
    changed = flipped(whole, data.draw(st.integers(0, len(whole) * 8 - 1)))
    assert (is_intact(changed), is_sealed(changed)) == (False, True)


@given(st.binary(max_size=200))
def test_what_has_no_digest_is_not_intact(content):
    assert (is_intact(content), is_sealed(content)) == (False, False)


@given(st.binary(max_size=60), st.data())
def test_a_record_that_was_cut_off_is_not_intact(content, data):
    whole = sealed(content)
    assert not is_intact(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_the_digest_is_the_last_field_of_the_record(record):
    parsed = log_pb.DecisionRecord.FromString(record)
    assert parsed.digest == record[-32:]
    assert log_pb.DecisionRecord(digest=parsed.digest).SerializeToString() == record[-TAIL:]
    parsed.ClearField("digest")
    assert parsed.SerializeToString(deterministic=True) == record[:-TAIL]


@pytest.mark.parametrize("head", range(len(bazaar.HEADS)))
def test_what_is_logged_is_sealed_with_and_without_its_trace(head):
    for seed in range(10):
        shop = bazaar.shop(random.Random(seed), head)
        shop.decide(customer_id="nobody", include_explanation=seed % 2 == 0)
        (entry,) = shop.log.entries.values()
        assert is_intact(entry.record)
        assert is_intact(entry.without_trace)
