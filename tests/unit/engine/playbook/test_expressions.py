import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.playbook.expressions import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    Environment,
    ExpressionError,
    Failed,
    Missing,
    distance_km,
)

ENVIRONMENT = Environment(
    {
        "feature.orders": DOUBLE,
        "feature.orders_30d": DOUBLE,
        "profile.age": INT,
        "profile.city": STRING,
        "profile.member": BOOL,
        "context.intent": STRING,
    }
)


def evaluate(text, **values):
    """Evaluate with variables written as ``profile_age``."""
    bound = {
        name: values[name.replace(".", "_")]
        for name in ENVIRONMENT.variables
        if name.replace(".", "_") in values
    }
    expression = ENVIRONMENT.compile(text)
    return expression.evaluate(ENVIRONMENT.activation(bound, expression.reads))


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("feature.orders > 2.0", {"feature_orders": 3.0}, True),
        ("feature.orders > 2.0", {"feature_orders": 3}, True),
        ("feature.orders > 2.0", {"feature_orders": 2.0}, False),
        ("profile.age in [18, 21]", {"profile_age": 21}, True),
        ("profile.city == 'Köln'", {"profile_city": "Köln"}, True),
        ("profile.city.startsWith('K') && size(profile.city) == 4", {"profile_city": "Köln"}, True),
        ("profile.city.matches('^K.*n$')", {"profile_city": "Köln"}, True),
        ("!profile.member", {"profile_member": False}, True),
        ("profile.member ? profile.age > 1 : false", {"profile_member": True, "profile_age": 2}, True),
        ("double(profile.age) < feature.orders", {"profile_age": 1, "feature_orders": 1.5}, True),
        ("true", {}, True),
    ],
)
def test_expressions_evaluate(text, values, result):
    assert evaluate(text, **values) is result


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("known.profile.age", {}, False),
        ("known.profile.age", {"profile_age": 0}, True),
        ("known.profile.member && profile.member", {}, False),
        ("!known.profile.age || profile.age > 17", {}, True),
        ("!known.profile.age || profile.age > 17", {"profile_age": 3}, False),
        ("known.feature.orders ? feature.orders > 1.0 : true", {}, True),
        ("(known.feature).orders", {"feature_orders": 1.0}, True),
    ],
)
def test_known_tells_whether_there_is_a_value(text, values, result):
    assert evaluate(text, **values) is result


@pytest.mark.parametrize(
    ("text", "values", "name"),
    [
        ("feature.orders > 2.0", {}, "feature.orders"),
        ("!profile.member", {}, "profile.member"),
        ("feature.orders == feature.orders", {}, "feature.orders"),
        ("profile.member && profile.age > 1", {"profile_member": True}, "profile.age"),
        ("profile.member || profile.age > 1", {"profile_member": False}, "profile.age"),
        ("profile.age > 1 ? true : false", {}, "profile.age"),
        ("1 / profile.age > 0", {}, "profile.age"),
        ("feature.orders_30d > feature.orders", {"feature_orders": 1.0}, "feature.orders_30d"),
    ],
)
def test_an_evaluation_that_needs_a_missing_value_says_which(text, values, name):
    assert evaluate(text, **values) == Missing(name=name)


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("1 / profile.age > 0", {"profile_age": 0}, "divide by zero"),
        ("profile.age % 0 == 1", {"profile_age": 1}, "modulus by zero"),
        ("profile.age + 9223372036854775807 > 0", {"profile_age": 1}, "overflow"),
        ("int(profile.city) > 0", {"profile_city": "x"}, "cannot convert"),
        ("[1, 2][profile.age] > 0", {"profile_age": 7}, "index=7"),
        ("profile.city.matches('(')", {"profile_city": "x"}, "invalid regular expression"),
        ("timestamp(profile.city) > timestamp('2025-01-01T00:00:00Z')", {"profile_city": "x"}, "Timestamp"),
        ("duration('1 parsec') > duration('1s')", {}, "Duration"),
        ("profile.age > 1", {"profile_age": "old"}, "profile.age"),
        ("profile.age > 1", {"profile_age": 2**70}, "too big"),
        ("profile.city == 'x'", {"profile_city": "\ud800"}, "string"),
    ],
)
def test_an_evaluation_that_fails_is_a_value_and_no_exception(text, values, message):
    found = evaluate(text, **values)
    assert isinstance(found, Failed)
    assert message in found.message


