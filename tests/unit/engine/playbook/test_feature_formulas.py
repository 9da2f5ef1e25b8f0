"""Features computed from other features: what may be read, in which order, and what they mean."""

import itertools

import pytest

from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load
from services.engine.playbook.rules import Varies
from tests.playbooks import load_playbook, write_playbook

FEATURES = ("features", "features")
RATIO = "feature.spend_30d / feature.orders_30d"


def expressions(**texts):
    return [(*FEATURES, name, {"kind": "expression", "expression": text}) for name, text in texts.items()]


def problems(folder, **texts):
    write_playbook(folder, *expressions(**texts))
    with pytest.raises(PlaybookError) as caught:
        load(folder)
    return [
        (problem.message, (folder / problem.file).read_text().splitlines()[problem.line - 1].strip())
        for problem in caught.value.problems
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("feature.spend_30 / 2.0", '"feature.spend_30" is not declared; did you mean "feature.spend_30d"?'),
        ("feature.rati * 2.0", '"feature.rati" is not declared; did you mean "feature.ratio"?'),
        (
            "known.feature.gift ? 1.0 : 0.0",
            '"known.feature.gift" is not declared; did you mean "known.feature.gifts"?',
        ),
        ("feature.spend_30d / 2", "write a whole number as 30.0"),
        ("feature.spend_30d > 2.0", "must be a number with decimals, not bool"),
        ("1 + 1", "must be a number with decimals, not int"),
        ("feature.spend_30d +", "Syntax error"),
        ("has(feature.gifts) ? 1.0 : 0.0", "has() is refused"),
        ("[1.0].map(x, x)[0] * feature.gifts", "map() is refused: expressions do not loop"),
        ("1.0 + 1.0", "it reads no feature"),
        *(
            (
                f"feature.gifts * feature.{name}",
                f'it reads "feature.{name}"; an expression reads only features',
            )
            for name in ("tier", "page", "hour", "discount")
        ),
        ("feature.gifts * profile.age", "no matching overload"),
        ("feature.gifts * double(profile.age)", 'it reads "profile.age"; an expression reads only features'),
        ("feature.gifts * double(time.hour)", 'it reads "time.hour"'),
        ("action.id == 'x' ? feature.gifts : 0.0", 'it reads "action.id"'),
        ("known.action.season ? feature.gifts : 0.0", 'it reads "action.season"'),
    ],
)
def test_what_an_expression_may_not_say_is_refused_at_its_line(tmp_path, text, message):
    [(found, row)] = problems(tmp_path, new=text, ratio=RATIO)
    assert found.startswith('feature "new": ')
    assert message in found
    assert row.startswith('"expression"')
    assert text.split()[0].strip('"') in row


def test_every_wrong_expression_is_reported_at_once(tmp_path):
    found = problems(tmp_path, one="feature.x", two="profile.age", three="feature.tier * feature.page")
    assert len(found) == 4


@pytest.mark.parametrize(
    ("texts", "chains"),
    [
        ({"one": "feature.one + 1.0"}, ["one reads one"]),
        (
            {"one": "feature.two", "two": "feature.one"},
            ["one reads two reads one", "two reads one reads two"],
        ),
        (
            {
                "a": "feature.b",
                "b": "feature.c + feature.gifts",
                "c": "known.feature.a ? 1.0 : feature.gifts",
            },
            ["a reads b reads c reads a", "b reads c reads a reads b", "c reads a reads b reads c"],
        ),
    ],
)
def test_a_circle_is_refused_by_its_chain(tmp_path, texts, chains):
    [(message, row)] = problems(tmp_path, ratio=RATIO, **texts)
    start = message.split('"')[1]
    assert message.removeprefix(f'feature "{start}": it is computed from itself: ') in chains
    assert texts[start] in row


