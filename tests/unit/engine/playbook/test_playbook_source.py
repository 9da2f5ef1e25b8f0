import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.source import read


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("source") / "x.yaml"


def parse(file, text):
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(file, "x.yaml")


def problems(file, text):
    with pytest.raises(PlaybookError) as caught:
        parse(file, text)
    return [(problem.file, problem.line, problem.message) for problem in caught.value.problems]


def only_problem(file, text):
    [(name, line, message)] = problems(file, text)
    assert name == "x.yaml"
    return line, message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        *((word, word) for word in ("no", "No", "yes", "on", "off", "y", "n", "tRUE", "nil")),
        *(
            (word, word)
            for word in ("1:30", "2025-01-01", "1_000", "0x10", "0o17", ".inf", ".nan", "1e", "-a")
        ),
        *(("5", 5), ("+5", 5), ("-5", -5), ("017", 17), ("5.", 5.0), (".5", 0.5), ("1e3", 1000.0)),
        *(("'true'", "true"), ('"5"', "5"), ("|-\n  5", "5"), (">-\n  null", "null"), ("''", "")),
    ],
)
def test_scalars_follow_yaml_1_2(file, text, value):
    found = parse(file, f"key: {text}\n").data["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff"])
def test_an_empty_file_is_an_empty_mapping(file, text):
    assert parse(file, text).data in ({}, None)


def test_an_empty_text_is_an_empty_mapping(file):
    assert parse(file, "# only a comment\n").data == {}


def test_keys_are_words_whatever_they_look_like(file):
    assert parse(file, "5: a\nnull: b\ntrue: c\n~: d\n").data == {
        "5": "a",
        "null": "b",
        "true": "c",
        "~": "d",
    }


def test_a_byte_order_mark_is_no_content(file):
    assert parse(file, b"\xef\xbb\xbfa: 1\n").data == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 'the key "a" stands twice'),
        ("a:\n  b: 1\n  c: 2\n  'b': 3\n", 4, 'the key "b" stands twice'),
        ("a: {b: 1,\n b: 2}\n", 2, 'the key "b" stands twice'),
        ("- {a: 1}\n- {a: 1, a: 2}\n", 2, 'the key "a" stands twice'),
        ("x: 1\n? [a, b]\n: 2\n", 2, "a key must be a plain word"),
        ("x: 1\na: &a\n  - *a\n", 2, "an alias contains itself"),
        ("x: 1\na: !!str 5\n", 2, "the tag !!str is refused: write the value itself"),
        ("a: !secret x\n", 1, "the tag !secret is refused: write the value itself"),
        ("a: !!python/object:os.system [x]\n", 1, "the tag !!python/object:os.system is refused"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\nb: *nowhere\n", 2, "undefined alias"),
        ("a:\n  b: 1\n c: 2\n", 3, "did not find expected key"),
        ("a:\n\tb: 1\n", 2, "cannot start any token"),
        ("a: [1,\n2\n", 3, "while parsing a flow sequence"),
        ("a: b: c\n", 1, "mapping values are not allowed"),
        ("a: 1\nb: \x07\n", 2, "control characters are not allowed"),
        (b"a: 1\nb: \xff\n", 1, "the file is not UTF-8 (byte 8)"),
        ("a: 1".encode("utf-16"), 1, "the file is not UTF-8 (byte 0)"),
        ('a: 1\nb: "\\ud800"\n', 2, "invalid Unicode character"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_line(file, text, line, message):
    found_line, found_message = only_problem(file, text)
    assert found_line == line
    assert message in found_message


def test_every_duplicate_key_is_reported(file):
    assert [line for _, line, _ in problems(file, "a: 1\na: 2\nb: 1\nb: 2\n")] == [2, 4]


def test_a_missing_file_is_a_problem(tmp_path):
    with pytest.raises(PlaybookError, match=r"x.yaml:1: the file is missing"):
        read(tmp_path / "x.yaml", "x.yaml")


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path):
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(PlaybookError, match=r"x.yaml:1: the file cannot be read"):
        read(tmp_path / "x.yaml", "x.yaml")


def test_aliases_stand_for_what_they_name(file):
    document = parse(file, "a: &x {k: 1}\nb: *x\nc: [*x, *x]\n")
    assert document.data == {"a": {"k": 1}, "b": {"k": 1}, "c": [{"k": 1}, {"k": 1}]}


def test_merge_keys_are_no_feature_of_yaml_1_2(file):
    assert parse(file, "a: &x {k: 1}\nb:\n  <<: *x\n").data["b"] == {"<<": {"k": 1}}


def test_aliases_cannot_blow_a_file_up(file):
    rows = ["a0: &a0 [" + ",".join("x" * 10) + "]"]
    rows += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "grows too large" in only_problem(file, "\n".join(rows))[1]


def test_aliases_cannot_nest_a_file_too_deep(file):
    rows = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 2_000))]
    assert "too deep" in only_problem(file, "\n".join(rows))[1]


@pytest.mark.parametrize("depth", [70, 1_000, 200_000])
@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused_and_ends_no_process(file, opening, depth):
    assert only_problem(file, opening * depth) == (1, "no valid YAML: more than 64 levels deep")


def test_a_number_too_long_for_an_integer_is_no_number_of_use(file):
    assert parse(file, "a: " + "9" * 5_000).data["a"] == float("inf")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=12)
)
KEYS = st.text("abcdefgh_", min_size=1, max_size=6)
DATA = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=15,
    ),
)


def paths(data, path=()):
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in items:
        yield (*path, step)
        yield from paths(value, (*path, step))


@settings(max_examples=60)
@given(DATA)
def test_json_is_read_as_it_is_and_each_key_on_its_line(file, data):
    text = json.dumps(data, indent=1, ensure_ascii=False)
    document = parse(file, text)
    assert document.data == data
    rows = text.splitlines()
    for path in paths(data):
        if isinstance(path[-1], str):
            assert rows[document.line(path) - 1].strip().startswith(f'"{path[-1]}":')


def test_a_place_that_the_file_lacks_is_found_at_its_nearest_parent(file):
    document = parse(file, "a:\n  b:\n    - x\n    - y\n")
    assert document.line(("a", "b", 1)) == 4
    assert document.line(("a", "b", 7)) == 2
    assert document.line(("a", "count", "b")) == 2
    assert document.line(("z",)) == 1
    assert str(document.problem(("a", "b", 1), "no")) == "x.yaml:4: no"


@settings(max_examples=300)
@given(st.text("ab:-[]{}#&*!|>'\"%@`,?\n\t 01.~<=\\\r\u2028é\0", max_size=60) | st.binary(max_size=40))
def test_any_file_is_read_or_refused_with_a_line_of_it(file, text):
    raw = text if isinstance(text, bytes) else text.encode()
    try:
        parse(file, raw)
    except PlaybookError as error:
        for problem in error.problems:
            assert 1 <= problem.line <= len(raw.decode(errors="replace").splitlines()) + 1


def test_a_large_file_without_aliases_is_read(file):
    assert len(parse(file, "a: [" + "x," * 101_000 + "]").data["a"]) == 101_000
