"""A typo at any place of any file yields the file, the line and the nearest right name, and nothing else."""

import re
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.kinds import AnyFeature
from services.engine.playbook.loader import load
from tests.theatre import FILES, KEYS, changed_at, write_theatre


def told(folder, file, text):
    write_theatre(folder, **{file.removesuffix(".yaml"): text})
    with pytest.raises(PlaybookError) as caught:
        load(folder)
    return [str(problem) for problem in caught.value.problems]


PLACES = [
    (file, number, found[1])
    for file, text in FILES.items()
    for number, row in enumerate(text.splitlines())
    if (found := re.match(r"[ -]*(\w+):", row)) and found[1] in KEYS
]


def test_the_theatre_has_every_key_of_the_language_and_every_kind_of_feature(tmp_path):
    assert {key for _, _, key in PLACES} == KEYS - {"temperature"}
    theatre = load(write_theatre(tmp_path))
    assert {type(feature) for feature in theatre.features.values()} == set(get_args(AnyFeature))


@pytest.mark.parametrize(("file", "number", "key"), PLACES)
def test_a_misspelt_key_is_told_at_its_line(tmp_path, file, number, key):
    rows = FILES[file].splitlines()
    wrong = f"{key[:-1]}x{key[-1]}"
    rows[number] = rows[number].replace(key, wrong, 1)
    message = f'unknown key "{wrong}"; did you mean "{key}"?'
    assert told(tmp_path, file, "\n".join(rows)) == [f"{file}:{number + 1}: {message}"]


