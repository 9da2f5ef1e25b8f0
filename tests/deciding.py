"""A shop's playbook, and a gateway that decides by it on in-memory dependencies."""

import asyncio
import functools
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.chassis.editions import Editions
from services.chassis.rpc import Call
from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.engine.playbook.loader import load
from services.engine.policy.consent import Permission
from services.gateway.adapters.recollection import ProtoStory, delivery_of
from services.gateway.adapters.replica import ProtoReplica
from services.gateway.adapters.sealing import seal_of
from services.gateway.claims import ClaimHandler
from services.gateway.contributions import Contributions
from services.gateway.customers import CustomerHandler
from services.gateway.domain.knowledge import Cause, Model, Profile, Unavailable
from services.gateway.domain.last_good import LastGood
from services.gateway.domain.making import Edition
from services.gateway.explanations import ExplainHandler
from services.gateway.fakes import InMemoryFeatures, InMemoryLog, InMemoryProfiles, InMemoryScorer
from services.gateway.handlers import DecideHandler
from services.gateway.journal import Journal
from services.gateway.known_model import KnownModel
from services.gateway.outcomes import OutcomeHandler
from services.gateway.propensities import Propensities
from services.gateway.remakes import Remakes
from services.gateway.replays import ReplayHandler, Replays
from services.gateway.rescoring import ServedModel
from services.gateway.resolver import Resolver
from services.gateway.servicer import DecisionServicer
from services.gateway.turns import Turns

FILES = {
    "playbook.yaml": """
        name: shop
        time_zone: Europe/Paris
        currency: EUR
        threshold: 0.10
        measures: { effort: { from: 0, to: 10 }, delight: { from: -1.5, to: 1.5 } }
        purposes: { marketing: {}, care: {} }
        channels: { email: {}, mail: {}, app: {} }
        context:
          basket_value: { type: decimal, scale: 2 }
          in_store: { type: boolean }
    """,
    "profile.yaml": """
        identities: { card: {} }
        attributes:
          segment: { type: enum, values: [new, regular, gold] }
          time_zone: { type: string }
          age: { type: integer }
    """,
    "events.yaml": """
        events:
          purchase:
            attributes:
              amount: { type: decimal, scale: 2 }
              category: { type: string }
          complaint: {}
    """,
    "features.yaml": """
        features:
          spend_30d: { kind: sum, event: purchase, attribute: amount, window: 30d }
          purchases_30d: { kind: count, event: purchase, window: 30d }
          complaints_30d: { kind: count, event: complaint, window: 30d }
          mean_spend_30d: { kind: mean, event: purchase, attribute: amount, window: 30d }
          liking:
            { kind: affinity, event: purchase, by: category, to: category, attribute: amount, window: 30d }
          discount: { kind: action, attribute: discount }
          segment: { kind: profile, attribute: segment }
          hour: { kind: context, attribute: hour }
          basket_value: { kind: context, attribute: basket_value }
    """,
    "actions.yaml": """
        attributes:
          category: { type: string }
          discount: { type: integer }
        groups: { offers: {}, service: {} }
        actions:
          bread-coupon:
            group: offers
            purpose: marketing
            value: 4.00
            attributes: { category: bread, discount: 10 }
            treatments:
              letter: { channel: mail, cost: 0.50, content: { headline: Bread for less } }
              message: { channel: email, cost: 0.01, content: { headline: Bread for less, image: loaf.png } }
          wine-coupon:
            group: offers
            purpose: marketing
            value: 9.00
            attributes: { category: wine, discount: 20 }
            treatments:
              message: { channel: email, cost: 0.01, content: { headline: Wine for less } }
          spring-sale:
            group: offers
            purpose: marketing
            value: 2.00
            valid: { from: 2025-03-01, through: 2025-03-31 }
            treatments:
              banner: { channel: app, content: { headline: Spring } }
          survey:
            group: service
            purpose: care
            value: 0.60
            treatments:
              question: { channel: app, content: { headline: How was it? } }
          receipt:
            group: service
            class: transactional
            purpose: care
            value: 0.50
            treatments:
              message: { channel: email, content: { headline: Your receipt } }
          recall:
            group: service
            class: mandatory
            purpose: care
            value: 0
            treatments:
              letter: { channel: mail, cost: 0.50, content: { headline: Please bring it back } }
              message: { channel: email, content: { headline: Please bring it back } }
    """,
    "policies.yaml": """
        eligibility:
          - name: of_age
            text: Wine is for adults.
            when: profile.age >= 18
            applies_to: { actions: [wine-coupon] }
          - name: bought_something
            text: Offers go to those who bought something lately.
            when: feature.purchases_30d > 0.0
            applies_to: { groups: [offers] }
        applicability:
          - name: has_taste_for_it
            text: The customer never bought of this category.
            when: "!known.feature.liking || feature.liking > 0.0"
            applies_to: { actions: [bread-coupon, wine-coupon] }
        suitability:
          - name: not_in_store
            text: No survey while shopping.
            when: "!known.context.in_store || !context.in_store"
            applies_to: { actions: [survey] }
    """,
}
NEEDS_CONSENT = {"bread-coupon", "wine-coupon", "spring-sale", "survey"}
NOW = datetime(2025, 5, 14, 9, 30, tzinfo=UTC)
ANNA = "customer-anna-7"
CARD = ("card", "4711-0815")
DOWN = Unavailable(Cause.UNAVAILABLE, "out of reach")
EVERYTHING = {
    (purpose, channel): Permission(granted=True)
    for purpose in ("marketing", "care")
    for channel in ("email", "mail", "app")
}
LAYOUT = ("spend_30d", "purchases_30d", "segment", "basket_value", "liking", "discount")


