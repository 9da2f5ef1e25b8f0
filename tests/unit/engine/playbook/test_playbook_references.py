"""What the files of a playbook say of each other must hold; each defect has file, line and a suggestion."""

import pytest

from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load
from services.engine.playbook.rules import Varies
from tests.playbooks import SHOP, load_playbook, write_playbook

SALE = ("actions", "actions", "sale")
OUTCOME = ("actions", "groups", "offers", "outcome")
FEATURE = ("features", "features")
RULE = ("policies", "eligibility", 0)


def problems(folder, *changes):
    write_playbook(folder, *changes)
    with pytest.raises(PlaybookError) as caught:
        load(folder)
    return [
        (problem.message, (folder / problem.file).read_text().splitlines()[problem.line - 1].strip())
        for problem in caught.value.problems
    ]


def feature(**definition):
    return (*FEATURE, "new", definition)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (feature(kind="count", event="ordr"), 'unknown event "ordr"; did you mean "order"?'),
        (feature(kind="recency", event="click"), 'unknown event "click"; did you mean "clicked"?'),
        *(
            (
                feature(kind=kind, event="order", attribute="amont"),
                'unknown attribute "amont"; did you mean "amount"?',
            )
            for kind in ("sum", "mean", "min", "max", "first", "last", "distinct")
        ),
        *(
            (
                feature(kind=kind, event="order", attribute="amont", **more),
                'unknown attribute "amont"; did you mean "amount"?',
            )
            for kind, more in (("rate", {"window": "7d"}), ("decayed", {"half_life": "7d"}))
        ),
        (
            feature(kind="count", event="order", where={"gft": True}),
            'unknown attribute "gft"; did you mean "gift"?',
        ),
        (
            feature(kind="affinity", event="order", by="categry", to="id"),
            'unknown attribute "categry"; did you mean "category"?',
        ),
        (
            feature(kind="affinity", event="order", by="category", to="category"),
            'unknown attribute "category"; did you mean "categories"?',
        ),
        (
            feature(kind="affinity", event="order", by="category", to="id", attribute="amnt"),
            'unknown attribute "amnt"; did you mean "amount"?',
        ),
        (feature(kind="profile", attribute="teir"), 'unknown attribute "teir"; did you mean "tier"?'),
        (feature(kind="context", attribute="pge"), 'unknown attribute "pge"; did you mean "page"?'),
        (feature(kind="context", attribute="weekdy"), 'unknown attribute "weekdy"; did you mean "weekday"?'),
        (feature(kind="context", attribute="intent"), 'unknown attribute "intent"'),
        (feature(kind="action", attribute="discnt"), 'unknown attribute "discnt"; did you mean "discount"?'),
        ((*SALE, "group", "ofers"), 'unknown group "ofers"; did you mean "offers"?'),
        ((*SALE, "purpose", "marketin"), 'unknown purpose "marketin"; did you mean "marketing"?'),
        (
            (*SALE, "attributes", "discont", 0.5),
            'unknown attribute "discont"; did you mean "discount"?',
        ),
        ((*SALE, "treatments", "mail", "channel", "mail"), 'unknown channel "mail"; did you mean "email"?'),
        ((*OUTCOME, "event", "click"), 'unknown event "click"; did you mean "clicked"?'),
        ((*OUTCOME, "match", "ofer"), 'unknown attribute "ofer"; did you mean "offer"?'),
        ((*RULE, "applies_to", {"groups": ["offer"]}), 'unknown group "offer"; did you mean "offers"?'),
        ((*RULE, "applies_to", {"actions": ["sales"]}), 'unknown action "sales"; did you mean "sale"?'),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_right_one(tmp_path, change, message):
    [(found, row)] = problems(tmp_path, change)
    assert found == message
    assert message.split('"')[1] in row


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("feature.spend_30 > 1.0", "feature.spend_30d"),
        ("feature.spend_30d > 1.0 && profile.agee > 3", "profile.age"),
        ("context.pag == 'home'", "context.page"),
        ("context.chanel == 'push'", "context.channel"),
        ("action.discont > 0.1", "action.discount"),
        ("action.grup == 'offers'", "action.group"),
        ("time.hours > 8", "time.hour"),
        ("known.profile.teir", "known.profile.tier"),
        ("known.feature.gift", "known.feature.gifts"),
        ("profil.age > 1", "profile.age"),
    ],
)
def test_a_misspelt_variable_of_a_rule_is_refused_with_the_nearest_right_one(tmp_path, wrong, right):
    [(message, row)] = problems(tmp_path, (*RULE, "when", wrong))
    assert message.startswith('rule "adult": "')
    assert message.endswith(f'is not declared; did you mean "{right}"?')
    assert row.startswith('"when"')