# What is misspelt, the text before it, what is right and what is written instead.
REFERENCES = {
    "playbook.yaml": [
        ("objective", "objective:", "propensity", "propensty"),
        ("method", "method:", "epsilon", "epsilom"),
        ("control_arms", "control_arms:", "random_eligible", "random_eligable"),
        ("control_arms", "control_arms:", "hold_out", "holdout"),
        ("use", "marketing:", "contact", "contcat"),
        ("use", "research:", "data", "dta"),
        ("recipient", "recipient:", "actor", "acter"),
        ("type", "stage:", "enum", "Enum"),
        ("type", "queue:", "integer", "INTEGER"),
        ("type", "greeting:", "string", "sting"),
        ("provenance", "queue:", "borrowed", "borowed"),
        ("provenance", "greeting:", "displayed", "dispalyed"),
    ],
    "profile.yaml": [
        ("type", "subscribed_until:", "timestamp", "timestmap"),
        ("type", "donated:", "decimal", "decimel"),
        ("provenance", "first_name:", "owned", "own"),
        ("provenance", "subscribed_until:", "copied", "copyed"),
        ("purpose", "donated:", "research", "reserach"),
    ],
    "events.yaml": [
        ("purpose", "consent:", "research", "resaerch"),
        ("type", "premiere:", "boolean", "bolean"),
        ("type", "rating:", "number", "numbr"),
    ],
    "features.yaml": [
        *(
            ("kind", f"  {name}:\n", kind, f"{kind[:-1]}x{kind[-1]}")
            for name, kind in (
                ("visits", "count"),
                ("paid", "sum"),
                ("seats", "mean"),
                ("worst", "min"),
                ("best", "max"),
                ("first_genre", "first"),
                ("last_genre", "last"),
                ("paid_daily", "rate"),
                ("paid_lately", "decayed"),
                ("visit_days", "recency"),
                ("standing", "open"),
                ("visit_rhythm", "interval"),
                ("genres", "distinct"),
                ("liking", "affinity"),
                ("tier", "profile"),
                ("hour", "context"),
                ("discount", "action"),
                ("paid_a_visit", "expression"),
            )
        ),
        *(
            ("event", f"  {name}:\n", "visit\n", "vist\n")
            for name in (
                "visits",
                "paid",
                "seats",
                "worst",
                "best",
                "first_genre",
                "last_genre",
                "paid_daily",
            )
        ),
        *(("event", f"  {name}:\n", "visit\n", "vsit\n") for name in ("paid_lately", "visit_days", "genres")),
        ("event", "  liking:\n", "visit\n", "visits\n"),
        ("event", "  bookings:\n", "booked", "boked"),
        ("event", "  visit_rhythm:\n", "visit\n", "Visit\n"),
        *(
            ("attribute", f"  {name}:\n    kind: {kind}\n    event: visit\n", right, wrong)
            for name, kind, right, wrong in (
                ("paid", "sum", "paid", "pai"),
                ("seats", "mean", "seats", "seat"),
                ("worst", "min", "rating", "rateing"),
                ("best", "max", "rating", "raing"),
                ("first_genre", "first", "genre", "gener"),
                ("last_genre", "last", "genre", "genra"),
                ("paid_daily", "rate", "paid", "payd"),
                ("paid_lately", "decayed", "paid", "Paid"),
                ("genres", "distinct", "genre", "genrer"),
            )
        ),
        ("event", "  standing:\n", "booked", "boked"),
        ("event", "  standing:\n", "seated", "seatd"),
        ("attribute", "  standing:\n", "hall", "hal"),
        ("attribute", "where:", "genre", "gendre"),
        ("attribute", "where:", "premiere", "premier"),
        ("attribute", "  liking:\n", "genre", "gnre"),
        ("attribute", "by: genre", "genres", "genrs"),
        ("attribute", "to: genres", "seats", "saets"),
        ("attribute", "by: campaign", "id", "idd"),
        ("measure", "to: genres", "share", "shar"),
        ("measure", "to: id", "total", "totl"),
        ("attribute", "kind: profile", "tier", "tire"),
        ("attribute", "  hour:", "attribute: hour", "attribute: huor"),
        ("attribute", "  stage:", "attribute: stage", "attribute: stag"),
        ("attribute", "kind: action", "discount", "discont"),
    ],
    "actions.yaml": [
        ("type", "genres:\n    type:", "weights", "weight"),
        ("event", "outcome:", "booked", "bookd"),
        ("attribute", "match:", "campaign", "campain"),
        ("action", "bundles:", "tickets", "tickts"),
        ("action", "bundles:", "dinner", "diner"),
        ("group", "  tickets:\n", "offers", "ofers"),
        ("group", "  cancelled:\n", "notices", "notice"),
        ("purpose", "  tickets:\n", "marketing", "marketng"),
        ("purpose", "  programme:\n", "service", "servise"),
        ("class", "  tickets:\n", "standard", "standart"),
        ("class", "  cancelled:\n", "mandatory", "mandatry"),
        ("class", "  programme:\n", "default", "defalt"),
        ("measure", "measures:", "applause", "aplause"),
        ("attribute", "attributes:\n      ", "discount", "discound"),
        ("attribute", "attributes:\n      ", "season", "seson"),
        ("attribute", "attributes:\n      ", "genres", "generes"),
        ("channel", "  tickets:\n", "channel: email", "channel: emial"),
        ("channel", "  poster:\n", "screen", "Screen"),
        ("channel", "  talk:\n", "desk", "DESK"),
        ("device", "devices:", "tablet", "tablt"),
        ("device", "devices:", "phone", "phon"),
        *(
            ("placeholder", before, right, wrong)
            for before, right, wrong in (
                ("You came ", "feature.visits", "feature.visit"),
                ("You came ", "profile.first_name", "profile.firstname"),
                ("and like ", "context.stage", "contxt.stage"),
                ("Hello ", "profile.nickname", "nickname"),
                ("Hello ", "context.greeting", "context.greting"),
                ("Come again,", "action.season", "acton.season"),
                ("Come again,", "context.stage", "context.satge"),
                ("poster:\n", "action.season", "action.sesaon"),
            )
        ),
    ],
    "policies.yaml": [
        ("action", "applies_to:\n      actions: ", "dinner", "diner"),
        ("group", "'main'", "offers", "offer"),
        ("classes", "classes:", "standard", "standart"),
        ("classes", "classes:", "default", "defualt"),
        ("purpose", "purposes:", "marketing", "markting"),
        ("channel", "channels:\n", "email", "emal"),
        ("channel", "channels:\n", "screen", "scren"),
        ("treatment", "treatments:", "tickets/letter", "tickets/leter"),
        ("treatment", "treatments:", "tickets/poster", "poster"),
        ("channel", "channels: [", "email", "mail"),
        ("action", "factor: 1.5", "tickets", "tcikets"),
        ("feature", "promises:", "standing", "standng"),
        ("group", "most: 4", "notices", "notcies"),
        ("group", "factor: 2", "offers", "offres"),
        ("group", "few_offers", "offers", "ofers"),
        ("each", "few_offers", "channel", "chanel"),
        ("after", "no_means_no", "rejected", "rejcted"),
        ("each", "no_means_no", "- group", "- gruop"),
        ("each", "used_to_it", "purpose", "purpos"),
        ("group", "first:", "notices", "notice"),
        ("group", "within: 12h", "offers", "offer"),
    ],
}
WORDS = {"objective", "use", "recipient", "type", "provenance", "class", "classes", "each", "after"}


