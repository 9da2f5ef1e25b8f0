"""Shapes: every unknown key and every value that does not fit is refused, with file and line."""

import json
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import FILES, load, shipped
from services.engine.playbook.schema.head import Hours
from tests.playbooks import SHOP, changed, load_playbook, write_playbook

SALE = ("actions", "actions", "sale")
FEATURE = ("features", "features")
RULE = ("policies", "eligibility", 0)
AGE = ("profile", "attributes", "age")


def problems(folder, *changes, **texts):
    """Load a changed playbook and return its problems with the row that each points at."""
    write_playbook(folder, *changes, **texts)
    with pytest.raises(PlaybookError) as caught:
        load(folder)
    return [
        (problem.message, (folder / problem.file).read_text().splitlines()[problem.line - 1].strip())
        for problem in caught.value.problems
    ]


def only_problem(folder, *changes, **texts):
    [found] = problems(folder, *changes, **texts)
    return found


def test_the_shipped_playbooks_load():
    for folder in sorted(path for path in shipped("retail").parent.iterdir() if path.is_dir()):
        assert load(folder).head.name == folder.name


def test_there_must_be_a_folder(tmp_path):
    with pytest.raises(PlaybookError, match="there is no such playbook folder"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path, name):
    write_playbook(tmp_path, **{name.removesuffix(".yaml"): None})
    with pytest.raises(PlaybookError) as caught:
        load(tmp_path)
    assert [str(problem) for problem in caught.value.problems] == [f"{name}:1: the file is missing"]


def test_an_unknown_file_is_refused_with_the_nearest_right_name(tmp_path):
    write_playbook(tmp_path)
    (tmp_path / "polices.yaml").write_text("")
    (tmp_path / "actions.yml").write_text("")
    (tmp_path / "notes.txt").write_text("free")
    (tmp_path / "README.md").write_text("free")
    (tmp_path / "cases").mkdir()
    with pytest.raises(PlaybookError) as caught:
        load(tmp_path)
    assert [str(problem) for problem in caught.value.problems] == [
        'actions.yml:1: unknown file; did you mean "actions.yaml"?',
        'polices.yaml:1: unknown file; did you mean "policies.yaml"?',
    ]


SECTIONS = [
    (("playbook",), "currency"),
    (("playbook", "purposes", "marketing"), "description"),
    (("playbook", "channels", "email"), "description"),
    (("playbook", "context", "items"), "type"),
    (("profile",), "attributes"),
    (("profile", "identities", "email"), "description"),
    (AGE, "description"),
    (("events",), "events"),
    (("events", "events", "order"), "attributes"),
    (("events", "events", "order", "attributes", "amount"), "scale"),
    (("features",), "features"),
    *(((*FEATURE, name), "description") for name in SHOP["features"]["features"]),
    ((*FEATURE, "spend_30d"), "window"),
    ((*FEATURE, "category_share"), "measure"),
    (("actions",), "actions"),
    (("actions", "attributes", "discount"), "type"),
    (("actions", "groups", "offers"), "outcome"),
    (("actions", "groups", "offers", "outcome"), "within"),
    (SALE, "class"),
    ((*SALE, "valid"), "through"),
    ((*SALE, "treatments", "mail"), "channel"),
    (("policies",), "suitability"),
    (RULE, "applies_to"),
    ((*RULE, "applies_to"), "groups"),
]