def test_weights_are_nothing_that_rules_can_read(tmp_path):
    [(message, _)] = problems(tmp_path, (*RULE, "when", "action.categories == action.categories"))
    assert '"action.categories" is not declared' in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (
                feature(kind=kind, event="order", attribute=name, **more),
                f'"{name}" is of type {kind_of}; fitting: integer, decimal',
            )
            for kind, more in (
                ("sum", {}),
                ("mean", {}),
                ("rate", {"window": "7d"}),
                ("decayed", {"half_life": "7d"}),
            )
            for name, kind_of in (
                ("shop", "string"),
                ("category", "enum"),
                ("rating", "number"),
                ("gift", "boolean"),
            )
        ),
        *(
            (
                feature(kind=kind, event="order", attribute="shop"),
                '"shop" is of type string; fitting: integer, decimal, number, boolean, enum',
            )
            for kind in ("first", "last")
        ),
        *(
            (
                feature(kind=kind, event="order", attribute=name),
                f'"{name}" is of type {kind_of}; fitting: integer, decimal, number',
            )
            for kind in ("min", "max")
            for name, kind_of in (("shop", "string"), ("category", "enum"), ("gift", "boolean"))
        ),
        (feature(kind="affinity", event="order", by="amount", to="id"), '"amount" is of type decimal'),
        (
            feature(kind="affinity", event="order", by="shop", to="discount"),
            '"discount" is of type number; fitting: string, enum, weights',
        ),
        (
            feature(kind="affinity", event="order", by="shop", to="id", attribute="rating"),
            '"rating" is of type number; fitting: integer, decimal',
        ),
        (feature(kind="action", attribute="season"), '"season" is of type string'),
        (feature(kind="action", attribute="categories"), '"categories" is of type weights'),
        (feature(kind="count", event="order", where={"amount": 1}), '"amount" is of type decimal'),
        *(
            (feature(kind="open", event="order", key=key, closed_by=[by]), message)
            for key, by, message in (
                ("items", "clicked", '"items" is of type integer; fitting: string'),
                ("category", "clicked", '"category" is of type enum; fitting: string'),
                ("shop", "clicked", 'unknown attribute of "clicked": "shop"'),
                ("shop", "order", '"order" opens, so it cannot close: each would close itself'),
            )
        ),
        (feature(kind="count", event="order", where={"rating": 1}), '"rating" is of type number'),
        (
            feature(kind="count", event="order", where={"gift": 1}),
            "gift: must be true or false, not a number",
        ),
        (feature(kind="count", event="order", where={"items": "1"}), "items: must be a number, not a string"),
        (
            feature(kind="count", event="order", where={"items": True}),
            "items: must be a number, not a boolean",
        ),
        (
            feature(kind="count", event="order", where={"category": "shoe"}),
            "category: must be one of shoes, books, toys",
        ),
        (("profile", "attributes", "w", {"type": "weights"}), "type weights is for action attributes only"),
        (("playbook", "context", "w", {"type": "weights"}), "type weights is for action attributes only"),
        (
            ("events", "events", "clicked", "attributes", "w", {"type": "weights"}),
            "type weights is for action attributes only",
        ),
        *(
            (("playbook", "context", name, {"type": "string"}), f'"{name}" is a name that Tact uses itself')
            for name in ("placement", "channel", "device", "intent", "hour", "weekday")
        ),
        *(
            (("actions", "attributes", name, {"type": "string"}), f'"{name}" is a name that Tact uses itself')
            for name in ("id", "group", "class", "purpose")
        ),
        (
            ("actions", "actions", "do_nothing", SHOP["actions"]["actions"]["recall"]),
            '"do_nothing" is always',
        ),
        ((*OUTCOME, "match", "price"), '"price" must be a word'),
        ((*SALE, "attributes", "discount", "0.2"), "discount: must be a number, not a string"),
        ((*SALE, "attributes", "discount", None), "discount: must be a number, not null"),
        ((*SALE, "attributes", "discount", 10**400), "discount: must be finite"),
        ((*SALE, "attributes", "season", ["x"]), "season: must be a string, not a list"),
        ((*SALE, "attributes", "season", "a\0b"), "season: must not contain a null character"),
        ((*SALE, "attributes", "categories", {}), "categories: must map words to numbers"),
        ((*SALE, "attributes", "categories", ["shoes"]), "categories: must map words to numbers"),
        ((*SALE, "attributes", "categories", {"shoes": "1"}), 'the weight of "shoes" must be a number'),
        ((*SALE, "attributes", "categories", {"shoes": True}), 'the weight of "shoes" must be a number'),
        *(
            ((*SALE, "attributes", "categories", {"shoes": weight}), 'the weight of "shoes" must lie from 0')
            for weight in (-1, -1e-9, 1e10, 1e308, 10**400)
        ),
    ],
)
def test_what_does_not_fit_is_refused_at_its_line(tmp_path, change, message):
    price = ("events", "events", "clicked", "attributes", "price", {"type": "decimal", "scale": 2})
    [(found, row)] = problems(tmp_path, price, change)
    assert message in found
    named = {step for step in change if isinstance(step, str)} | set(str(change[-1]).split("'"))
    assert row.split('"')[1] in named