def message(what, right, wrong):
    right, wrong = (text.split(": ")[-1].strip().removeprefix("- ") for text in (right, wrong))
    if what == "control_arms":
        return f'"{wrong}" is unknown; did you mean "{right}"?'
    if what in WORDS or right in ("share", "total"):
        return f'{what}: "{wrong}" is unknown; did you mean "{right}"?'
    return f'unknown {what} "{wrong}"; did you mean "{right}"?'


@pytest.mark.parametrize(
    ("file", "what", "before", "right", "wrong"),
    [(file, *typo) for file, typos in REFERENCES.items() for typo in typos],
)
def test_a_misspelt_reference_is_told_at_its_line(tmp_path, file, what, before, right, wrong):
    text, line = changed_at(file, before, right, wrong)
    assert told(tmp_path, file, text) == [f"{file}:{line}: {message(what, right, wrong)}"]


EXPRESSIONS = [
    *(
        ("features.yaml", 'feature "paid_a_visit"', before, right, wrong)
        for before, right, wrong in (
            (">-", "known.feature.visits", "known.feature.visit"),
            (">-", "known.feature.visits", "knwon.feature.visits"),
            ("&&", "feature.visits", "featur.visits"),
            ("? ", "feature.paid", "feature.payd"),
            ("/ ", "feature.visits", "visits"),
        )
    ),
    ("actions.yaml", 'action "tickets"', "stop_when:", "feature.bookings", "feature.booking"),
    *(
        ("policies.yaml", f'rule "{rule}"', before, right, wrong)
        for rule, before, right, wrong in (
            ("of_age", "adults.", "profile.age", "profil.age"),
            ("of_age", "adults.", "profile.age", "profile.aeg"),
            ("of_age", "adults.", "profile.age", "age"),
            ("on_stage", ">-", "known.context.stage", "known.context.stag"),
            ("on_stage", ">-\n      !known.context.stage", "context.stage", "contex.stage"),
            ("on_stage", "'main'", "feature.stage", "feature.stge"),
            ("not_sated", "not_sated", "feature.visits", "feature.visists"),
            ("long_queue", "suppression:", "known.context.queue", "known.context.queu"),
            ("long_queue", "&&", "context.queue", "context.queu"),
            ("interval", "preferred_hours:", "profile.tier", "profile.teir"),
            ("likes_it", "weights:", "feature.liking", "feature.likin"),
        )
    ),
]


@pytest.mark.parametrize(("file", "where", "before", "right", "wrong"), EXPRESSIONS)
def test_a_misspelt_name_in_an_expression_is_told_at_its_line(tmp_path, file, where, before, right, wrong):
    text, line = changed_at(file, before, right, wrong)
    problem = f'{file}:{line}: {where}: "{wrong}" is not declared; did you mean "{right}"?'
    assert told(tmp_path, file, text) == [problem]