@pytest.mark.parametrize(("path", "key"), SECTIONS)
def test_an_unknown_key_is_refused_with_the_nearest_right_name(tmp_path, path, key):
    wrong = key[:-2] + key[-1] + "x" + key[-2]
    message, row = only_problem(tmp_path, (*path, wrong, "x"))
    assert message == f'unknown key "{wrong}"; did you mean "{key}"?'
    assert row.startswith(f'"{wrong}"')


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("playbook",), "name"),
        (("playbook",), "time_zone"),
        (("playbook",), "currency"),
        (("playbook",), "purposes"),
        (("playbook",), "channels"),
        (AGE, "type"),
        ((*FEATURE, "spend_30d"), "attribute"),
        ((*FEATURE, "spend_30d"), "kind"),
        ((*FEATURE, "category_share"), "by"),
        (("actions",), "groups"),
        (("actions", "groups", "offers", "outcome"), "match"),
        (SALE, "group"),
        (SALE, "purpose"),
        (SALE, "value"),
        (SALE, "treatments"),
        ((*SALE, "treatments", "mail"), "channel"),
        ((*SALE, "treatments", "mail"), "content"),
        (RULE, "name"),
        (RULE, "text"),
        (RULE, "when"),
    ],
)
def test_a_missing_key_is_named_at_its_section(tmp_path, path, key):
    message, row = only_problem(tmp_path, (*path, key, ...))
    assert message == f'"{key}" is missing'
    assert row.startswith(f'"{path[-1]}"') if isinstance(path[-1], str) and len(path) > 1 else row == "{"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("playbook", "name"), 1.0, "must be text, in quotes where it looks like a number"),
        (("playbook", "name"), "two words", "must be 1 to 64 letters"),
        (("playbook", "name"), "-x", "must be 1 to 64 letters"),
        (("playbook", "name"), "x" * 65, "must be 1 to 64 letters"),
        (("playbook", "time_zone"), "Europe/Berln", '"Europe/Berln" is no IANA time zone'),
        (("playbook", "currency"), "eur", '"eur" is no currency of three capital letters such as EUR'),
        (("playbook", "currency"), "EUR\n", "no currency"),
        (("playbook", "objective"), "uplift", '"uplift" is unknown; known: propensity'),
        (("playbook", "threshold"), "cheap", '"cheap" is no amount'),
        (("playbook", "purposes"), {}, "at least 1"),
        (("playbook", "channels"), {}, "at least 1"),
        (("playbook", "channels"), ["email"], "must be a mapping"),
        (("playbook", "context"), None, "must be a mapping"),
        ((*AGE, "type"), "int", '"int" is unknown; did you mean "integer"?'),
        ((*AGE, "scale"), 2, '"scale" belongs to type decimal'),
        ((*AGE, "values"), ["a"], '"values" belongs to type enum'),
        (("profile", "attributes", "tier", "values"), [], "distinct and at least one"),
        (("profile", "attributes", "tier", "values"), ["a", "a"], "distinct and at least one"),
        (("profile", "attributes", "tier", "values"), "ab", "must be a list"),
        (("profile", "attributes", "tier", "values"), ["a", 1], "must be text"),
        (("events", "events", "order", "attributes", "amount", "scale"), 10, "less than or equal to 9"),
        (("events", "events", "order", "attributes", "amount", "scale"), -1, "greater than or equal to 0"),
        (
            ("events", "events", "order", "attributes", "amount", "scale"),
            2.0,
            "scale: must be a whole number",
        ),
        (
            ("events", "events", "order", "attributes", "amount", "scale"),
            True,
            "scale: must be a whole number",
        ),
        ((*FEATURE, "gifts"), "count", "must be a mapping"),
        ((*FEATURE, "gifts", "kind"), "cuont", 'unknown kind "cuont"; did you mean "count"?'),
        ((*FEATURE, "gifts", "kind"), "x", "known: count, sum, mean, min, max, first, last, rate,"),
        ((*FEATURE, "gifts", "kind"), ["count"], "unknown kind"),
        ((*FEATURE, "gifts", "kind"), {"count": 1}, "unknown kind"),
        ((*FEATURE, "gifts", "where"), "gift", "must be a mapping"),
        ((*FEATURE, "gifts", "where", "gift"), 1.5, "must be a word, a whole number, true or false"),
        ((*FEATURE, "gifts", "where", "gift"), None, "must be a word, a whole number, true or false"),
        ((*FEATURE, "gifts", "where", "gift"), [True], "must be a word, a whole number, true or false"),
        *(
            ((*FEATURE, name, "default"), value, f"default: must be a {kind}")
            for name in ("gifts", "category_share")
            for value, kind in (
                (10**400, "finite number"),
                (-(10**400), "finite number"),
                ("0", "number"),
                ("NaN", "number"),
                (True, "number"),
                ([0], "number"),
            )
        ),
        ((*FEATURE, "gifts", "max_age"), "0d", "'0d' is no length of time such as 90d"),
        ((*FEATURE, "gifts", "max_age"), 30, "30 is no length of time such as 90d"),
        ((*FEATURE, "category_share", "measure"), "portion", '"portion" is unknown; known: share, total'),
        (("actions", "actions"), {}, "at least 1"),
        (("actions", "groups", "offers", "outcome", "within"), "validty", "nor validity"),
        ((*SALE, "class"), "mandatry", '"mandatry" is unknown; did you mean "mandatory"?'),
        ((*SALE, "treatments"), {}, "at least 1"),
        ((*SALE, "treatments", "mail", "content"), {}, "at least 1"),
        ((*SALE, "treatments", "mail", "content", "headline"), 5, "must be text"),
        ((*SALE, "valid"), None, "must be a mapping"),
        ((*SALE, "valid"), {"from": "2025-04-02", "through": "2025-04-01"}, '"from" lies after "through"'),
        ((*RULE, "text"), "", "at least 1 character"),
        ((*RULE, "text"), "x" * 401, "at most 400 characters"),
        ((*RULE, "when"), True, "when: must be text"),
        ((*RULE, "applies_to", "groups"), "offers", "must be a list"),
        (("policies", "eligibility"), {}, "must be a list"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_at_its_key(tmp_path, path, value, message):
    found, row = only_problem(tmp_path, (*path, value))
    assert message in found
    places = [step for step in path if isinstance(step, str)]
    keys = [*places[-2:], *(value if isinstance(value, dict) else ())]
    assert any(row.startswith(f'"{key}"') for key in keys) or row == str(value[-1])


@pytest.mark.parametrize("name", ["Bad", "bad-name", "1bad", "_bad", "", "x" * 65, "naïve", "two words"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (FEATURE, {"kind": "count", "event": "order"}),
        (("profile", "attributes"), {"type": "integer"}),
        (("playbook", "context"), {"type": "integer"}),
        (("events", "events"), {}),
    ],
)
def test_names_that_rules_read_are_plain_words(tmp_path, path, value, name):
    message, row = only_problem(tmp_path, (*path, name, value))
    assert "must be 1 to 64 of a-z, 0-9 and _" in message
    assert row.startswith(f'"{name}"')


@pytest.mark.parametrize("text", ["- a\n", "null\n", "word\n", "5\n"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_must_be_a_mapping(tmp_path, name, text):
    message, row = only_problem(tmp_path, **{name.removesuffix(".yaml"): text})
    assert message == "must be a mapping"
    assert row == text.strip()


def test_problems_of_all_files_are_reported_at_once_in_order(tmp_path):
    found = problems(
        tmp_path,
        ("playbook", "nmae", "x"),
        (*SALE, "group", ...),
        (*SALE, "value", "x"),
        ("features", "features", "gifts", "kind", "x"),
        events="events: {}\nevents: {}\n",
    )
    assert [message.split(":")[0] for message, _ in found] == [
        '"group" is missing',
        "value",
        'the key "events" stands twice',
        'unknown kind "x"; known',
        'unknown key "nmae"; did you mean "name"?',
    ]


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        *(("0", 0), ("5", 5_000_000), ("5.00", 5_000_000), ("'5.10'", 5_100_000), ("-0.30", -300_000)),
        *(("0.1", 100_000), ("0.000001", 1), ("1e3", 1_000_000_000), ("0.1234560", 123_456)),
        *(("999999999.999999", 999_999_999_999_999), ("-1000000000", -(10**15)), ("4.35", 4_350_000)),
    ],
)
def test_amounts_are_exact(tmp_path, text, micros):
    policies = "{}"
    actions = json.dumps(changed((*SALE, "value", "VALUE"))["actions"]).replace('"VALUE"', text)
    playbook = load_playbook(tmp_path, actions=actions, policies=policies)
    assert playbook.actions["sale"].value == micros


@settings(max_examples=30)
@given(st.integers(-(10**15), 10**15), st.booleans())
def test_any_amount_of_six_decimals_is_exact(tmp_path_factory, micros, quoted):
    text = f"{Decimal(micros).scaleb(-6):f}"
    text = f'threshold: "{text}"\n' if quoted else f"threshold: {text}\n"
    head = SHOP["playbook"] | {"threshold": "VALUE"}
    yaml = json.dumps(head, indent=0).replace(
        '"threshold": "VALUE"', text.strip().replace("threshold", '"threshold"')
    )
    playbook = load_playbook(tmp_path_factory.mktemp("amount"), playbook=yaml)
    assert playbook.head.threshold == micros


@pytest.mark.parametrize(
    "text",
    [
        "0.0000001",
        "1e-7",
        "5.1234567",
        "1000000000.000001",
        "1e10",
        "-1e10",
        "1e999",
        "9" * 400,
        "NaN",
        "sNaN",
        *("Infinity", ".inf", "five", "5,00", "1,000.00", "5 EUR", "''", "true", "null", "[5]", "0x10"),
    ],
)
def test_what_is_no_amount_is_refused(tmp_path, text):
    actions = json.dumps(changed((*SALE, "value", "VALUE"))["actions"], indent=1).replace('"VALUE"', text)
    _, row = only_problem(tmp_path, actions=actions)
    assert row.startswith('"value"')


@pytest.mark.parametrize("key", ["from", "through"])
@pytest.mark.parametrize(
    "value",
    [
        *(
            "2025-02-29",
            "2025-13-01",
            "25-01-01",
            "2025-1-1",
            "20250301",
            "2025-W10-1",
            "2025-03-01T00:00:00",
        ),
        *("yesterday", "", 20250301, True, "0001-01-01", "1969-12-31", "9999-12-31", "2025-03-01 "),
    ],
)
def test_what_is_no_date_is_refused(tmp_path, key, value):
    message, row = only_problem(tmp_path, (*SALE, "valid", {key: value}))
    assert "date" in message
    assert row.startswith(f'"{key}"')


@pytest.mark.parametrize("day", ["1970-01-01", "2024-02-29", "9998-12-31"])
@pytest.mark.parametrize("time_zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_first_and_the_last_date_load_in_every_zone(tmp_path, day, time_zone):
    playbook = load_playbook(
        tmp_path, (*SALE, "valid", {"from": day, "through": day}), ("playbook", "time_zone", time_zone)
    )
    start, end = playbook.validity["sale"]
    assert start < end


@pytest.mark.parametrize(
    "value",
    ["0d", "7", 7, "7 d", "7D", "-7d", "7.5d", "1000000d", "d", "", "7w", "7d ", True, "٧d"],
)
def test_what_is_no_length_of_time_is_refused(tmp_path, value):
    message, row = only_problem(tmp_path, (*FEATURE, "gifts", "window", value))
    assert "is no length of time such as 90d, 12h, 30m or 45s" in message
    assert row.startswith('"window"')


def junk():
    scalars = st.sampled_from(
        [None, True, False, 0, 1, -1, 2.5, 1e308, 10**400, "", "x", "kind", "7d", "2025-01-01", "\0", "order"]
    )
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "kind", "<<"]), inner)
        ),
        max_leaves=4,
    )