def test_an_outcome_within_the_validity_needs_an_end(tmp_path):
    [(message, row)] = problems(
        tmp_path, (*OUTCOME, "within", "validity"), (*SALE, "valid", {"from": "2025-03-01"})
    )
    assert '"valid.through" is needed' in message
    assert row.startswith('"sale"')


def test_the_name_of_a_rule_stands_once_over_all_stages(tmp_path):
    [(message, row)] = problems(tmp_path, ("policies", "suitability", 0, "name", "adult"))
    assert message == 'a rule named "adult" stands above'
    assert row.startswith('"name"')


def test_every_broken_reference_is_reported_at_once(tmp_path):
    found = problems(
        tmp_path,
        (*SALE, "group", "x"),
        (*SALE, "purpose", "x"),
        (*FEATURE, "gifts", "event", "x"),
        (*RULE, "when", "x"),
        (*RULE, "applies_to", {"groups": ["x"], "actions": ["x"]}),
    )
    assert len(found) == 6


@pytest.mark.parametrize(
    ("when", "per_action"),
    [
        ("profile.age > 1 && context.items > 1 && time.hour < 9 && feature.gifts > 0.0", False),
        ("known.feature.gifts && feature.tier == 1.0 && feature.page == 1.0", False),
        ("context.intent == 'action.id'", False),
        ("profile.member // of action.group", False),
        *((f"action.{name} == 'x'", True) for name in ("id", "group", "class", "purpose", "season")),
        ("action.discount > 0.1", True),
        ("known.action.season", True),
        ("feature.category_share > 0.1", True),
        ("known.feature.clicks_of_offer", True),
        ("feature.discount > 0.1", True),
        ("(action).discount > 0.1", True),
        (".action.discount > 0.1", True),
        ("action.`discount` > 0.1", True),
        ("action. // the action's\n discount > 0.1", True),
    ],
)
def test_a_rule_is_per_action_where_it_reads_the_action(tmp_path, when, per_action):
    playbook = load_playbook(tmp_path, (*RULE, "when", when))
    assert (playbook.rules.rules[0].varies is Varies.BY_ACTION) is per_action


def test_rules_keep_the_order_of_their_stages(tmp_path):
    late = {"name": "late", "text": "Late.", "when": "true"}
    playbook = load_playbook(tmp_path, ("policies", "applicability", [late]))
    assert [(rule.section, rule.rule.name) for rule in playbook.rules.rules] == [
        ("eligibility", "adult"),
        ("applicability", "late"),
        ("suitability", "not_clicked_yet"),
    ]


def test_an_action_is_in_one_bundle_at_most(tmp_path):
    bundles = {name: {"text": "Together.", "actions": ["sale", "recall"]} for name in ("early", "late")}
    found = problems(tmp_path, ("actions", "bundles", bundles))
    assert [message for message, _ in found] == [
        f'"{name}" is in bundle "early" already' for name in ("sale", "recall")
    ]
    assert [row for _, row in found] == ['"sale",', '"recall"']