def test_a_failure_is_absorbed_like_a_missing_value():
    assert evaluate("1 / profile.age > 0 || profile.member", profile_age=0, profile_member=True) is True
    assert evaluate("profile.member && 1 / profile.age > 0", profile_age=0, profile_member=False) is False


def test_hard_regular_expressions_take_no_time():
    assert evaluate("profile.city.matches('(a*)*b')", profile_city="a" * 1_000) is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("feature.order > 1.0", '"feature.order" is not declared; did you mean "feature.orders"?'),
        ("featur.orders > 1.0", '"featur.orders" is not declared; did you mean "feature.orders"?'),
        (
            "feature.orders > 1.0 && profile.agee > 1",
            '"profile.agee" is not declared; did you mean "profile.age"?',
        ),
        ("known.profile.agee", '"known.profile.agee" is not declared; did you mean "known.profile.age"?'),
        ("(feature).order > 1.0", '"feature.order" is not declared; did you mean "feature.orders"?'),
        ("zzz > 1", '"zzz" is not declared'),
        ("Feature.orders > 1.0", '"Feature.orders" is not declared; did you mean "feature.orders"?'),
        ("feature.Orders > 1.0", '"feature.Orders" is not declared; did you mean "feature.orders"?'),
        ("feature['orders'] > 1.0", '"feature" is not declared'),
        ("now() > timestamp('2025-01-01T00:00:00Z')", '"now" is not declared'),
        ("profile.city.upperAscii() == 'X'", '"upperAscii" is not declared'),
    ],
)
def test_an_undeclared_name_is_refused_with_the_nearest_right_one(text, message):
    with pytest.raises(ExpressionError) as caught:
        ENVIRONMENT.compile(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("feature.orders > 1", "write a whole number as 30.0 beside a number with decimals"),
        ("profile.age > 1.0", "no matching overload"),
        ("profile.age > '1'", "no matching overload"),
        ("profile.city > 1", "no matching overload"),
        ("profile.city in [1, 2]", "no matching overload"),
        ("profile.member && profile.age", "no matching overload"),
        ("feature.orders == null", "no matching overload"),
        ("feature.orders.x > 1.0", "cannot be the operand of a select"),
        ("feature.orders", "must be true or false, not double"),
        ("profile.age + 1", "must be true or false, not int"),
        ("'yes'", "must be true or false, not string"),
        ("null", "must be true or false, not null"),
        ("dyn(profile.member)", "must be true or false, not dyn"),
        ("[profile.member]", "must be true or false, not list"),
        ("profile.age > 99999999999999999999", "invalid int literal"),
    ],
)
def test_a_wrong_type_is_refused(text, message):
    with pytest.raises(ExpressionError, match=message):
        ENVIRONMENT.compile(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "\n",
        "// only a comment",
        "profile.member &&",
        "((profile.member)",
        "profile.member)",
        "'open",
        "profile.member and true",
        "profile.age = 1",
        "profile.member; true",
        "profile.member # no",
        "\x00",
        "ö",
        "feature.orders > 1,000.0",
        "/* no */ true",
        "if (true) { }",
        "profile.in",
        "🎉",
        "r'\\'",
        '"""open',
    ],
)
def test_what_is_no_cel_is_refused_in_one_line(text):
    with pytest.raises(ExpressionError) as caught:
        ENVIRONMENT.compile(text)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("macro", ["all", "exists", "exists_one", "map", "filter"])
@pytest.mark.parametrize(
    "call", ["[1].{}(x, x > 0)", "[1] . {} (x, x > 0)", "[1].\n{}\t(x, x > 0)", "[1].{} // c\n(x, x > 0)"]
)
def test_loops_are_refused(macro, call):
    with pytest.raises(ExpressionError, match=rf"^{macro}\(\) is refused: expressions do not loop"):
        ENVIRONMENT.compile(call.format(macro))


