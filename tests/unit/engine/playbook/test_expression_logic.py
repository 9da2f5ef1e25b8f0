"""Missing values follow three-valued logic, however a variable is spelt."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.playbook.expressions import BOOL, Environment, Missing

# A small language of our own, to compare with: text and a three-valued meaning.
NAMES = ("action.a", "action.b", "action.c")
ENVIRONMENT = Environment(dict.fromkeys(NAMES, BOOL))
SPELLINGS = (
    "{0}.{1}",
    "({0}).{1}",
    ".{0}.{1}",
    "{0} . {1}",
    "{0}.`{1}`",
    "{0}. // {0}.z has(\n {1}",
    "({0}.{1})",
)


def variable(name, spelling):
    return spelling.format(*name.split(".")), lambda values: values.get(name)


def literal(value):
    return ("true" if value else "false"), lambda values: value


def known(name):
    return f"known.{name}", lambda values: name in values


def no(inner):
    text, meaning = inner
    return f"!({text})", lambda values: None if (found := meaning(values)) is None else not found


def binary(operator, absorbing, left, right):
    def meaning(values):
        found = [left[1](values), right[1](values)]
        if absorbing in found:
            return absorbing
        return None if None in found else not absorbing

    return f"({left[0]}) {operator} ({right[0]})", meaning


def ternary(condition, yes, otherwise):
    def meaning(values):
        found = condition[1](values)
        return None if found is None else (yes if found else otherwise)[1](values)

    return f"(({condition[0]}) ? ({yes[0]}) : ({otherwise[0]}))", meaning


FORMULAS = st.recursive(
    st.builds(variable, st.sampled_from(NAMES), st.sampled_from(SPELLINGS))
    | st.builds(known, st.sampled_from(NAMES))
    | st.builds(literal, st.booleans()),
    lambda inner: (
        st.builds(no, inner)
        | st.builds(binary, st.just("&&"), st.just(False), inner, inner)
        | st.builds(binary, st.just("||"), st.just(True), inner, inner)
        | st.builds(ternary, inner, inner, inner)
    ),
    max_leaves=6,
)
WORLDS = [
    {name: value for name, value in zip(NAMES, values, strict=True) if value is not None}
    for values in itertools.product((True, False, None), repeat=3)
]


@settings(max_examples=150)
@given(FORMULAS)
def test_a_missing_value_is_absorbed_as_in_three_valued_logic(formula):
    text, meaning = formula
    expression = ENVIRONMENT.compile(text)
    every = [*NAMES, *(f"known.{name}" for name in NAMES)]
    for world in WORLDS:
        found = expression.evaluate(ENVIRONMENT.activation(world, expression.reads))
        assert (None if isinstance(found, Missing) else found) is meaning(world)
        assert found == expression.evaluate(ENVIRONMENT.activation(world, every))
