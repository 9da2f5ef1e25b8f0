"""A borrowed value decides and is nowhere afterwards: in no file, database, Redis, log or training set."""

import asyncio
import contextlib
import subprocess
import sys
import zipfile
import zlib
from datetime import UTC, datetime, timedelta

import own_servers
import psycopg
import redis as client
import worlds as running
from deciding import instant, json_value
from tact.decision.v1 import decision_service_pb2 as pb
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.log.v1 import decision_record_pb2 as log_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.engine.playbook.loader import shipped

SECRET, LENDER, KEPT = "SECRET-employer-5e1c", "LENDER-network-81b0", "KEPT-company-2d7a"
EVENT = "KEPT-event-c4f9"
ACCOUNT = "harbour"
RECORDS = "SELECT record FROM decisions"
DATASET = """
playbook: {playbook}
home: {home}
exposures: {{ event: rejected, action: action }}
as_of_time: {now}
output: {home}/datasets/sales
"""


def upsert(attributes, source=""):
    update = profile_pb.ProfileUpdate(customer_id=ACCOUNT, source=source)
    for name, value in attributes.items():
        update.attributes[name].CopyFrom(json_value(value))
    return profile_pb.UpsertProfilesRequest(updates=[update])


def consents():
    found = profile_pb.RecordConsentsRequest()
    for purpose in ("care", "selling"):
        consent = found.records.add(customer_id=ACCOUNT).consent
        consent.receipt_id, consent.purpose, consent.channel = f"r-{purpose}", purpose, "task"
        consent.state = profile_pb.CONSENT_STATE_GRANTED
    return found


def happened(now):
    """Return orders that fell, a lead, and what was tried long ago."""
    for number, (kind, days, attributes) in enumerate(
        [
            ("order", 150, {"amount": 2400.0}),
            ("order", 20, {"amount": 900.0}),
            ("page_opened", 1, {}),
            *(("rejected", 100 + 3 * days, {"action": "greet-successor"}) for days in range(20)),
        ]
    ):
        event = features_pb.Event(
            event_id=f"{EVENT}-{number}",
            customer_id=ACCOUNT,
            type=kind,
            event_time=instant(now - timedelta(days=days)),
        )
        for name, value in attributes.items():
            event.attributes[name].CopyFrom(json_value(value))
        yield event


def live(number):
    asked = pb.DecideRequest(
        customer=profile_pb.CustomerKey(customer_id=ACCOUNT),
        request_id=f"request-{number}",
        max_actions=3,
        include_explanation=bool(number % 2),
    )
    asked.actor.id, asked.actor.device = "tom", "phone"
    return asked


def tact(*arguments, **environ):
    """Run the command; it must succeed."""
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        cwd=running.ROOT,
        env=environ,
        check=True,
        capture_output=True,
    )


def files(*folders):
    """Return the content of all files, archives unpacked."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    found.append(path.read_bytes())
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    found += [archive.read(name) for name in archive.namelist()]
    return b"\n".join(found)


def in_redis(url):
    """Return all keys and values, those of states unpacked."""
    with contextlib.closing(client.Redis.from_url(url)) as redis:
        found = []
        for key in redis.scan_iter():
            value = redis.get(key)
            found += [key, value, zlib.decompress(value[16:])]
    return b"\n".join(found)


def test_a_borrowed_value_decides_and_is_found_nowhere_afterwards(tmp_path):
    home = tmp_path / "home"
    playbook = shipped("sales")
    now = datetime.now(UTC)

    async def main(environ):
        world = running.Processes(home, playbook, names=("profile", "features"), environ=environ)
        async with asyncio.timeout(running.PATIENCE_SECONDS), world:
            profile, features, gateway = (world.stubs[name] for name in ("profile", "features", "gateway"))
            await profile.UpsertProfiles(upsert({"company": KEPT}, "crm"))
            await profile.UpsertProfiles(upsert({"contact_employer": SECRET}, LENDER))
            await profile.RecordConsents(consents())
            ingested = await features.IngestEvents(features_pb.IngestEventsRequest(events=happened(now)))
            assert all(result.HasField("accepted") for result in ingested.results), ingested
            answers = [await gateway.Decide(live(number)) for number in range(4)]
            told = [
                await gateway.ExplainDecision(pb.ExplainDecisionRequest(decision_id=answer.decision_id))
                for answer in answers
            ]
            key = profile_pb.CustomerKey(customer_id=ACCOUNT)
            read = await profile.BatchGetProfiles(profile_pb.BatchGetProfilesRequest(customers=[key]))
            exported = await profile.ExportCustomer(profile_pb.ExportCustomerRequest(customer_ids=[ACCOUNT]))
        return answers, told, read, exported, world.log

    with own_servers.postgresql() as postgresql, own_servers.own_redis() as redis:
        postgresql.start()
        redis.start()
        stores = {f"TACT_{name}_STORE": postgresql.url for name in ("PROFILE", "FEATURES", "GATEWAY")}
        answers, told, read, exported, log = asyncio.run(main({**stores, "TACT_FEATURES_STATE": redis.url}))
        environ = {"PATH": "/usr/bin:/bin", "TACT_HOME": str(home), "TACT_PLAYBOOK": str(playbook), **stores}
        config = tmp_path / "dataset.yaml"
        config.write_text(DATASET.format(playbook=playbook, home=home, now=now.isoformat()))
        tact("dataset", str(config), **environ)
        tact("data", "export", str(tmp_path / "all.zip"), **environ)
        with psycopg.connect(postgresql.url) as store:
            records = [log_pb.DecisionRecord.FromString(row[0]) for row in store.execute(RECORDS).fetchall()]
        state = in_redis(redis.url)
        kept = files(postgresql.folder, tmp_path)
    assert read.results[0].profile.attributes["contact_employer"].value.string_value == SECRET
    assert [record.withheld[0].verdict for record in records] == [log_pb.VERDICT_TRUE] * len(answers)
    said = b"".join(message.SerializeToString() for message in (*answers, *told, exported))
    written = kept + state + "".join(log).encode() + said
    for word in (KEPT, EVENT):
        assert word.encode() in kept
    assert EVENT.encode() in state
    for word in (SECRET, LENDER):
        assert word.encode() not in written