CLOCK = 'is no time of day from "00:00" to "23:59", in quotes'
LENGTH = "is no length of time such as 90d, 12h, 30m or 45s"
TEXT = "must be text, in quotes where it looks like a number, true, false or null"
VALUES = {
    "playbook.yaml": [
        (
            "",
            "Vienna",
            "Viena",
            'time_zone: "Europe/Viena" is no IANA time zone; did you mean "Europe/Vienna"?',
        ),
        ("", "EUR", "Eur", 'currency: "Eur" is no currency of three capital letters such as EUR'),
        ("", "0.10", "cheap", 'threshold: "cheap" is no amount'),
        ("", "0.01\n", "high\n", "minimum_propensity: must be a number"),
        ("public:", "true", "ture", 'public: must be true or false; did you mean "true"?'),
        ("public:", "true", "yes", "public: must be true or false"),
        ("inbound:", "true", "maybe", "inbound: must be true or false"),
        ("delay:", "4h", "4 h", f"delay: '4 h' {LENGTH}"),
        ("hours:", '"19:00"', '"19.00"', f"from: '19.00' {CLOCK}"),
        ("hours:", '"22:30"', "22", f"to: 22 {CLOCK}"),
        ("hours:", '"22:30"', '"24:00"', f"to: '24:00' {CLOCK}"),
        ("hours:", 'to: "22:30"', 'to: "19:00"', '"from" and "to" must differ'),
        ("applause:", "to: 10", "to: -1", '"from" must lie below "to", both from -1,000,000 to 1,000,000'),
        ("applause:", "to: 10", "to: 2e6", '"from" must lie below "to", both from -1,000,000 to 1,000,000'),
        (
            "minimum",
            "control_arms:",
            "control_arms:\n  no_levers: 0.48",
            "control arms take at most half of the customers",
        ),
        (
            "stage:",
            "values: [main, studio]",
            "values: [main, main]",
            '"values" must be distinct and at least one',
        ),
        ("most_per_group:", "2", "many", "most_per_group: must be a whole number"),
        ("values:", "[main, studio]", "main", "values: must be a list"),
        ("values:", "main", "5", f"values: {TEXT}"),
        ("", "contact", "[contact]", "use: must be one of contact, data"),
        ("", "method: epsilon\n", "methdo: epsilon\n", 'unknown key "methdo"; did you mean "method"?'),
        (
            "method: epsilon",
            "  epsilon: 0.05",
            "  epsilno: 0.05",
            'unknown key "epsilno"; did you mean "epsilon"?',
        ),
        ("method: epsilon", "0.05", "0", "epsilon: Input should be greater than 0"),
    ],
    "profile.yaml": [
        (
            "  age:",
            "type: integer",
            "scale: 2\n    type: integer",
            '"scale" belongs to type decimal, which needs it',
        ),
        ("subscribed_until:", "copied\n    max_age: 30d", "borrowed", 'a borrowed attribute needs "max_age"'),
    ],
    "features.yaml": [
        ("where:", "opera", "oprea", 'genre: must be one of drama, opera, dance; did you mean "opera"?'),
        ("where:", "true", "ture", 'premiere: must be true or false, not a string; did you mean "true"?'),
        ("where:", "opera", "1.5", "genre: must be a word, a whole number, true or false"),
        ("In a year", "365d", "365", f"window: 365 {LENGTH}"),
        ("half_life:", "30d", "month", f"half_life: 'month' {LENGTH}"),
        ("  standing:\n", "[seated, gone]", "[]", "closed_by: must have at least 1"),
        ("  standing:\n", "[seated, gone]", "seated", "closed_by: must be a list"),
        ("  standing:\n", "[seated, gone]", "[seated, seated]", '"seated" stands twice'),
        ("  lingering:\n", "2h", "soon", f"max_age: 'soon' {LENGTH}"),
        ("  lingering:\n", "-1", "low", "default: must be a number"),
        ("  standing:\n", "seated", "booked", '"booked" opens, so it cannot close: each would close itself'),
    ],
    "actions.yaml": [
        (
            "within:",
            "14d",
            "validty",
            f"within: 'validty' {LENGTH}, nor validity; did you mean \"validity\"?",
        ),
        ("season: ", "spring", "sprung", 'season: must be one of spring, autumn; did you mean "spring"?'),
        ("You came", "12.50", "12,50", 'value: "12,50" is no amount'),
        ("urgent:", "true", "True!", 'urgent: must be true or false; did you mean "true"?'),
        ("from:", "2026-01-01", "1.1.2026", 'from: "1.1.2026" is no date such as 2025-12-31'),
        ("evening.", "actions:\n      - tickets", "actions:", "actions: must have at least 2"),
        ("from:", "2026-12-31", "2025-12-31", '"from" lies after "through"'),
        (
            "value: 5",
            "    treatments:",
            "    any_hour: true\n    treatments:",
            '"any_hour" is for the classes mandatory and transactional only',
        ),
        (
            "cancelled:",
            "    value: 0",
            "    minimum_propensity: 0.5\n    value: 0",
            '"minimum_propensity" is for the classes standard and default only',
        ),
        (
            "Hello ",
            "{profile.nickname|there}",
            "{profile.nickname}",
            '"profile.nickname" decides nothing: write {profile.nickname|...}, so that the text leaves'
            " without",
        ),
        ("devices:", "phone", "tablet", '"tablet" stands twice'),
        ("evening.", "dinner", "tickets", '"tickets" is in bundle "evening" already'),
        ("dinner:\n", "Offer dinner", "7", f"body: {TEXT}"),
        ("Hello ", "{profile.nickname|there}", "{profile.nickname|there", "a brace is left open"),
        ("Hello ", "{profile.nickname|there}", "{}", '"{}" is no name such as {profile.first_name}'),
        (
            "poster:",
            "{action.season}",
            "{the season}",
            '"{the season}" is no name such as {profile.first_name}',
        ),
    ],
    "policies.yaml": [
        (
            "profile.age >= ",
            "18",
            "18.0",
            "rule \"of_age\": found no matching overload for '_>=_' applied to '(int, double)'"
            "; write 30 beside a whole number",
        ),
        ("", "profile.age >= 18", "true", f"when: {TEXT}"),
        ("actions: ", "[dinner]", "dinner", "actions: must be a list"),
        ("applies_to:\n      actions: ", "[dinner]", "[dinner, dinner]", '"dinner" stands twice'),
        (
            "- tickets/letter\n",
            "        - tickets/poster",
            "        - tickets/letter",
            '"tickets/letter" stands twice',
        ),
        ("purposes:", "marketing", "research", '"research" is a purpose of use data; needed: contact'),
        ("", "not_sated", "on_stage", 'a rule named "on_stage" stands above'),
        ("levers:", "fill_the_house", "likes_it", 'a rule named "likes_it" stands above'),
        ("quiet_hours:", '"22:00"', '"22:0"', f"from: '22:0' {CLOCK}"),
        ("weights:", "1.5", "often", "factor: must be a number"),
        ("promises:", "15m", "soon", f"within: 'soon' {LENGTH}"),
        ("promises:", "most: 4", "most: 1", "most: Input should be greater than 1"),
        ("promises:", "standing", "visits", '"visits" is of kind count; needed: open'),
        (
            "promises:",
            "standing",
            "lingering",
            '"lingering" has a default, which would count as waiting where nothing is open',
        ),
        (
            "most: 4",
            "    applies_to:\n      groups: [notices]",
            "    applies_to: {}",
            '"applies_to" must say what answers the promise',
        ),
        ("factor: 1.5", "factor: 2", "factor: -2", "factor: Input should be greater than or equal to 0"),
        ("claim_within:", "2d", "tomorrow", f"claim_within: 'tomorrow' {LENGTH}"),
        ("claim_within:", "2d", "31d", "claim_within: must be at most 30d"),
        ("few_offers", "most: 3", "most: 0", "most: Input should be greater than or equal to 1"),
        ("few_offers", "7d", "fortnight", f"window: 'fortnight' {LENGTH}, nor day, week or month"),
        ("few_offers", "7d", "401d", "window: must be at most 400d"),
        ("few_offers", "7d", "7", f"window: 7 {LENGTH}, nor day, week or month"),
        ("few_offers", "[channel, group]", "[group, group]", 'each: "group" stands twice'),
        ("few_offers", "[channel, group]", "group", "each: must be a list"),
        ("caps:", "few_offers", "fill_the_house", 'a rule named "fill_the_house" stands above'),
        (
            "one_a_day",
            "window: day",
            "window: dya",
            f"window: 'dya' {LENGTH}, nor day, week or month; did you mean \"day\"?",
        ),
        ("no_means_no", "90d", "401d", "rest: must be at most 400d"),
        ("no_means_no", "90d", "month", f"rest: 'month' {LENGTH}"),
        ("used_to_it", "0.50", "0", "amount: Input should be greater than 0"),
        ("used_to_it", "0.50", "0.0000001", "amount: an amount has at most six decimals"),
        ("first:", "12h", "week", f"within: 'week' {LENGTH}"),
        ("", "first:\n      groups:\n        - notices", "first: {}", '"first" must say what it is about'),
        (
            "within: 12h",
            "    applies_to:\n      groups:\n        - offers",
            "    applies_to: {}",
            '"applies_to" must say what it is about',
        ),
    ],
}