def test_a_bundle_holds_nothing_that_stands_in_for_everything_else(tmp_path):
    bundles = {"pair": {"text": "Together.", "actions": ["recall", "sale"]}}
    change = ("actions", "actions", "sale", "class", "default")
    found = problems(tmp_path, ("actions", "bundles", bundles), change)
    [(message, row)] = found
    assert message == '"sale" stands in where nothing else is left, so it follows nothing'
    assert row == '"sale"'


CONSENTS = (
    (
        "playbook",
        "purposes",
        {"marketing": {}, "service": {}, "looks": {"use": "data"}, "buys": {"use": "data"}},
    ),
    ("profile", "attributes", "age", "consent", "looks"),
    ("profile", "attributes", "tier", "consent", "looks"),
    ("events", "events", "order", "consent", "buys"),
    (
        "features",
        "features",
        "spend_a_gift",
        {"kind": "expression", "expression": "feature.spend_30d / feature.gifts"},
    ),
    (
        "features",
        "features",
        "liking",
        {"kind": "expression", "expression": "feature.spend_a_gift * feature.clicks"},
    ),
    ("features", "features", "clicks", {"kind": "count", "event": "clicked"}),
    (
        "features",
        "features",
        "clicks_known",
        {"kind": "expression", "expression": "known.feature.gifts ? 1.0 : 0.0"},
    ),
)


def test_a_feature_needs_the_consents_of_all_that_it_rests_on(tmp_path):
    needed = load_playbook(tmp_path, *CONSENTS).feature_consents
    assert needed["tier"] == {"looks"}
    assert needed["spend_30d"] == needed["spend_a_gift"] == needed["liking"] == {"buys"}
    assert needed["clicks_known"] == {"buys"}
    assert needed["category_share"] == {"buys"}
    assert needed.keys().isdisjoint({"clicks", "clicks_of_offer", "page", "hour", "discount"})


def test_an_expression_needs_the_consents_of_all_events_together(tmp_path):
    both = ("events", "events", "clicked", "consent", "looks")
    needed = load_playbook(tmp_path, *CONSENTS, both).feature_consents
    assert needed["liking"] == {"buys", "looks"}


def test_what_is_borrowed_is_known(tmp_path):
    playbook = load_playbook(
        tmp_path,
        ("profile", "attributes", "mood", {"type": "string", "provenance": "borrowed", "max_age": "1h"}),
        ("playbook", "context", "queue", {"type": "integer", "provenance": "borrowed"}),
        ("playbook", "context", "motto", {"type": "string", "provenance": "displayed"}),
    )
    assert playbook.borrowed == {"profile.mood", "context.queue"}
    assert {"profile.mood", "context.queue"} <= playbook.environment.variables.keys()
    assert "context.motto" not in playbook.environment.variables


def test_a_text_may_show_what_is_displayed_and_what_rules_never_see(tmp_path):
    shown = load_playbook(
        tmp_path,
        ("playbook", "context", "motto", {"type": "string", "provenance": "displayed"}),
        (
            *SALE,
            "treatments",
            "mail",
            "content",
            "headline",
            "{context.motto|} {action.season} {feature.page}",
        ),
        (*SALE, "why", "You are {profile.age|some years} old."),
    )
    texts = shown.texts["sale", "mail"]
    assert texts.content["headline"].reads == {"context.motto", "action.season", "feature.page"}
    assert texts.why.reads == {"profile.age"}
    assert shown.texts["recall", "mail"].why is None


@pytest.mark.parametrize("name", ["{profile.age}", "{feature.gifts}", "{context.page}", "{action.season}"])
def test_a_public_channel_shows_nothing_of_the_customer(tmp_path, name):
    changes = (
        ("playbook", "channels", "email", {"public": True}),
        (*SALE, "treatments", "mail", "content", "headline", name),
    )
    if name.startswith(("{context", "{action")):
        load_playbook(tmp_path, *changes)
    else:
        [(message, row)] = problems(tmp_path, *changes)
        assert message == f'"{name[1:-1]}" is private, and the channel is public'
        assert row.startswith('"headline"')
