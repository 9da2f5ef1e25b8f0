import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.scoring.domain.batch import Invalid, ScoreItem, lay_out

numbers = st.floats(allow_infinity=False)


def item(customer, candidates):
    candidates = np.asarray(candidates, dtype="<f8")
    return ScoreItem(np.asarray(customer, dtype="<f8").tobytes(), candidates.tobytes(), len(candidates))


@st.composite
def batches(draw):
    customer_features, candidate_features = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    items = draw(st.lists(st.integers(0, 4), max_size=5))
    return (customer_features, candidate_features), [
        (
            draw(arrays("<f8", customer_features, elements=numbers)),
            draw(arrays("<f8", (rows, candidate_features), elements=numbers)),
        )
        for rows in items
    ]


@given(batches())
def test_each_row_is_the_customer_then_the_candidate(drawn):
    widths, vectors = drawn
    batch = lay_out([item(customer, candidates) for customer, candidates in vectors], *widths)
    expected = [np.concatenate([customer, row]) for customer, rows in vectors for row in rows]
    np.testing.assert_array_equal(batch.matrix, np.array(expected).reshape(len(expected), sum(widths)))
    rows = iter(range(len(expected)))
    dealt = batch.deal(np.arange(len(expected), dtype=float))
    assert [list(scores) for scores in dealt] == [[next(rows) for _ in part] for _, part in vectors]


def test_a_bad_item_does_not_affect_the_others():
    good = item([1.0, 2.0], [[3.0], [np.nan]])
    batch = lay_out([good, ScoreItem(b"123", good.candidate_vectors, 2), good], 2, 1)
    first, bad, last = batch.deal(np.arange(4.0))
    assert (list(first), list(last)) == ([0, 1], [2, 3])
    assert bad == Invalid((("customer_vector", "must hold 2 float64 in 16 bytes, not 3 bytes"),))


def violations(customer, candidates, count, widths=(2, 1)):
    (answer,) = lay_out([ScoreItem(customer, candidates, count)], *widths).deal(np.empty(0))
    return [field for field, _ in answer.violations] if isinstance(answer, Invalid) else None


def test_every_wrong_length_is_told():
    assert violations(b"", bytes(8), 2) == ["customer_vector", "candidate_vectors"]
    assert violations(bytes(24), bytes(16), 2) == ["customer_vector"]
    assert violations(bytes(16), bytes(17), 2) == ["candidate_vectors"]


def test_a_negative_number_of_candidates_is_told():
    assert violations(bytes(16), b"", -1) == ["candidates"]


def test_infinities_are_told_and_missing_values_are_not():
    vector = np.array([np.nan, 1.0]).tobytes()
    infinite = np.array([-np.inf, 1.0]).tobytes()
    assert violations(infinite, infinite, 2) == ["customer_vector", "candidate_vectors"]
    assert violations(vector, infinite, 2) == ["candidate_vectors"]
    assert violations(infinite, b"", 0) == ["customer_vector"]
    assert violations(vector, vector, 2) is None


def test_an_item_without_candidates_gets_no_scores():
    assert violations(bytes(16), b"", 0) is None


def test_a_model_without_candidate_features_scores_each_candidate_alike():
    batch = lay_out([ScoreItem(np.array([1.0, 2.0]).tobytes(), b"", 3)], 2, 0)
    np.testing.assert_array_equal(batch.matrix, [[1, 2]] * 3)
