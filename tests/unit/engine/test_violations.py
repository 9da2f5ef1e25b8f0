import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.violations import InvalidRequest, Violation, check_text, shorten, unknown


def described(value, least=1, most=5):
    violations = []
    check_text("id", value, violations, least=least, most=most)
    return [violation.description for violation in violations]


@pytest.mark.parametrize(
    ("value", "least", "descriptions"),
    [
        ("a", 1, []),
        ("aaaaa", 1, []),
        ("", 0, []),
        ("", 1, ["must have 1 to 5 characters"]),
        ("aaaaaa", 1, ["must have 1 to 5 characters"]),
        ("aaaaaa", 0, ["must have at most 5 characters"]),
        ("a\0", 1, ["must not contain the character U+0000"]),
    ],
)
def test_texts_have_a_length_and_no_null(value, least, descriptions):
    assert described(value, least) == descriptions


@given(st.text(max_size=200))
def test_names_in_messages_are_short(name):
    assert len(shorten(name)) <= 65
    assert shorten(name)[:64] == name[:64]


def test_an_unknown_name_comes_with_the_nearest_right_one():
    assert unknown("mial", ["mail", "push"]) == 'not in the playbook; did you mean "mail"?'
    assert unknown("fax", []) == "not in the playbook"


def test_a_message_never_repeats_what_the_caller_wrote():
    assert "jane" not in unknown("jane@example.com", ["email"])


def test_an_invalid_request_tells_all_that_is_wrong():
    error = InvalidRequest(Violation("a", "is empty"), Violation("b", "is negative"))
    assert str(error) == "a: is empty; b: is negative"
    assert len(error.violations) == 2
