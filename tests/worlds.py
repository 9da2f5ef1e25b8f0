"""The shop of ``deciding`` on real services: all in this process, or each in its own."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import learned
import numpy as np
import pandas as pd
from deciding import FILES, LAYOUT, feature_set, instant, json_value, playbook
from tact.decision.v1 import decision_service_pb2 as decision_pb
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.allinone import app as allinone
from services.chassis.clients import GrpcStub, channel
from services.chassis.inprocess import InProcessStub
from services.features import app as features_app
from services.features.settings import FeatureSettings
from services.gateway import app as gateway_app
from services.gateway.settings import GatewaySettings
from services.profile import app as profile_app
from services.profile.settings import ProfileSettings
from services.scoring import app as scoring_app
from services.scoring.settings import ScoringSettings
from training.bundle.writer import write_bundle
from training.data.dataset import ModelFeature, write_dataset
from training.jobs.tracking import ensure_registered_model, experiment_id, tracking
from training.model.fitting import fit

ROOT = Path(__file__).parents[1]
MODEL = "tact-shop"
PATIENCE_SECONDS = 240.0
DEPENDENCIES = ("profile", "features", "scoring")
DESCRIPTORS = {
    "profile": profile_pb.DESCRIPTOR.services_by_name["ProfileService"],
    "features": features_pb.DESCRIPTOR.services_by_name["FeatureService"],
    "gateway": decision_pb.DESCRIPTOR.services_by_name["DecisionService"],
}
NOON = datetime(2025, 5, 14, 12, tzinfo=UTC)
"""The events of the shop lie in the sixty days before and the two after."""
CUSTOMERS = [f"customer-{number}" for number in range(40)]


def register_model(folder):
    """Learn a model of the shop's features and make it the champion of a new registry."""
    draw = np.random.default_rng(7)
    rows = 800
    numbers = dict(zip(LAYOUT, draw.normal(1, 1, (len(LAYOUT), rows)), strict=True))
    chance = 1 / (1 + np.exp(2 - 1.5 * numbers["liking"] - 0.5 * numbers["spend_30d"]))
    exposure = draw.integers(0, 200, rows) * learned.DAY
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(rows)],
            "action_id": "wine-coupon",
            "group": draw.choice(["offers", "service"], rows),
            "exposure_time": exposure,
            "outcome_closed_time": exposure + learned.DAY,
            "label": (draw.random(rows) < chance).astype(int),
            **numbers,
        }
    )
    features = [
        ModelFeature(name=name, definition_hash=digest, candidate=is_candidate)
        for name, digest, is_candidate in feature_set().layout(LAYOUT)
    ]
    versions = {"playbook_version": playbook().version, "feature_set_version": feature_set().version}
    dataset = write_dataset(folder / "dataset", frame, features, source="tests", as_of_time=NOON, **versions)
    fitted = fit(dataset, learned.FAST)
    bundle = folder / "bundle"
    write_bundle(bundle, fitted, dataset, outcome="bought", created_time=NOON, seed=1)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with tracking(uri) as client:
        run = client.create_run(experiment_id(client, "shop"))
        client.log_artifacts(run.info.run_id, str(bundle), "bundle")
        ensure_registered_model(client, MODEL)
        source = f"{run.info.artifact_uri}/bundle"
        version = client.create_model_version(MODEL, source=source, run_id=run.info.run_id)
        client.set_registered_model_alias(MODEL, "champion", version.version)
    return uri


def write_shop(folder):
    """Write the shop's playbook."""
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


async def populate(profile, features):
    """Fill both stores, the same at every call."""
    draw = random.Random(20_250_514)
    long_ago = instant(NOON - timedelta(days=90))
    updates, consents, events = [], [], []
    for customer_id in CUSTOMERS:
        attributes = {
            "segment": draw.choice(["new", "regular", "gold"]),
            "age": draw.randrange(14, 80),
            "time_zone": draw.choice(["Europe/Paris", "Asia/Tokyo", "Nowhere/AtAll"]),
        }
        kept = {name: json_value(raw) for name, raw in attributes.items() if draw.random() < 0.8}
        card = profile_pb.Identity(kind="card", value=f"card of {customer_id}")
        updates.append(
            profile_pb.ProfileUpdate(
                customer_id=customer_id, attributes=kept, identities=[card], record_time=long_ago
            )
        )
        consents += [
            consent(draw, customer_id, purpose, channel_name, long_ago)
            for purpose in ("marketing", "care")
            for channel_name in ("email", "mail", "app")
            if draw.random() < 0.7
        ]
        events += [event(draw, customer_id, number) for number in range(draw.randrange(0, 30))]
    answer = await profile.UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=updates))
    assert all(result.customer_id for result in answer.results)
    answer = await profile.RecordConsents(profile_pb.RecordConsentsRequest(records=consents))
    assert all(result.HasField("accepted") for result in answer.results)
    answer = await features.IngestEvents(features_pb.IngestEventsRequest(events=events))
    assert all(result.HasField("accepted") for result in answer.results)


