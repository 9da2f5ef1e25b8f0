import math
from collections import Counter

import pytest

from services.engine.arbitration.chances import pick
from services.engine.arbitration.draw import draw_of, unit

IDS = [f"{number:08x}-decision" for number in range(20_000)]


def chi_square(counts, cells):
    expected = len(IDS) / cells
    return sum((counts[cell] - expected) ** 2 / expected for cell in range(cells))


def test_a_draw_is_the_same_at_every_replay():
    assert draw_of("d")(1) == draw_of("d")(1) == unit("d\n1") == 0.8249071379356504
    assert len({draw_of(name)(rank) for name in ("d", "e") for rank in (1, 2, 11)}) == 6


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_draws_are_uniform(rank):
    points = [draw_of(name)(rank) for name in IDS]
    assert all(0.0 <= point < 1.0 for point in points)
    assert chi_square(Counter(int(point * 64) for point in points), 64) < 103.4  # 99.9th percentile of 63


@pytest.mark.parametrize("other", [2, 10])
def test_draws_of_two_ranks_are_independent(other):
    cells = Counter(int(draw_of(name)(1) * 8) * 8 + int(draw_of(name)(other) * 8) for name in IDS)
    assert chi_square(cells, 64) < 103.4


def test_a_draw_uses_all_53_bits():
    fractions = [int(unit(name) * 2**53) for name in IDS[:200]]
    assert {bit for fraction in fractions for bit in range(53) if fraction >> bit & 1} == set(range(53))


def test_places_divide_the_unit_interval_in_the_order_of_their_ids():
    chances = {("b", "x"): 0.25, ("do_nothing", ""): 0.25, ("a", "y"): 0.25, ("a", "x"): 0.25}
    picked = [pick(chances, point) for point in (0.0, 0.2499, 0.25, 0.5, 0.75, 0.999)]
    assert picked == [
        ("a", "x"),
        ("a", "x"),
        ("a", "y"),
        ("b", "x"),
        ("do_nothing", ""),
        ("do_nothing", ""),
    ]


def test_what_has_no_chance_is_never_picked():
    chances = {("a", ""): 0.0, ("b", ""): 1.0, ("c", ""): 0.0}
    assert {pick(chances, point) for point in (0.0, 0.5, math.nextafter(1.0, 0.0))} == {("b", "")}


def test_where_the_sum_falls_short_of_one_the_last_with_a_chance_takes_the_rest():
    chances = {("a", ""): 0.4, ("b", ""): 0.6 - 1e-9, ("c", ""): 0.0}
    assert pick(chances, math.nextafter(1.0, 0.0)) == ("b", "")


def test_a_draw_from_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing has a chance"):
        pick({("a", ""): 0.0}, 0.5)