def places(data, path=()):
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in items:
        yield (*path, step)
        yield from places(value, (*path, step))


@settings(max_examples=120)
@given(st.lists(st.tuples(st.sampled_from(sorted(places(SHOP), key=str)), junk()), min_size=1, max_size=2))
def test_any_defect_is_located_and_nothing_else_goes_wrong(tmp_path_factory, defects):
    folder = tmp_path_factory.mktemp("defect")
    try:
        write_playbook(folder, *((*path, value) for path, value in defects if len(path) > 1))
    except (KeyError, TypeError, IndexError):
        assume(False)  # the second defect lies inside the first
    try:
        problems = load(folder) and ()
    except PlaybookError as error:
        problems = error.problems
    for problem in problems:
        assert 1 <= problem.line <= len((folder / problem.file).read_text().splitlines())
        assert "\n" not in problem.message


LEAST = {
    "playbook": "{name: least, time_zone: UTC, currency: EUR, purposes: {care: {}}, channels: {mail: {}}}",
    "profile": "",
    "events": "",
    "features": "",
    "actions": """
        groups: {all: {}}
        actions:
          call:
            {group: all, purpose: care, value: 1, treatments: {mail: {channel: mail, content: {text: Hi}}}}
    """,
    "policies": "",
}


def test_what_is_left_out_has_the_mildest_meaning(tmp_path):
    playbook = load_playbook(tmp_path, **LEAST)
    head, action = playbook.head, playbook.actions["call"]
    assert (head.threshold, head.minimum_propensity, head.exploration) == (0, 0.0, None)
    assert (head.control_arms, head.measures, head.devices, head.context) == ({}, {}, {}, {})
    assert (head.slate.most_per_group, head.slate.most_per_channel) == (None, None)
    assert head.purposes["care"].use == "contact"
    channel = head.channels["mail"]
    assert (channel.public, channel.delay, channel.recipient) == (False, None, "customer")
    assert (action.action_class, action.urgent, action.any_hour) == ("standard", False, False)
    assert (action.expires_after, action.minimum_propensity, action.why) == (None, None, None)
    assert playbook.validity["call"] == (None, None)
    assert (action.treatments["mail"].cost, action.treatments["mail"].devices) == (0, ())
    assert playbook.rules.rules == ()
    assert (playbook.borrowed, playbook.feature_consents) == (frozenset(), {})