@functools.cache
def playbook():
    """Load the shop's playbook."""
    with tempfile.TemporaryDirectory() as folder:
        return load(write_playbook(Path(folder)))


def write_playbook(folder):
    """Write the shop's playbook into an existing folder."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@functools.cache
def feature_set():
    """Return the features of the shop's playbook."""
    return FeatureSet(playbook())


def model(version="1", names=LAYOUT, **changes):
    """Describe a model of the shop's features."""
    layout = tuple(feature_set().layout(names))
    described = {
        "version": version,
        "fingerprint": fingerprint(layout),
        "layout": layout,
        "priors": {"offers": 0.2, "service": 0.5},
        "overall_prior": 0.3,
    }
    return Model(**(described | changes))


def like_it(customer, candidate):
    """Score by how much of the spending went to the category; a third where that is not known."""
    liking = float(candidate[0])
    return 0.3 if liking != liking else liking


@dataclass
class Shop:
    """A gateway on fakes, and its clock: ``now`` stands still, each look at ``monotonic`` takes 1.7 us."""

    now: datetime = NOW
    profiles: InMemoryProfiles = field(
        default_factory=lambda: InMemoryProfiles(
            profiles={
                ANNA: Profile(
                    customer_id=ANNA, attributes={"segment": "gold", "age": 40}, permissions=EVERYTHING
                )
            },
            identities={CARD: ANNA},
        )
    )
    features: InMemoryFeatures = field(
        default_factory=lambda: InMemoryFeatures(
            customer={
                "spend_30d": 120.5,
                "purchases_30d": 6.0,
                "complaints_30d": 0.0,
                "mean_spend_30d": 20.083,
            },
            candidate={"liking": 0.4},
            sequence=17,
        )
    )
    scorer: InMemoryScorer = field(default_factory=lambda: InMemoryScorer(model=model(), score_row=like_it))
    log: InMemoryLog = field(default_factory=InMemoryLog)
    last_good: LastGood = field(default_factory=lambda: LastGood(100, timedelta(days=1)))
    decided: list = field(default_factory=list)
    verdicts: list = field(default_factory=list)
    unclaimed: list = field(default_factory=list)
    claims: list = field(default_factory=list)
    caller: str = "anonymous"
    remaining: float | None = None
    edition: Edition = field(default_factory=lambda: Edition(playbook(), feature_set()))
    pauses: int = 0

    def __post_init__(self):
        self.restart()

    def restart(self):
        """Lose what only the process knew; the log stays."""
        ticks = count(0, 1_700)

        def now():
            return self.now

        def monotonic():
            return next(ticks)

        async def pause():
            self.pauses += 1

        book, features = self.edition
        self.model = KnownModel(self.scorer, self.log, book, features)
        resolver = Resolver(profiles=self.profiles, features=self.features, last_good=self.last_good, now=now)
        journal = Journal(
            log=self.log,
            now=now,
            monotonic=monotonic,
            observe=lambda decision, logging: self.decided.append((decision, logging)),
        )
        decide = DecideHandler(
            playbook=book,
            feature_set=features,
            resolver=resolver,
            propensities=Propensities(
                playbook=book, feature_set=features, scorer=self.scorer, model=self.model
            ),
            journal=journal,
            now=now,
            monotonic=monotonic,
            turns=Turns(lambda: None),
        )

        async def edition(version):
            return self.edition if version == book.version else None

        remakes = Remakes(edition=edition, pause=pause)
        explain = ExplainHandler(
            log=self.log,
            contributions=Contributions(scorer=self.scorer, pause=pause),
            remakes=remakes,
            recall=ProtoStory,
        )
        replay = ReplayHandler(
            log=self.log,
            replays=Replays(remakes=remakes, seal=seal_of, recall=ProtoReplica),
            rescorer=ServedModel(scorer=self.scorer),
        )
        outcomes = OutcomeHandler(
            log=self.log,
            playbook=lambda: book,
            now=now,
            observe=lambda verdict, kind: self.verdicts.append((verdict, kind)),
            observe_unclaimed=self.unclaimed.append,
        )
        self.editions = Editions(book.version, decide)
        claims = ClaimHandler(
            current=lambda: self.editions.current, delivery_of=delivery_of, observe=self.claims.append
        )
        customers = CustomerHandler(log=self.log, now=now, forget=self.last_good.forget)
        self.servicer = DecisionServicer(self.editions, claims, explain, replay, outcomes, customers)

    def decide(self, **fields):
        """Answer one request."""
        return asyncio.run(self.deciding(request(**fields)))

    async def deciding(self, asked):
        """Answer one request on the caller's loop."""
        return await self.servicer.Decide(asked, Call(caller=self.caller, remaining=lambda: self.remaining))

    def explain(self, decision_id, **fields):
        """Answer why."""
        asked = pb.ExplainDecisionRequest(decision_id=decision_id, **fields)
        return asyncio.run(self.servicer.ExplainDecision(asked, Call(remaining=lambda: self.remaining)))

    def replay(self, decision_id, **fields):
        """Answer whether a decision would be made again as it was."""
        asked = pb.ReplayDecisionRequest(decision_id=decision_id, **fields)
        return asyncio.run(self.servicer.ReplayDecision(asked, Call(remaining=lambda: self.remaining)))

    def record(self, *outcomes):
        """Answer one batch of outcomes."""
        batch = pb.RecordOutcomesRequest(outcomes=outcomes)
        return list(asyncio.run(self.servicer.RecordOutcomes(batch, Call())).results)

    def erase(self, *customer_ids):
        """Erase what is on record of a customer; return how many rows there were, by table."""
        asked = pb.EraseCustomerRequest(customer_ids=customer_ids)
        answer = asyncio.run(self.servicer.EraseCustomer(asked, Call()))
        return {one.table: one.rows for one in answer.erased if one.rows}

    def logged(self, answer, live=True):
        """Return what the log holds of an answer."""
        return log_pb.DecisionRecord.FromString(self.log.entries[live, answer.decision_id].record)