@pytest.mark.parametrize(
    "text",
    [
        "has(profile.age)",
        "has (profile.age)",
        "has\n(profile.age)",
        "!has(profile.age)",
        "has // c\n (profile.age)",
        "true||has(profile.age)",
        "has({'a': 1}.a)",
    ],
)
def test_has_is_refused(text):
    with pytest.raises(ExpressionError, match=r"has\(\) is refused: write known.<name>"):
        ENVIRONMENT.compile(text)


@pytest.mark.parametrize(
    "text",
    [
        "profile.city == 'has(profile.age)'",
        'profile.city == "[1].all(x, x > 0)"',
        "profile.city == '''it's .map( here'''",
        'profile.city == """a\\""" has( """',
        "profile.city == 'it\\'s has(x)'",
        'profile.city == r\'has(\' || profile.city == R""".filter("""',
        "b'has(' == b'.all(' || profile.city == ''",
        "profile.city == '' // unless has(x) or [1].all(x)",
        "profile.city == '// has(' // and 'this",
        "// has(profile.age)\nprofile.city == ''",
    ],
)
def test_words_in_strings_and_comments_are_no_calls_and_no_names(text):
    assert ENVIRONMENT.compile(text).reads == {"profile.city"}


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("true", set()),
        ("feature.orders_30d > 1.0", {"feature.orders_30d"}),
        ("feature.orders>1.0||feature.orders_30d>1.0", {"feature.orders", "feature.orders_30d"}),
        ("known.profile.age", {"known.profile.age"}),
        ("size(profile.city) > 0 && profile.city.size() > 0", {"profile.city"}),
        ("profile.city == 'profile.age'", {"profile.city"}),
        ("{'profile.age': 1}['profile.age'] == 1", set()),
        ("profile . age > 1", {"profile.age"}),
        ("profile\n.\tage > 1", {"profile.age"}),
        ("profile. // c\n age > 1", {"profile.age"}),
        ("(profile).age > 1", {"profile.age"}),
        ("((profile)).age > 1", {"profile.age"}),
        (".profile.age > 1", {"profile.age"}),
        ("1 < .profile.age", {"profile.age"}),
        ("profile.`age` > 1", {"profile.age"}),
        ("[profile.member][0]", {"profile.member"}),
        ("(known.profile).age", {"known.profile.age"}),
        (".known.profile.age", {"known.profile.age"}),
    ],
)
def test_an_expression_knows_the_variables_that_it_reads(text, reads):
    assert ENVIRONMENT.compile(text).reads == reads


def test_two_of_the_same_text_are_the_same_expression():
    assert ENVIRONMENT.compile("profile.age > 1") is ENVIRONMENT.compile("profile.age > 1")
    assert ENVIRONMENT.compile("profile.age > 1") is not ENVIRONMENT.compile("profile.age > 2")


def test_an_expression_has_a_longest_length():
    fits = "profile.city == '" + "x" * (4_000 - 18) + "'"
    assert len(fits) == 4_000
    assert evaluate(fits, profile_city="x") is False
    with pytest.raises(ExpressionError, match="longer than 4000 characters"):
        ENVIRONMENT.compile(fits + " ")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100 + "true" + ")" * 100,
        "(" * 3999,
        "[" * 100 + "]" * 100 + " == []",
        "1" + "+1" * 500 + " > 0",
        "profile" + ".x" * 1000,
        "true ? true : " * 200 + "true",
        "dyn(" * 200 + "true" + ")" * 200,
    ],
)
def test_deep_nesting_is_refused_in_one_line(text):
    with pytest.raises(ExpressionError, match="recursion") as caught:
        ENVIRONMENT.compile(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("operator", ["&&", "||"])
def test_long_chains_of_conditions_are_fine(operator):
    assert evaluate(operator.join(["profile.member"] * 200), profile_member=True) is True


@settings(max_examples=200)
@given(st.text("profile.age>1&|()'\"`/ \nhasr{}[]?:known\\,", max_size=40) | st.text(max_size=20))
def test_any_text_compiles_or_is_refused(text):
    try:
        expression = ENVIRONMENT.compile(text)
    except ExpressionError:
        return
    assert expression.evaluate(ENVIRONMENT.activation({}, expression.reads)) is not None


PLACES = st.tuples(*2 * (st.floats(-90, 90), st.floats(-180, 180)))
RADIUS_KM = 6_371.0088


def on_the_sphere(latitude, longitude):
    phi, lam = math.radians(latitude), math.radians(longitude)
    return math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)