def consent(draw, customer_id, purpose, channel_name, said):
    """Draw one consent: mostly granted, some for a while only."""
    state = draw.choice(["GRANTED", "GRANTED", "GRANTED", "GRANTED", "DENIED", "WITHDRAWN"])
    receipt = profile_pb.Consent(
        receipt_id=f"{customer_id} {purpose} {channel_name}",
        purpose=purpose,
        channel=channel_name,
        state=f"CONSENT_STATE_{state}",
        record_time=said,
    )
    if state == "GRANTED" and draw.random() < 0.2:
        receipt.expire_time.CopyFrom(instant(NOON + timedelta(hours=draw.randrange(-5, 5))))
    return profile_pb.ConsentRecord(customer_id=customer_id, consent=receipt)


def event(draw, customer_id, number):
    """Draw one event of the last sixty days or the next two."""
    moment = NOON + timedelta(seconds=draw.randrange(-60 * 86_400, 2 * 86_400))
    happened = features_pb.Event(
        event_id=f"{customer_id} event {number}",
        customer_id=customer_id,
        type="complaint" if draw.random() < 0.1 else "purchase",
        event_time=instant(moment),
    )
    if happened.type == "purchase":
        happened.attributes["amount"].number_value = draw.randrange(100, 9_999) / 100
        happened.attributes["category"].string_value = draw.choice(["bread", "wine", "soap"])
    return happened


class Current:
    """A stub whose service may be closed and opened anew."""

    def __init__(self):
        self.stub = None

    def __getattr__(self, rpc):
        return getattr(self.stub, rpc)


class OneProcess:
    """All four services in this process; the gateway calls the others directly, as does the caller."""

    def __init__(self, home, playbook_folder, registry_uri):
        shared = {"TACT_HOME": home, "TACT_PLAYBOOK": playbook_folder, "port": 0, "metrics_port": 0}
        self._settings = {
            "profile": ProfileSettings(**shared),
            "features": FeatureSettings(**shared),
            "scoring": ScoringSettings(**shared, tracking_uri=registry_uri, model_name=MODEL),
            "gateway": GatewaySettings(**shared),
        }
        self.home = home
        self.stubs = {name: Current() for name in self._settings}
        self._stacks = {}

    async def __aenter__(self):
        for name in self._settings:
            await self.start(name)
        return self

    async def __aexit__(self, *failure):
        for name in reversed(list(self._stacks)):
            await self.stop(name)

    async def start(self, name):
        """Open a service."""
        settings = self._settings[name]
        opened = {
            "profile": lambda: profile_app.open_service(settings, playbook()),
            "features": lambda: features_app.open_service(settings, playbook()),
            "scoring": lambda: scoring_app.open_service(settings),
            "gateway": lambda: gateway_app.open_service(
                settings, playbook(), gateway_app.Stubs(**{each: self.stubs[each] for each in DEPENDENCIES})
            ),
        }[name]()
        self._stacks[name] = stack = contextlib.AsyncExitStack()
        service = await stack.enter_async_context(opened)
        await service.warm_up()
        self.stubs[name].stub = InProcessStub(service, PATIENCE_SECONDS)

    async def stop(self, name):
        """Close a service; who holds its stub keeps it."""
        await self._stacks.pop(name).aclose()


