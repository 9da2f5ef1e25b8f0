"""Conditions drawn at random, of what can be read and of what cannot, and worlds to ask them in."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from services.engine.playbook.expressions import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    TIMESTAMP,
    Environment,
    ExpressionError,
)

TYPES = {
    "profile.age": INT,
    "profile.city": STRING,
    "profile.member": BOOL,
    "profile.until": TIMESTAMP,
    "feature.spend": DOUBLE,
    "feature.orders": DOUBLE,
    "time.hour": INT,
    "action.season": STRING,
    "action.places": INT,
    "treatment.channel": STRING,
}
ENVIRONMENT = Environment(TYPES)


NUMBERS = st.integers(-2, 3)
SIGNS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
EQUALITY = st.sampled_from(["==", "!="])
WORDS = st.sampled_from(["a", "b", "spring", "&&", "x || y", "(?"])
QUOTES = st.sampled_from(["'{}'", '"{}"'])
SPACE = st.sampled_from(["", " ", "\n"])


def side_by_side(left, sign, right, space, mirrored):
    left, right = (right, left) if mirrored else (left, right)
    return f"{left}{space}{sign}{space}{right}"


def beside(names, signs, literals):
    return st.builds(side_by_side, st.sampled_from(names), signs, literals, SPACE, st.booleans())


LITERAL_WORDS = st.builds(str.format, QUOTES, WORDS)
READ = st.one_of(
    beside(["profile.age", "time.hour", "action.places"], SIGNS, NUMBERS.map(str)),
    beside(["feature.spend", "feature.orders"], SIGNS, NUMBERS.map(lambda n: f"{n / 2}")),
    beside(["profile.city", "action.season", "treatment.channel"], EQUALITY, LITERAL_WORDS),
    beside(["profile.age"], SIGNS, st.just("action.places")),
    beside(["profile.city"], EQUALITY, st.sampled_from(["action.season", "treatment.channel"])),
    beside(["profile.member"], EQUALITY, st.sampled_from(["true", "false"])),
    st.lists(LITERAL_WORDS, min_size=1, max_size=3).map(
        lambda words: f"profile.city in [{', '.join(words)}]"
    ),
    st.lists(NUMBERS, min_size=1, max_size=3).map(lambda found: f"profile.age in {found}"),
    st.sampled_from(["profile.member", "true", "false"]),
    st.sampled_from([*TYPES]).map("known.{}".format),
)
UNREAD = st.sampled_from(
    [
        "profile.age + 1 > 2",
        "feature.spend > feature.orders",
        "profile.city < 'b'",
        "size(profile.city) > 1",
        "1 / profile.age > 0",
        "(profile).age > 1",
        "profile . age > 1",
        ".profile.age > 1",
        "profile.`age` > 1",
        "!profile.member == profile.member",
        "profile.age > 1 == profile.member",
        "profile.until > timestamp('2026-01-01T00:00:00Z')",
        "profile.city == r'b'",
        "profile.city.startsWith('s')",
        "{'a': 1 > 2 || true}['a']",
        "[true, false][profile.age]",
    ]
)


TEMPLATES = [
    "!({})",
    "!{}",
    "({}) // or not) ||\n",
    "({}) && ({})",
    "({})||({})",
    "(({}) ? ({}) : ({}))",
    # Without brackets CEL's own precedence decides.
    "{} && {} || {}",
    "{} || {} && {}",
    "{} ? {} : {}",
    "!{} && !{}",
]


def combined(inner):
    return st.builds(str.format, st.sampled_from(TEMPLATES), inner, inner, inner)


def conditions_of(atoms):
    return st.recursive(atoms, combined, max_leaves=6).filter(compiles)


def compiles(text):
    try:
        ENVIRONMENT.compile(text)
    except ExpressionError:
        return False
    return True


AGES, WHOLE = (None, *range(-3, 5)), (None, -1.5, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
WORLDS = st.fixed_dictionaries(
    {
        "profile.age": st.sampled_from(AGES),
        "profile.city": st.none() | WORDS,
        "profile.member": st.sampled_from([None, True, False]),
        "profile.until": st.sampled_from([None, datetime(2026, 3, 1, tzinfo=UTC)]),
        "feature.spend": st.sampled_from(WHOLE),
        "feature.orders": st.sampled_from(WHOLE),
        "time.hour": st.sampled_from([None, 0, 1, 2, 3, 23]),
    }
).map(lambda world: {name: value for name, value in world.items() if value is not None})
