"""Business moves from a laptop to its own machines and back; nothing is lost on the way."""

import asyncio
import contextlib
import copy
from datetime import UTC, datetime, timedelta

import databases
import grpc
import pytest
import redises
import worlds
from archives import LEFT_BEHIND, Stores
from deciding import codes, instant, json_value, request
from tact.decision.v1 import decision_service_pb2 as pb
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.cli.__main__ import main
from services.cli.data.parts import PARTS

LIVE, DRY = "DECISION_MODE_LIVE", "DECISION_MODE_DRY_RUN"
CAPS = """
        claim_within: 2d
        caps:
          - name: two_offers
            text: Two offers a week are enough.
            most: 2
            window: 7d
            applies_to: { groups: [offers] }
"""
ANNA, ANNIE, BEN, CLEO, DORA = PEOPLE = ("anna", "annie", "ben", "cleo", "dora")
OFFERS = {"bread-coupon", "wine-coupon", "spring-sale"}


def write_shop(folder):
    """Write the shop's playbook with a cap on offers."""
    worlds.write_shop(folder)
    policies = (folder / "policies.yaml").read_text(encoding="utf-8")
    (folder / "policies.yaml").write_text(policies + CAPS, encoding="utf-8")
    return folder


async def populate(stubs):
    """Put people on file who bought bread and wine yesterday; all but one consent to everything."""
    now = datetime.now(UTC)
    updates, consents, events = [], [], []
    for name in PEOPLE:
        updates.append(
            profile_pb.ProfileUpdate(
                customer_id=name,
                attributes={"segment": json_value("gold"), "age": json_value(40)},
                identities=[profile_pb.Identity(kind="card", value=f"card of {name}")],
            )
        )
        for purpose in ("marketing", "care"):
            for channel in ("email", "mail", "app"):
                state = "DENIED" if name == CLEO else "GRANTED"
                consent = profile_pb.Consent(
                    receipt_id=f"{name} {purpose} {channel}",
                    purpose=purpose,
                    channel=channel,
                    state=f"CONSENT_STATE_{state}",
                )
                consents.append(profile_pb.ConsentRecord(customer_id=name, consent=consent))
        for number, category in enumerate(("bread", "wine", "wine")):
            bought = features_pb.Event(
                event_id=f"{name} {number}",
                customer_id=name,
                type="purchase",
                event_time=instant(now - timedelta(days=1, minutes=number)),
            )
            bought.attributes["amount"].number_value = 12.25 + number
            bought.attributes["category"].string_value = category
            events.append(bought)
    answer = await stubs["profile"].UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=updates))
    assert all(result.customer_id for result in answer.results), answer
    answer = await stubs["profile"].RecordConsents(profile_pb.RecordConsentsRequest(records=consents))
    assert all(result.HasField("accepted") for result in answer.results), answer
    answer = await stubs["features"].IngestEvents(features_pb.IngestEventsRequest(events=events))
    assert all(result.HasField("accepted") for result in answer.results), answer
    link = profile_pb.LinkIdentitiesRequest(
        link_id="anna is annie",
        customer=profile_pb.CustomerKey(customer_id=ANNA),
        other=profile_pb.CustomerKey(customer_id=ANNIE),
    )
    await stubs["profile"].LinkIdentities(link)


class Place:
    """Where the business is: stores of one kind, and four processes that serve them."""

    def __init__(self, stores, shop, uri, **environ):
        self.stores, self.shop = stores, shop
        settings = {**stores.environ, **environ, "TACT_PROFILE_IDENTITY_LEASE_SECONDS": "0.2"}
        home = settings.pop("TACT_HOME")
        self.settings = settings
        self.services = worlds.Processes(home, shop, uri, environ=settings)

    @contextlib.contextmanager
    def open(self):
        """Serve for the length of the block."""
        with asyncio.Runner() as runner:
            self.run = runner.run
            self.run(self.services.__aenter__())
            try:
                yield self
            finally:
                self.run(self.services.__aexit__())

    @property
    def gateway(self):
        return self.services.stubs["gateway"]

    def decide(self, asked):
        return self.run(self.gateway.Decide(asked))

    def claim(self, answer, rank):
        return self.run(
            self.gateway.ClaimDelivery(
                pb.ClaimDeliveryRequest(decision_id=answer.decision_id, rank=rank, claim_id="sender")
            )
        )

    def tell(self, answer, rank, kind="DELIVERED"):
        """Report an outcome; returns whether it was known already."""
        outcome = pb.Outcome(
            outcome_id=f"{answer.decision_id} {rank} {kind}",
            decision_id=answer.decision_id,
            rank=rank,
            kind=f"OUTCOME_KIND_{kind}",
            outcome_time=answer.decision_time,
            measures={"effort": 0.1},
        )
        answered = self.run(self.gateway.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=[outcome])))
        assert answered.results[0].HasField("accepted"), answered
        return answered.results[0].accepted.duplicate

    def tact(self, monkeypatch, *arguments):
        """Run a command as somebody would here; it must end well."""
        with monkeypatch.context() as patch:
            for name, value in {**self.stores.environ, **self.settings}.items():
                patch.setenv(name, value)
            for name in self.services.stubs:
                patch.setenv(f"TACT_{name.upper()}_PORT", str(self.services.port(name)))
            assert main(list(map(str, arguments))) == 0

    @property
    def log(self):
        """What ``tact replay`` is told."""
        return self.stores.url or str(self.stores.home)