class Together:
    """All four services as ``tact up`` runs them, reached over their ports."""

    def __init__(self, home, playbook_folder, registry_uri):
        environ = {
            "TACT_HOME": str(home),
            "TACT_PLAYBOOK": str(playbook_folder),
            "TACT_SCORING_TRACKING_URI": registry_uri,
            "TACT_SCORING_MODEL_NAME": MODEL,
            **{f"TACT_{name.upper()}_PORT": "0" for name in (*DEPENDENCIES, "gateway")},
            **{f"TACT_{name.upper()}_METRICS_PORT": "0" for name in (*DEPENDENCIES, "gateway")},
        }
        self._settings = allinone.load_settings(environ)
        self._stack = contextlib.AsyncExitStack()
        self.home = home
        self.stubs = {}

    async def __aenter__(self):
        services = await self._stack.enter_async_context(allinone.running(self._settings))
        for name, descriptor in DESCRIPTORS.items():
            opened = channel(f"127.0.0.1:{services[name].port}", descriptor)
            await self._stack.enter_async_context(opened)
            self.stubs[name] = GrpcStub(opened, descriptor, PATIENCE_SECONDS)
        return self

    async def __aexit__(self, *failure):
        await self._stack.aclose()


class Processes:
    """Each service in a process of its own, as ``tact serve`` runs it, reached over gRPC.

    ``environ`` adds to what the processes are told; ``launcher`` is a command that starts each.
    """

    def __init__(
        self, home, playbook_folder, registry_uri=None, names=DEPENDENCIES, environ=None, launcher=()
    ):
        self.home = home
        self.stubs = {}
        self.log = []
        self.names = names
        self._launcher = launcher
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TACT_")},
            "TACT_HOME": str(home),
            "TACT_PLAYBOOK": str(playbook_folder),
            "TACT_SCORING_MODEL_NAME": MODEL,
            **(environ or {}),
        }
        if registry_uri is not None:
            self._environ["TACT_SCORING_TRACKING_URI"] = registry_uri
        self._serving = {}
        self._processes = {}
        self._channels = contextlib.AsyncExitStack()
        self._channel_of = {}

    async def __aenter__(self):
        try:
            await asyncio.gather(*map(self.start, self.names))
            await self.start("gateway")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *failure):
        await self._channels.aclose()
        for name in list(self._processes):
            await self.stop(name)

    async def start(self, name):
        """Start a process, on the port that it had before."""
        addresses = {}
        if name == "gateway":
            addresses = {f"TACT_GATEWAY_{each.upper()}_ADDRESS": self.address(each) for each in DEPENDENCIES}
        had = self._serving.get(name, {"port": 0})
        process = await asyncio.create_subprocess_exec(
            *self._launcher,
            sys.executable,
            "-m",
            "services.cli",
            "serve",
            name,
            cwd=ROOT,
            env={
                **self._environ,
                **addresses,
                f"TACT_{name.upper()}_PORT": str(had["port"]),
                f"TACT_{name.upper()}_METRICS_PORT": "0",
            },
            stderr=asyncio.subprocess.PIPE,
        )
        serving = asyncio.get_running_loop().create_future()
        self._processes[name] = process, asyncio.create_task(self._read(process, serving))
        self._serving[name] = await serving
        if name in DESCRIPTORS and name not in self.stubs:
            opened = channel(f"127.0.0.1:{self.port(name)}", DESCRIPTORS[name])
            self._channel_of[name] = await self._channels.enter_async_context(opened)
            self.stubs[name] = GrpcStub(opened, DESCRIPTORS[name], PATIENCE_SECONDS)
        if name in self._channel_of:
            # A channel that saw the process die waits before it tries again, and refuses calls meanwhile.
            await self._channel_of[name].channel_ready()

    def port(self, name):
        """Return the port on which a service listens."""
        return self._serving[name]["port"]

    def metrics_port(self, name):
        """Return the port on which a service shows its metrics."""
        return self._serving[name]["metrics_port"]

    def address(self, name):
        """Return where the gateway looks for a service: where it listens, else where nobody does."""
        return f"127.0.0.1:{self.port(name) if name in self._serving else 1}"

    def pid(self, name):
        """Return the id of a service's process."""
        return self._processes[name][0].pid

    def signal(self, name, number):
        """Send a signal to a process, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            self._processes[name][0].send_signal(number)

    def kill(self, name):
        """Kill a process at once."""
        self.signal(name, signal.SIGKILL)

    async def stop(self, name):
        """Kill a process and wait for its end."""
        self.kill(name)
        await self.ended(name)

    async def ended(self, name):
        """Wait for the end of a process and return its exit code."""
        process, reading = self._processes.pop(name)
        code = await process.wait()
        await reading
        return code

    async def _read(self, process, serving):
        lines = []
        async for line in process.stderr:
            lines.append(line.decode())
            if not serving.done() and '"serving"' in lines[-1]:
                serving.set_result(json.loads(line))
        self.log += lines
        if not serving.done():
            serving.set_exception(AssertionError("".join(lines)))
