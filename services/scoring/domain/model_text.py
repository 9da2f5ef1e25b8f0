"""Whether LightGBM's model text is whole.

LightGBM reads a text that was cut off beyond its end: instead of an error it can give scores
that are wrong, or end the process. So the text is checked before LightGBM sees it.
"""

from __future__ import annotations

from typing import Final

from services.scoring.domain.bundle import BundleRefused, Cause

_SIZES: Final = "\ntree_sizes="
_FIRST_TREE: Final = "\nTree=0\n"
_END_OF_TREES: Final = "end of trees\n"
_END: Final = "\nend of parameters\n"


def check_whole(text: str) -> None:
    """Compare the length of the trees with the lengths that the header states.

    Raises:
        BundleRefused: the text is cut off or is no model.
    """
    start, end = text.find(_FIRST_TREE), text.find(_END_OF_TREES)
    if not text.startswith("tree\n") or _SIZES not in text[:start] or end < start or _END not in text[end:]:
        raise BundleRefused(Cause.MODEL, "the model text is cut off or is no LightGBM model")
    sizes = text[:start].partition(_SIZES)[2].partition("\n")[0].split()
    if not all(size.isdigit() for size in sizes) or sum(map(int, sizes)) != end - start - 1:
        raise BundleRefused(Cause.MODEL, "the model's trees are not as long as its header says")
