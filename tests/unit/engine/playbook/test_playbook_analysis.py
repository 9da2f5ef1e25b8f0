"""What is said of a playbook that loads: problems are certain, and notes are worth knowing."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.playbook import source
from services.engine.playbook.analysis import analyse
from services.engine.playbook.reach import Reach
from services.engine.policy.engagement import EngagementPolicy
from services.engine.policy.verdicts import Verdicts
from tests.playbooks import SHOP, load_playbook
from tests.unit.engine.playbook.grammar import READ, UNREAD, WORLDS, conditions_of

NOW = datetime(2025, 3, 10, tzinfo=UTC)
SALE, RECALL = ("actions", "actions", "sale"), ("actions", "actions", "recall")
POLICIES = ("policies",)


def findings(folder, *changes, now=NOW):
    """Return what is said, as its rank, the row that it points at and the message."""
    playbook = load_playbook(folder, *changes)
    documents = {f"{name}.yaml": source.read(folder / f"{name}.yaml", f"{name}.yaml") for name in SHOP}
    for finding in analyse(playbook, now):
        problem = documents[finding.file].problem(finding.path, finding.message, finding.word)
        row = (folder / problem.file).read_text().splitlines()[problem.line - 1].strip()
        yield "problem" if finding.is_problem else "note", row, finding.message


def problems(folder, *changes):
    return [(row, message) for rank, row, message in findings(folder, *changes) if rank == "problem"]


def notes(folder, *changes, now=NOW):
    """Return the notes that a change brings; there is no problem."""
    before = {note for rank, _, note in findings(folder / "before", now=now)}
    found = list(findings(folder / "after", *changes, now=now))
    assert all(rank == "note" for rank, _, _ in found), found
    return [(row, message) for _, row, message in found if message not in before]


def rule(name, when, **more):
    return {"name": name, "text": "So.", "when": when, **more}


def policies(**sections):
    return ("policies", sections)


def test_nothing_is_wrong_with_the_shop(tmp_path):
    assert list(findings(tmp_path)) == [
        ("note", '"service": {}', 'purpose "service": only actions that need no consent use it')
    ]


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"eligibility": [rule("off", "false")]},
            [
                ('"when": "false"', 'rule "off" is never true, so sale, recall can never be chosen'),
                ('"sale": {', 'sale, recall can never be chosen: rule "off" is never true of it'),
            ],
        ),
        (
            {
                "suitability": [
                    rule("off", "profile.age > 10 && profile.age < 5", applies_to={"actions": ["sale"]})
                ]
            },
            [
                (
                    '"when": "profile.age > 10 && profile.age < 5",',
                    'rule "off" is never true, so sale can never be chosen',
                ),
                ('"sale": {', 'sale can never be chosen: rule "off" is never true of it'),
            ],
        ),
        (
            {"suppression": [rule("hush", "true")]},
            [
                ('"when": "true"', 'suppression "hush" is never false, so sale can never be chosen'),
                ('"sale": {', 'sale can never be chosen: suppression "hush" is never false of it'),
            ],
        ),
        (
            {"suppression": [rule("hush", "profile.member && !profile.member")]},
            [('"when": "profile.member && !profile.member"', 'suppression "hush" is never true')],
        ),
        (
            {
                "eligibility": [rule("old", "profile.age > 10")],
                "suitability": [rule("young", "profile.age < 5", applies_to={"groups": ["offers"]})],
            },
            [
                (
                    '"when": "profile.age < 5",',
                    'rule "old" (profile.age > 10) and rule "young" (profile.age < 5) exclude each other, '
                    "so sale can never be chosen",
                ),
                (
                    '"sale": {',
                    'sale can never be chosen: rule "old" (profile.age > 10) '
                    'and rule "young" (profile.age < 5) exclude each other',
                ),
            ],
        ),
        (
            {
                "eligibility": [
                    rule("gold", "profile.tier == 'gold'", applies_to={"treatments": ["sale/note"]})
                ],
                "suppression": [rule("gilded", "profile.tier == 'gold'")],
            },
            [
                (
                    '"when": "profile.tier == \'gold\'"',
                    'rule "gold" (profile.tier == \'gold\') and suppression "gilded" '
                    "(unless profile.tier == 'gold') exclude each other, so sale/note can never be chosen",
                )
            ],
        ),
        (
            {
                "eligibility": [rule("asked", "known.profile.age", applies_to={"actions": ["sale"]})],
                "applicability": [rule("unknown", "!known.profile.age || profile.age > 130")],
                "suitability": [rule("alive", "profile.age < 130")],
            },
            [
                (
                    '"when": "profile.age < 130"',
                    'rule "unknown" (!known.profile.age || profile.age > 130) and rule "alive" '
                    "(profile.age < 130) exclude each other, so sale, recall can never be chosen",
                ),
                (
                    '"sale": {',
                    "sale, recall can never be chosen: "
                    'rule "unknown" (!known.profile.age || profile.age > 130) '
                    'and rule "alive" (profile.age < 130) exclude each other',
                ),
            ],
        ),
        (
            {
                "applicability": [
                    rule("winter", "action.season == 'winter'", applies_to={"actions": ["sale"]})
                ]
            },
            [('"sale": {', 'sale can never be chosen: rule "winter" is never true of it')],
        ),
        (
            {"eligibility": [rule("must", "action.class == 'mandatory' || time.hour > 23")]},
            [('"sale": {', 'sale can never be chosen: rule "must" is never true of it')],
        ),
        (
            {"weights": [rule("odd", "profile.age == 1 && profile.age == 2", factor=2)]},
            [
                (
                    '"when": "profile.age == 1 && profile.age == 2",',
                    'weight "odd" never applies: its condition is never true',
                )
            ],
        ),
        (
            {
                "weights": [
                    rule("app", "treatment.channel == 'push'", factor=2, applies_to={"actions": ["recall"]})
                ]
            },
            [
                (
                    '"when": "treatment.channel == \'push\'",',
                    'weight "app" never applies: its condition is never true',
                )
            ],
        ),
        (
            {
                "preferred_hours": [
                    {**rule("late", "time.hour < 0"), "from": "20:00", "to": "21:00"},
                ]
            },
            [
                (
                    '"when": "time.hour < 0",',
                    'preferred hours "late" never applies: its condition is never true',
                )
            ],
        ),
        (
            {
                "quiet_hours": [
                    {"name": "night", "text": "So.", "from": "20:00", "to": "08:00"},
                    {
                        "name": "day",
                        "text": "So.",
                        "from": "07:00",
                        "to": "20:00",
                        "applies_to": {"channels": ["push"]},
                    },
                ]
            },
            [
                (
                    "{",
                    'quiet hours "night", "day" cover the whole day, so sale/note can never be chosen',
                )
            ],
        ),
        (
            {
                "eligibility": [
                    rule("word", "action.group == 'ofers' || action.id in ['sale', 'recall', 'recal']")
                ]
            },
            [
                (
                    "\"when\": \"action.group == 'ofers' || action.id in ['sale', 'recall', 'recal']\"",
                    'rule "word": action.group is never "ofers"; did you mean "offers"?',
                ),
                (
                    "\"when\": \"action.group == 'ofers' || action.id in ['sale', 'recall', 'recal']\"",
                    'rule "word": action.id is never "recal"; did you mean "recall"?',
                ),
            ],
        ),
    ],
)
def test_what_cannot_be_meant_is_a_problem(tmp_path, sections, told):
    assert problems(tmp_path, policies(**sections)) == told


ORDERS = {"event": "order", "window": "30d"}


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        (
            {"kind": "count", **ORDERS, "max_age": "31d"},
            {"max_age": "can never bind: no event of its window is older than 30 d"},
        ),
        (
            {"kind": "mean", **ORDERS, "attribute": "items", "max_age": "720h", "window": "43199m"},
            {"max_age": "can never bind: no event of its window is older than 43199 min"},
        ),
        (
            {"kind": "sum", **ORDERS, "attribute": "items", "max_age": "31d", "default": 0},
            {
                "max_age": "can never bind: no event of its window is older than 30 d",
                "default": "never stands in: a sum is never missing",
            },
        ),
        *(
            ({"kind": kind, **ORDERS, **more, "default": 0}, {"default": f"never stands in: a {kind} is"})
            for kind, more in (
                ("count", {}),
                ("rate", {}),
                ("decayed", {"half_life": "1d"}),
                ("distinct", {"attribute": "shop"}),
            )
        ),
        *(
            (feature, {})
            for feature in (
                {"kind": "count", **ORDERS, "max_age": "30d", "default": -1},
                {"kind": "count", "event": "order", "max_age": "400d", "default": -1},
                {"kind": "recency", **ORDERS, "default": 30},
                {"kind": "affinity", **ORDERS, "by": "shop", "to": "season", "default": 0},
                {"kind": "expression", "expression": "feature.gifts / feature.gifts", "default": 0},
            )
        ),
    ],
)
def test_what_a_feature_states_in_vain_is_a_problem_at_its_line(tmp_path, feature, told):
    found = problems(tmp_path, ("features", "features", "new", feature))
    assert len(found) == len(told)
    for (row, message), (key, why) in zip(found, told.items(), strict=True):
        assert message.startswith(f'feature "new": {key} {why}')
        assert row.startswith(f'"{key}"')


HOURS = [
    {"name": name, "text": "So.", "from": start, "to": end, "applies_to": {"channels": ["email", "push"]}}
    for name, start, end in (("night", "20:00", "08:00"), ("day", "08:00", "20:00"))
]


def test_quiet_hours_of_a_whole_day_keep_all_but_what_may_be_said_at_any_hour(tmp_path):
    quiet = policies(quiet_hours=HOURS)
    assert [message for _, message in problems(tmp_path / "quiet", quiet)] == [
        'quiet hours "night", "day" cover the whole day, so sale, recall can never be chosen',
        'sale, recall can never be chosen: quiet hours "night", "day" cover the whole day',
    ]
    assert [message for _, message in problems(tmp_path / "any", quiet, (*RECALL, "any_hour", True))] == [
        'quiet hours "night", "day" cover the whole day, so sale can never be chosen',
        'sale can never be chosen: quiet hours "night", "day" cover the whole day',
    ]
    shorter = policies(quiet_hours=[HOURS[0], HOURS[1] | {"to": "19:59"}])
    assert problems(tmp_path / "shorter", shorter) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            (*SALE, "treatments", "mail", "content", {"headline": " ", "body": ""}),
            ('"content": {', "sale/mail has no content: its texts are empty"),
        ),
        (
            (*SALE, "attributes", "categories", {"shoes": 1, "boots": 1, "boks": 0.5}),
            ('"boots": 1,', 'categories: "boots" matches no event; did you mean "books"?'),
        ),
    ],
)
def test_what_is_wrong_with_an_action_is_a_problem_at_its_line(tmp_path, change, told):
    assert problems(tmp_path, change)[0] == told


def test_words_that_match_any_event_are_no_problem(tmp_path):
    """An affinity by a word of any kind may match any weight."""
    change = (
        "features",
        "features",
        "shops",
        {"kind": "affinity", "event": "order", "by": "shop", "to": "categories"},
    )
    assert problems(tmp_path, change, (*SALE, "attributes", "categories", {"boots": 1})) == []


ENUMS = [
    ("profile.tier == 'glod'", "profile.tier", "glod", "gold"),
    ("profile.tier != 'gold' && 'basc' == profile.tier", "profile.tier", "basc", "basic"),
    ("context.page in ['home', 'baskte']", "context.page", "baskte", "basket"),
    ("action.class == 'mandatry' || known.profile.age", "action.class", "mandatry", "mandatory"),
    ("action.purpose != 'marketng'", "action.purpose", "marketng", "marketing"),
    ("treatment.channel != 'pusj'", "treatment.channel", "pusj", "push"),
    ("treatment.id != 'mial'", "treatment.id", "mial", "mail"),
    ("!(action.id == 'sael')", "action.id", "sael", "sale"),
]


@pytest.mark.parametrize(("when", "name", "wrong", "right"), ENUMS)
def test_a_misspelt_word_in_a_condition_is_a_problem(tmp_path, when, name, wrong, right):
    [(row, message)] = problems(tmp_path, policies(weights=[rule("word", when, factor=2)]))
    assert row.startswith('"when"')
    assert message == f'weight "word": {name} is never "{wrong}"; did you mean "{right}"?'


def test_a_misspelt_word_in_a_condition_of_several_lines_is_told_at_its_line(tmp_path):
    when = ">-\n    profile.age > 3\n    || profile.tier == 'glod'"
    text = f"suppression:\n- name: word\n  text: So.\n  when: {when}\n"
    playbook = load_playbook(tmp_path, policies=text)
    document = source.read(tmp_path / "policies.yaml", "policies.yaml")
    [finding] = [one for one in analyse(playbook, NOW) if one.is_problem]
    assert document.problem(finding.path, finding.message, finding.word).line == 6


def test_words_of_any_kind_may_be_anything(tmp_path):
    when = "action.season == 'whenever' || context.channel == 'letter' || context.placement in ['x']"
    assert problems(tmp_path, policies(weights=[rule("word", when, factor=2)])) == []


PURPOSES = SHOP["playbook"]["purposes"]
WAITING = {"kind": "open", "event": "order", "key": "shop", "closed_by": ["returned"]}
PROMISE = {
    "name": "reply",
    "text": "So.",
    "feature": "waiting",
    "within": "2h",
    "most": 2,
    "applies_to": {"groups": ["offers"]},
}
EVERYBODY = (*RECALL, "treatments", "mail", "content", "headline", "Hello {profile.age|you}")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            [
                policies(
                    levers=[{"name": "none", "text": "So.", "factor": 0, "applies_to": {"actions": ["sale"]}}]
                )
            ],
            [("{", 'lever "none" is 0: a veto of sale')],
        ),
        (
            [policies(levers=[{"name": "same", "text": "So.", "factor": 1}])],
            [("{", 'lever "same" is 1, so it changes nothing')],
        ),
        (
            [policies(weights=[rule("none", "profile.member", factor=0)])],
            [("{", 'weight "none" is 0: where it applies, success is worth nothing: sale, recall')],
        ),
        (
            [policies(eligibility=[rule("sum", "profile.age + 1 > 2 && profile.member || size('a') == 1")])],
            [("{", "rule \"sum\": not analysed: profile.age + 1 > 2; size('a') == 1")],
        ),
        (
            [policies(weights=[rule("sum", "feature.spend_30d > feature.orders_30d", factor=2)])],
            [("{", 'weight "sum": not analysed: feature.spend_30d > feature.orders_30d')],
        ),
        (
            [
                policies(
                    eligibility=[
                        rule(
                            "nobody",
                            "profile.member",
                            applies_to={"groups": ["offers"], "classes": ["default"]},
                        )
                    ]
                )
            ],
            [("{", 'rule "nobody" is about no treatment')],
        ),
        *(
            (
                [
                    ("events", "events", "returned", {"attributes": {"shop": {"type": "string"}}}),
                    ("features", "features", "waiting", WAITING | {"window": window}),
                    policies(promises=[PROMISE]),
                ],
                told,
            )
            for window, told in (
                ("2h", [("{", 'promise "reply" is never overdue: feature.waiting forgets after 2 h')]),
                ("7201s", []),
            )
        ),
        (
            [policies(eligibility=[rule("all", "true")])],
            [("{", 'rule "all" is always true, so it removes nothing')],
        ),
        (
            [policies(suppression=[rule("all", "false")])],
            [("{", 'suppression "all" is always false, so it removes nothing')],
        ),
        (
            [
                policies(
                    quiet_hours=[HOURS[0]],
                    preferred_hours=[{"name": "late", "text": "So.", "from": "21:00", "to": "23:00"}],
                )
            ],
            [("{", 'preferred hours "late" lie within quiet hours, so they never count')],
        ),
        (
            [policies(eligibility=[rule("no_push", "treatment.channel != 'push'")])],
            [('"note": {', 'sale/note can never be chosen: rule "no_push" is never true of it')],
        ),
        (
            [("playbook", "minimum_propensity", 1)],
            [('"minimum_propensity": 1', "nothing but a propensity of exactly 1 is enough")],
        ),
        (
            [(*SALE, "minimum_propensity", 1)],
            [('"minimum_propensity": 1', "sale: nothing but a propensity of exactly 1 is enough")],
        ),
        (
            [(*SALE, "treatments", "mail", "content", {"headline": "Sale", "body": " "})],
            [('"body": " "', "body: the text is empty")],
        ),
        (
            [("playbook", "purposes", {**PURPOSES, "surveys": {}})],
            [('"surveys": {}', 'purpose "surveys": no action uses it, so consent to it permits nothing')],
        ),
        (
            [("playbook", "purposes", {**PURPOSES, "looks": {"use": "data"}})],
            [('"looks": {', 'purpose "looks": no attribute and no event needs consent to it')],
        ),
        (
            [
                ("playbook", "purposes", {**PURPOSES, "looks": {"use": "data"}}),
                ("profile", "attributes", "age", "consent", "looks"),
                policies(eligibility=[rule("adult", "!known.profile.age || profile.age > 17")]),
            ],
            [
                (
                    '"when": "!known.profile.age || profile.age > 17"',
                    'recall needs no consent to be sent, but rule "adult" reads profile.age, '
                    "missing without consent to looks",
                )
            ],
        ),
        (
            [
                ("playbook", "purposes", {**PURPOSES, "looks": {"use": "data"}}),
                ("events", "events", "order", "consent", "looks"),
                policies(
                    suppression=[rule("rich", "feature.spend_30d > 9.0", applies_to={"actions": ["recall"]})]
                ),
            ],
            [
                (
                    '"when": "feature.spend_30d > 9.0",',
                    'recall needs no consent to be sent, but suppression "rich" reads feature.spend_30d, '
                    "missing without consent to looks",
                )
            ],
        ),
        *(
            (
                [("playbook", "control_arms", {arm: 0.1}), *changes],
                [(f'"{arm}": 0.1', f"control arm {arm} changes nothing: {why}")],
            )
            for arm, changes, why in (
                ("no_levers", [], "there is no lever"),
                (
                    "eligibility_only",
                    [policies(suitability=[rule("keen", "profile.member", protective=True)])],
                    "all applicability and suitability rules are protective",
                ),
                ("hold_out", [(*SALE, "class", "transactional"), ("playbook", "purposes", PURPOSES)], "x"),
            )
        ),
    ],
)
def test_what_may_be_meant_is_a_note(tmp_path, changes, told):
    found = notes(tmp_path, *changes)
    if changes[0] == ("playbook", "control_arms", {"hold_out": 0.1}):
        assert [message for _, message in found] == [
            'purpose "marketing": only actions that need no consent use it',
            "control arm hold_out changes nothing: all actions are mandatory or transactional",
        ]
    else:
        assert found == told


@pytest.mark.parametrize("arm", ["random_eligible", "propensity_only", "eligibility_only", "hold_out"])
def test_control_arms_that_decide_otherwise_are_not_noted(tmp_path, arm):
    assert notes(tmp_path, ("playbook", "control_arms", {arm: 0.1})) == []


def test_what_is_over_is_noted_once(tmp_path):
    after = datetime(2025, 3, 31, 22, tzinfo=UTC)
    before = datetime(2025, 3, 31, 21, 59, 59, tzinfo=UTC)
    [(row, message)] = [
        (row, message) for _, row, message in findings(tmp_path / "after", now=after) if "over" in message
    ]
    assert (row, message) == ('"valid": {', "1 of 2 actions are over: sale")
    assert not any("over" in message for _, _, message in findings(tmp_path / "before", now=before))


DEFAULT = ("actions", "actions", "hello", SHOP["actions"]["actions"]["recall"] | {"class": "default"})
STANDS_IN = "hello stands in only where a caller leaves out recall, which is in every other answer"


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        ([], True),
        ([EVERYBODY], True),
        ([(*RECALL, "any_hour", True), policies(quiet_hours=HOURS[:1])], True),
        ([policies(quiet_hours=HOURS[:1])], True),
        ([policies(eligibility=[rule("some", "known.profile.age")])], False),
        ([policies(suppression=[rule("some", "profile.member", applies_to={"actions": ["recall"]})])], False),
        ([policies(suppression=[rule("some", "profile.member")])], True),
        ([(*RECALL, "valid", {"from": "2025-01-01"})], False),
        ([(*RECALL, "class", "transactional")], False),
        ([(*RECALL, "expires_after", "1h")], False),
        ([(*RECALL, "treatments", "mail", "content", "headline", "Hello {profile.age}")], False),
        ([("playbook", "channels", "email", {"recipient": "actor"})], False),
        (
            [("playbook", "devices", {"phone": {}}), (*RECALL, "treatments", "mail", "devices", ["phone"])],
            False,
        ),
    ],
)
def test_a_default_that_something_else_always_stands_before_is_noted(tmp_path, changes, is_told):
    changes = [("policies", {}), *changes]
    assert (STANDS_IN in [message for _, _, message in findings(tmp_path, DEFAULT, *changes)]) is is_told


def test_a_long_list_of_actions_is_cut_short(tmp_path):
    many = {f"sale-{number}": SHOP["actions"]["actions"]["sale"] for number in range(8)}
    told = [
        message
        for _, message in problems(
            tmp_path, ("actions", "actions", many), policies(eligibility=[rule("off", "false")])
        )
    ]
    some = "sale-0, sale-1, sale-2, sale-3, sale-4 and 3 more"
    assert told == [
        f'rule "off" is never true, so {some} can never be chosen',
        f'{some} can never be chosen: rule "off" is never true of it',
    ]


ACTIONS = {
    "attributes": {"season": {"type": "string"}, "places": {"type": "integer"}},
    "groups": {"all": {}},
    "actions": {
        name: {
            "group": "all",
            "purpose": "marketing",
            "value": 1,
            "attributes": attributes,
            "treatments": {
                treatment: {"channel": channel, "content": {"text": "Hi"}}
                for treatment, channel in (("a", "email"), ("b", "push"))
            },
        }
        for name, attributes in (
            ("one", {"season": "spring", "places": 1}),
            ("two", {"season": "b"}),
            ("three", {}),
        )
    },
}
MOOD = (
    (
        "profile",
        "attributes",
        {
            "age": {"type": "integer"},
            "city": {"type": "string"},
            "member": {"type": "boolean"},
            "until": {"type": "timestamp"},
        },
    ),
    (
        "features",
        "features",
        {
            "spend": {"kind": "sum", "event": "order", "attribute": "amount"},
            "orders": {"kind": "count", "event": "order"},
        },
    ),
    ("actions", ACTIONS),
)
SECTIONS = st.sampled_from(["eligibility", "applicability", "suitability", "suppression"])
SCOPES = st.sampled_from(
    [
        {},
        {"actions": ["one"]},
        {"actions": ["two", "three"]},
        {"treatments": ["one/a", "two/b"]},
        {"channels": ["push"]},
    ]
)


@st.composite
def rulebooks(draw):
    sections = {}
    for number in range(draw(st.integers(1, 4))):
        when, scope = draw(conditions_of(READ | UNREAD)), draw(SCOPES)
        sections.setdefault(draw(SECTIONS), []).append(rule(f"r{number}", when, applies_to=scope))
    return sections


@settings(max_examples=120, deadline=None)
@given(rulebooks(), st.lists(WORLDS, min_size=10, max_size=10))
def test_nothing_that_is_called_out_of_reach_is_ever_let_pass(tmp_path_factory, sections, worlds):
    playbook = load_playbook(tmp_path_factory.mktemp("rules"), *MOOD, ("policies", sections))
    barred = Reach(playbook).bars.keys()
    for values in worlds:
        verdicts = Verdicts(playbook, values, lambda action_id: playbook.action_variables[action_id])
        policy = EngagementPolicy(verdicts)
        for action_id, action, treatment_id, treatment in playbook.treatments():
            about = playbook.rules.concerning(action_id, action, treatment_id, treatment)
            if policy.removal(about, action_id, treatment_id, ignores_arms=False) is None:
                assert (action_id, treatment_id) not in barred