@pytest.mark.parametrize(
    ("text", "minutes"), [("22:00", 1_320), ('"22:00"', 1_320), ("00:05", 5), ("'7:00'", None)]
)
def test_a_time_of_day_needs_no_quotes_here(tmp_path, text, minutes):
    policies = f"quiet_hours: [{{name: night, text: Sleep., from: {text}, to: 23:59}}]"
    if minutes is None:
        message, _ = only_problem(tmp_path, policies=policies)
        assert message == 'from: \'7:00\' is no time of day from "00:00" to "23:59", in quotes'
    else:
        [night] = load_playbook(tmp_path, policies=policies).policies.quiet_hours
        assert (night.start, night.end) == (minutes, 23 * 60 + 59)


@settings(max_examples=50)
@given(st.integers(0, 23), st.integers(0, 59))
def test_every_time_of_day_is_its_minute(hour, minute):
    hours = Hours.model_validate(
        {"from": f"{hour:02}:{minute:02}", "to": f"{(hour + 1) % 24:02}:{minute:02}"}
    )
    assert (hours.start, hours.end) == (hour * 60 + minute, (hour + 1) % 24 * 60 + minute)


@pytest.mark.parametrize(
    "text", ["24:00", "12:60", "1200", "12:00:00", "noon", "", "-1:00", "٢٢:٠٠", "540", "true", "12"]
)
def test_what_is_no_time_of_day_is_refused(tmp_path, text):
    policies = (
        f'{{"quiet_hours": [{{"name": "night", "text": "Sleep.", "from": {text or None}, "to": "08:00"}}]}}'
    )
    message, _ = only_problem(tmp_path, policies=policies)
    assert "is no time of day" in message
