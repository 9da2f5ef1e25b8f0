import lightgbm
import numpy as np
import pytest

from services.scoring.domain.bundle import BundleRefused, Cause
from services.scoring.domain.model_text import check_whole


@pytest.fixture(scope="module")
def text():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(300, 4))
    rows = lightgbm.Dataset(matrix, (matrix[:, 0] > 0).astype(int))
    parameters = {"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1}
    return lightgbm.train(parameters, rows, 12).model_to_string()


def test_a_whole_text_passes(text):
    check_whole(text)


def test_a_text_cut_off_anywhere_is_refused(text):
    last = text.index("end of parameters")
    for end in range(0, last, 37):
        with pytest.raises(BundleRefused) as caught:
            check_whole(text[:end])
        assert caught.value.cause is Cause.MODEL


def test_a_text_with_a_hole_is_refused(text):
    middle = text.index("Tree=5")
    with pytest.raises(BundleRefused, match="not as long as its header says"):
        check_whole(text[:middle] + text[middle + 100 :])


@pytest.mark.parametrize("other", ["", "tree\n", "{}", "tree\ntree_sizes=x\n\nTree=0\nend of trees\n"])
def test_another_text_is_refused(other):
    with pytest.raises(BundleRefused):
        check_whole(other)