@pytest.mark.parametrize(
    ("file", "before", "old", "new", "problem"),
    [(file, *wrong) for file, values in VALUES.items() for wrong in values],
)
def test_a_value_that_cannot_be_is_told_at_its_line(tmp_path, file, before, old, new, problem):
    text, line = changed_at(file, before, old, new)
    assert told(tmp_path, file, text) == [f"{file}:{line}: {problem}"]


def test_a_misspelt_key_of_softmax_is_told_at_its_line(tmp_path):
    text, line = changed_at("playbook.yaml", "exploration:\n", "method: epsilon", "method: softmax")
    text = text.replace("  epsilon: 0.05", "  temprature: 1")
    problem = f'playbook.yaml:{line + 1}: unknown key "temprature"; did you mean "temperature"?'
    assert told(tmp_path, "playbook.yaml", text) == [problem]


def test_a_key_beside_one_that_is_named_as_the_method_is_told_at_its_own_line(tmp_path):
    text, line = changed_at(
        "playbook.yaml", "method: epsilon\n", "  epsilon: 0.05", "  epsilon: 0.05\n  epsilo: 1"
    )
    problem = f'playbook.yaml:{line + 1}: unknown key "epsilo"; did you mean "epsilon"?'
    assert told(tmp_path, "playbook.yaml", text) == [problem]