@pytest.mark.parametrize("order", list(itertools.permutations(["a", "m", "z"])))
def test_expressions_follow_those_that_they_read_however_they_are_declared(tmp_path, order):
    texts = {"a": "feature.z * 2.0", "m": RATIO, "z": "feature.m + feature.gifts"}
    playbook = load_playbook(tmp_path, *expressions(**{name: texts[name] for name in order}))
    assert list(playbook.formulas) == ["m", "z", "a"]


def test_an_expression_differs_by_action_where_something_that_it_reads_does(tmp_path):
    rule = ("policies", "eligibility", 0, "when")
    playbook = load_playbook(
        tmp_path,
        *expressions(
            ratio=RATIO,
            lift="feature.category_share * feature.ratio",
            a_lift="known.feature.lift ? 1.0 : 0.0",
        ),
        (*rule, "feature.a_lift > 0.0"),
    )
    shares = {"category_share", "clicks_of_offer", "discount"}
    assert playbook.candidate_features == shares | {"lift", "a_lift"}
    assert playbook.rules.rules[0].varies is Varies.BY_ACTION
    other = load_playbook(tmp_path / "other", *expressions(ratio=RATIO), (*rule, "feature.ratio > 0.0"))
    assert other.rules.rules[0].varies is Varies.BY_DECISION


@pytest.mark.parametrize(
    ("change", "affected"),
    [
        ((*FEATURES, "spend_30d", "window", "31d"), {"spend_30d", "ratio", "double", "guarded"}),
        ((*FEATURES, "orders_30d", "event", "clicked"), {"orders_30d", "ratio", "double", "guarded"}),
        (
            ("events", "events", "order", "attributes", "amount", "scale", 3),
            {"spend_30d", "category_share", "ratio", "double", "guarded"},
        ),
        ((*FEATURES, "gifts", "where", "gift", False), {"gifts", "guarded"}),
        ((*FEATURES, "ratio", "expression", RATIO + " "), {"ratio", "double", "guarded"}),
        ((*FEATURES, "double", "expression", "feature.ratio * 3.0"), {"double"}),
        ((*FEATURES, "ratio", "description", "x"), set()),
        ((*FEATURES, "shops", "window", "1d"), {"shops"}),
    ],
)
def test_an_expression_means_also_what_it_reads_through_others(tmp_path, change, affected):
    made = expressions(
        ratio=RATIO, double="feature.ratio * 2.0", guarded="known.feature.gifts ? feature.ratio : 0.0"
    )
    before = load_playbook(tmp_path / "before", *made).definition_hashes
    after = load_playbook(tmp_path / "after", *made, change).definition_hashes
    assert {name for name, digest in before.items() if after[name] != digest} == affected


@pytest.mark.parametrize(
    ("definition", "change"),
    [
        ({"kind": "min", "attribute": "amount"}, {"kind": "max"}),
        ({"kind": "first", "attribute": "amount"}, {"kind": "last"}),
        ({"kind": "rate", "window": "7d"}, {"window": "8d"}),
        ({"kind": "rate", "window": "7d"}, {"attribute": "items"}),
        ({"kind": "decayed", "half_life": "7d"}, {"half_life": "8d"}),
        ({"kind": "decayed", "half_life": "7d"}, {"window": "90d"}),
        ({"kind": "decayed", "half_life": "7d"}, {"attribute": "items"}),
    ],
)
def test_every_field_of_a_definition_is_in_its_hash(tmp_path, definition, change):
    hashes = [
        load_playbook(
            tmp_path / str(number), (*FEATURES, "new", {"event": "order"} | definition | changed)
        ).definition_hashes["new"]
        for number, changed in enumerate(({}, change))
    ]
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("definition", "missing"),
    [
        ({"kind": "rate", "event": "order"}, "window"),
        ({"kind": "decayed", "event": "order"}, "half_life"),
        ({"kind": "expression"}, "expression"),
    ],
)
def test_what_a_kind_needs_cannot_be_left_out(tmp_path, definition, missing):
    write_playbook(tmp_path, (*FEATURES, "new", definition))
    with pytest.raises(PlaybookError, match=rf'^features.yaml:\d+: "{missing}" is missing$'):
        load(tmp_path)