def request(customer_id=ANNA, identity=None, at=None, context=None, max_actions=10, **fields):
    """Write a request; everything is asked for unless told otherwise."""
    if identity is None:
        customer = profile_pb.CustomerKey(customer_id=customer_id)
    else:
        customer = profile_pb.CustomerKey(identity=profile_pb.Identity(kind=identity[0], value=identity[1]))
    asked = pb.DecideRequest(customer=customer, max_actions=max_actions, **fields)
    if at is not None:
        asked.decision_time.CopyFrom(instant(at))
    for name, value in (context or {}).items():
        if name == "attributes":
            for key, raw in value.items():
                asked.context.attributes[key].CopyFrom(json_value(raw))
        else:
            setattr(asked.context, name, value)
    return asked


def instant(moment):
    """Write a time."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def json_value(raw):
    """Write a value of JSON."""
    match raw:
        case None:
            return Value(null_value=0)
        case bool():
            return Value(bool_value=raw)
        case str():
            return Value(string_value=raw)
        case Value():
            return raw
        case _:
            return Value(number_value=raw)


def chosen(answer):
    """Name what was chosen, best first."""
    return [(action.action_id, action.treatment_id) for action in answer.actions]


def codes(answer):
    """Name the reasons of silence."""
    return [reason.code for reason in answer.reasons]


def served_by(answer):
    """Name the level at which a decision was made."""
    return pb.ServedBy.Name(answer.served_by).removeprefix("SERVED_BY_")


def degradations(answer):
    """Name what a decision did without, and why."""
    return [
        (
            pb.DegradationSource.Name(lost.source).removeprefix("DEGRADATION_SOURCE_"),
            pb.DegradationCause.Name(lost.cause).removeprefix("DEGRADATION_CAUSE_"),
        )
        for lost in answer.degradations
    ]