class Business:
    """What was asked and answered so far."""

    def __init__(self):
        self.asked, self.answers, self.stories = {}, {}, {}

    def decide(self, place, request_id, customer_id, **fields):
        """Decide once, mostly about offers, and remember it."""
        asked = request(customer_id, request_id=request_id, **({"groups": ["offers"]} | fields))
        self.asked[request_id] = asked
        answer = self.answers[request_id] = place.decide(asked)
        return answer

    def explain(self, place, request_id):
        """Ask why once and remember it."""
        asked = pb.ExplainDecisionRequest(decision_id=self.answers[request_id].decision_id)
        self.stories[request_id] = place.run(place.gateway.ExplainDecision(asked))

    def is_known(self, place):
        """Ask everything again: each answer is the stored one, byte for byte."""
        for request_id, asked in self.asked.items():
            again = place.decide(asked)
            assert again.SerializeToString(deterministic=True) == self.answers[request_id].SerializeToString(
                deterministic=True
            ), request_id
        for request_id, story in self.stories.items():
            asked = pb.ExplainDecisionRequest(decision_id=self.answers[request_id].decision_id)
            assert place.run(place.gateway.ExplainDecision(asked)) == story


def offers(answer):
    """Return the ranks of offers in an answer."""
    return [action.rank for action in answer.actions if action.action_id in OFFERS]


def numbers(answer):
    """Return what an answer rests on, but for its id and the time that it took."""
    known = copy.copy(answer)
    for field in ("decision_id", "request_id", "timings", "total_duration", "as_of_sequence"):
        known.ClearField(field)
    return known