def test_a_typo_in_a_text_of_several_names_is_told_where_it_stands_and_once(tmp_path):
    text = FILES["actions.yaml"].replace("body: >-\n", "body: &again >-\n")
    text = text.replace("body: It is {action.season}", "body: *again").replace(
        "it is {action.", "it is {actoin."
    )
    line = text[: text.index("{actoin.")].count("\n") + 1
    problem = f'actions.yaml:{line}: unknown placeholder "actoin.season"; did you mean "action.season"?'
    assert told(tmp_path, "actions.yaml", text) == [problem]


WORDS_OF = {file: [*re.finditer(r"[A-Za-z_]{3,}", text)] for file, text in FILES.items()}


@settings(max_examples=150)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_typo_in_any_word_is_told_or_harms_nothing(tmp_path_factory, file, data):
    found = data.draw(st.sampled_from(WORDS_OF[file]))
    right, place = found[0], data.draw(st.integers(1, len(found[0]) - 1))
    wrong = f"{right[:place]}q{right[place:]}"
    text = FILES[file][: found.start()] + wrong + FILES[file][found.end() :]
    line = text[: found.start()].count("\n") + 1
    folder = write_theatre(tmp_path_factory.mktemp("typo"), **{file.removesuffix(".yaml"): text})
    try:
        problems = load(folder) and ()
    except PlaybookError as error:
        problems = error.problems
    for problem in problems:
        # Either this place is wrong, or it declares a name and every reference to it is.
        meant = right if (problem.file, problem.line) == (file, line) else wrong
        assert re.search(rf'did you mean "[^"]*{meant}[^"]*"|EUR', problem.message), problem