def chord_km(latitude, longitude, to_latitude, to_longitude):
    """Measure the angle between two arrows from the centre of the earth."""
    one, other = on_the_sphere(latitude, longitude), on_the_sphere(to_latitude, to_longitude)
    x, y, z = one
    a, b, c = other
    across = math.hypot(y * c - z * b, z * a - x * c, x * b - y * a)
    return RADIUS_KM * math.atan2(across, x * a + y * b + z * c)


@given(PLACES)
def test_a_distance_is_the_angle_between_two_places_times_the_radius(places):
    # Where places are opposite each other, haversines lose half of their digits.
    assert distance_km(*places) == pytest.approx(chord_km(*places), rel=1e-9, abs=1e-3)


@given(PLACES)
def test_a_distance_is_the_same_both_ways_and_at_most_half_the_earth(places):
    there, back = distance_km(*places), distance_km(*places[2:], *places[:2])
    assert there == pytest.approx(back, abs=1e-6)
    assert 0.0 <= there <= math.pi * RADIUS_KM


@pytest.mark.parametrize(
    ("places", "km"),
    [
        ((0.0, 0.0, 0.0, 0.0), 0.0),
        ((0.0, 0.0, 0.0, 180.0), math.pi * RADIUS_KM),
        ((90.0, 0.0, -90.0, 77.0), math.pi * RADIUS_KM),
        ((90.0, 12.0, 90.0, -77.0), 0.0),
        ((0.0, 179.5, 0.0, -179.5), math.pi * RADIUS_KM / 180),
        ((48.0, 11.0, 49.0, 11.0), math.pi * RADIUS_KM / 180),
    ],
)
def test_distances_of_known_places(places, km):
    assert distance_km(*places) == pytest.approx(km, abs=1e-6)


@pytest.mark.parametrize("nowhere", ["0.0 / 0.0", "1.0 / 0.0"])
def test_a_distance_to_nowhere_fails_instead_of_being_none(nowhere):
    found = evaluate(f"distance_km(0.0, 0.0, 0.0, {nowhere}) < 5.0")
    assert isinstance(found, Failed)
    assert "no finite number" in found.message


def test_expressions_measure_distances_between_numbers_with_decimals():
    assert evaluate("distance_km(0.0, 0.0, 0.0, feature.orders) > 111.0", feature_orders=1.0) is True
    assert evaluate("distance_km(0.0, 0.0, 0.0, feature.orders) > 112.0", feature_orders=1.0) is False
    assert evaluate("distance_km(0.0, 0.0, 0.0, feature.orders) > 1.0") == Missing(name="feature.orders")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distance_km(0, 0, 0, 1) > 1.0", "no matching overload"),
        ("distance_km(0.0, 0.0, 0.0) > 1.0", "takes latitude, longitude, latitude, longitude"),
        (
            "distance_kn(0.0, 0.0, 0.0, 1.0) > 1.0",
            '"distance_kn" is not declared; did you mean "distance_km"',
        ),
    ],
)
def test_a_distance_needs_four_numbers_with_decimals(text, message):
    with pytest.raises(ExpressionError, match=message):
        ENVIRONMENT.compile(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [("age > 1", "profile.age"), ("AGE > 1", "profile.age"), ("PROFILE.AGE > 1", "profile.age")],
)
def test_a_name_without_its_prefix_or_in_capitals_is_found(text, right):
    with pytest.raises(ExpressionError, match=f'did you mean "{right}"') as caught:
        ENVIRONMENT.compile(text)
    assert caught.value.name == text.split()[0]