def test_everything_moves_from_files_to_servers_and_back(tmp_path, monkeypatch, capsys):
    shop, uri = write_shop(tmp_path / "shop"), worlds.register_model(tmp_path)
    business, moment = Business(), None
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(databases.postgresql())
        prefix = stack.enter_context(redises.prefix())
        laptop = Place(Stores(tmp_path / "laptop"), shop, uri)
        servers = Place(
            Stores(tmp_path / "servers", url),
            shop,
            uri,
            TACT_FEATURES_STATE=redises.SERVER,
            TACT_FEATURES_STATE_PREFIX=prefix,
        )
        home_again = Place(Stores(tmp_path / "home again"), shop, uri)

        with laptop.open():
            laptop.run(populate(laptop.services.stubs))
            first = business.decide(laptop, "anna 1", ANNA, max_actions=1)
            assert offers(first) == [1]
            assert laptop.claim(first, 1).verdict == pb.CLAIM_VERDICT_GO
            assert not laptop.tell(first, 1)
            second = business.decide(laptop, "annie 1", ANNIE, max_actions=1)
            assert second.customer_id == ANNA
            assert offers(second) == [1]
            assert not offers(business.decide(laptop, "anna 2", ANNA))
            explained = business.decide(laptop, "ben 1", BEN, include_explanation=True, groups=[])
            assert explained.explanation.candidates
            moment = explained.decision_time.ToDatetime(UTC)
            dry = business.decide(laptop, "ben 2", BEN, mode=DRY, at=moment)
            assert offers(dry)
            business.decide(laptop, "cleo 1", CLEO, mode=LIVE, groups=[])
            assert codes(business.decide(laptop, "nobody 1", "nobody")) == ["UNKNOWN_CUSTOMER"]
            business.decide(laptop, "ben 3", None, identity=("card", f"card of {BEN}"), mode=DRY)
            business.explain(laptop, "anna 1")
            gone = [request(DORA, request_id="dora 1"), request(DORA, request_id="dora 2", mode=DRY)]
            erased = [laptop.decide(asked) for asked in gone]
            assert offers(erased[0])
            laptop.tact(monkeypatch, "customer", "erase", DORA, "--yes")
        made = laptop.stores.everything()
        assert not any(DORA in repr(row) for rows in made.values() for row in rows)
        assert replayed(laptop, capsys) == f"{len(business.answers)} of {len(business.answers)} identical"
        laptop.tact(monkeypatch, "data", "export", tmp_path / "to the servers.zip")

        servers.tact(monkeypatch, "data", "import", tmp_path / "to the servers.zip")
        assert servers.stores.everything() == made
        assert replayed(servers, capsys) == f"{len(business.answers)} of {len(business.answers)} identical"
        with servers.open():
            business.is_known(servers)
            still_erased(servers, gone, erased)
            assert codes(business.decide(servers, "dora 3", DORA)) == ["UNKNOWN_CUSTOMER"]
            # The same features of the same events make the same decision of the same moment.
            again = business.decide(servers, "ben 4", BEN, mode=DRY, at=moment)
            assert numbers(again) == numbers(dry)
            # Slots that were reserved or taken there count here.
            assert not offers(business.decide(servers, "anna 3", ANNA))
            assert servers.claim(first, 1).is_repeat
            assert servers.claim(second, 1).verdict == pb.CLAIM_VERDICT_GO
            assert servers.tell(first, 1)
            assert not servers.tell(second, 1, "ACCEPTED")
            assert business.decide(servers, "ben 5", BEN, include_explanation=True, groups=[]).actions
            assert len(offers(business.decide(servers, "ben 6", BEN))) == 0
            business.explain(servers, "ben 5")
            stub = servers.services.stubs["profile"]
            leaving = profile_pb.UnlinkIdentityRequest(link_id="annie is herself", customer_id=ANNIE)
            servers.run(stub.UnlinkIdentity(leaving))
            # Services may go on meanwhile.
            servers.tact(monkeypatch, "data", "export", tmp_path / "home.zip")
        known = servers.stores.everything()
        for name, rows in made.items():
            if name[1] not in ("contacts", "memberships", "counter"):
                assert set(rows) <= set(known[name]), name

        home_again.tact(monkeypatch, "data", "import", tmp_path / "home.zip")
        assert home_again.stores.everything() == known
        never_behind(servers.stores, home_again.stores)
        assert replayed(home_again, capsys) == f"{len(business.answers)} of {len(business.answers)} identical"
        with home_again.open():
            business.is_known(home_again)
            still_erased(home_again, gone, erased)
            assert codes(business.decide(home_again, "dora 4", DORA)) == ["UNKNOWN_CUSTOMER"]
            assert home_again.claim(second, 1).is_repeat
            assert home_again.tell(second, 1, "ACCEPTED")
            for number, name in enumerate((ANNA, BEN)):
                assert not offers(business.decide(home_again, f"last {number}", name))
            # Who left the other has what was sent under her own name alone.
            assert business.decide(home_again, "annie 2", ANNIE).customer_id == ANNIE
            again = business.decide(home_again, "ben 7", BEN, mode=DRY, at=moment)
            assert numbers(again) == numbers(dry)
        assert replayed(home_again, capsys) == f"{len(business.answers)} of {len(business.answers)} identical"


def replayed(place, capsys):
    """Replay a log, all of which must be identical; returns the last line without what was erased."""
    capsys.readouterr()
    assert main(["replay", place.log, "--playbook", str(place.shop)]) == 0
    said, _, erased = capsys.readouterr().out.splitlines()[-1].partition(", ")
    assert erased == "2 erased with their customers"
    return said


def still_erased(place, gone, erased):
    """Ask for what was erased: nobody decides it again, and everybody is told."""
    for asked, answer in zip(gone, erased, strict=True):
        with pytest.raises(grpc.aio.AioRpcError, match="erased with its customer"):
            place.decide(asked)
        with pytest.raises(grpc.aio.AioRpcError, match="erased with its customer"):
            place.run(place.gateway.ReplayDecision(pb.ReplayDecisionRequest(decision_id=answer.decision_id)))


def never_behind(here, there):
    """Hold the numbers that a store goes on counting to those that were moved."""
    for part in PARTS:
        for table in part.tables:
            if table.name in LEFT_BEHIND[part.name] and table.greatest not in ("", "one"):
                at = table.columns.index(table.greatest)
                later = {table.key_of(row): row[at] for row in there.rows(part, table)}
                assert all(row[at] <= later[table.key_of(row)] for row in here.rows(part, table)), table.name