MISUSES = [
    (
        "policies.yaml",
        "not_sated",
        "feature.visits < 40.0",
        "profile.nickname == 'Al'",
        'rule "not_sated": "profile.nickname" is displayed only, so nothing may be decided by it',
    ),
    (
        "policies.yaml",
        "|| context.stage == 'main'\n      || ",
        "feature.stage == 1.0",
        "known.context.greeting",
        'rule "on_stage": "context.greeting" is displayed only, so nothing may be decided by it',
    ),
    (
        "features.yaml",
        "/ ",
        "feature.visits",
        "profile.nickname",
        'feature "paid_a_visit": "profile.nickname" is displayed only, so nothing may be decided by it',
    ),
    (
        "features.yaml",
        "/ ",
        "feature.visits",
        "double(profile.age)",
        'feature "paid_a_visit": it reads "profile.age"; '
        "an expression reads only features of events and other expressions",
    ),
    ("features.yaml", "kind: profile", "tier", "mood", '"mood" is borrowed, so no feature may be made of it'),
    (
        "features.yaml",
        "kind: profile",
        "tier",
        "nickname",
        '"nickname" is displayed, so no feature may be made of it',
    ),
    (
        "features.yaml",
        "  stage:\n",
        "attribute: stage",
        "attribute: queue",
        '"queue" is borrowed, so no feature may be made of it',
    ),
    (
        "actions.yaml",
        "Come again,",
        "{context.stage|theatre}",
        "{profile.mood|theatre}",
        '"profile.mood" is borrowed, so no text may show it',
    ),
    (
        "actions.yaml",
        "You came ",
        "{profile.first_name|dear guest}",
        "{context.queue}",
        '"context.queue" is borrowed, so no text may show it',
    ),
    (
        "actions.yaml",
        "poster:\n",
        "{action.season}",
        "{profile.first_name|you}",
        '"profile.first_name" is private, and the channel is public',
    ),
    (
        "actions.yaml",
        "poster:\n",
        "{action.season}",
        "{feature.visits}",
        '"feature.visits" is private, and the channel is public',
    ),
    (
        "actions.yaml",
        "poster:\n",
        "{action.season}",
        "{time.hour}",
        'unknown placeholder "time.hour"; did you mean "feature.hour"?',
    ),
    (
        "actions.yaml",
        "tickets:\n",
        "marketing",
        "research",
        '"research" is a purpose of use data; needed: contact',
    ),
    (
        "profile.yaml",
        "donated:",
        "research",
        "marketing",
        '"marketing" is a purpose of use contact; needed: data',
    ),
    ("events.yaml", "visit:", "research", "service", '"service" is a purpose of use contact; needed: data'),
    ("actions.yaml", "measures:", "3", "10.5", "applause: must lie from 0 to 10"),
    ("actions.yaml", "measures:", "3", "-0.5", "applause: must lie from 0 to 10"),
]


@pytest.mark.parametrize(("file", "before", "old", "new", "problem"), MISUSES)
def test_a_name_in_the_wrong_place_is_told_at_its_line(tmp_path, file, before, old, new, problem):
    text, line = changed_at(file, before, old, new)
    assert told(tmp_path, file, text) == [f"{file}:{line}: {problem}"]


def test_a_text_that_two_places_share_is_wrong_once_and_where_it_stands(tmp_path):
    text = (
        FILES["actions.yaml"]
        .replace("body: >-\n", "body: &again >-\n")
        .replace("{context.stage|theatre}", "{")
    )
    text = text.replace("body: It is {action.season}", "body: *again")
    line = text[: text.index("&again")].count("\n") + 1
    assert told(tmp_path, "actions.yaml", text) == [f"actions.yaml:{line}: a brace is left open"]


def test_a_value_on_a_line_of_its_own_is_told_there(tmp_path):
    text, line = changed_at("playbook.yaml", "", "time_zone: Europe/Vienna", "time_zone:\n\n  Europe/Viena")
    [problem] = told(tmp_path, "playbook.yaml", text)
    assert problem.startswith(f'playbook.yaml:{line + 2}: time_zone: "Europe/Viena"')
