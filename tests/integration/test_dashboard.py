"""Every panel of the dashboards shows data when a real Prometheus reads real services."""

import asyncio
import contextlib
import itertools
import math
import shutil

import grpc
import pytest
from dashboards import QUERIES, SCRAPING, VARIABLES, label_values
from deciding import request
from monitoring import POLL_SECONDS, program, prometheus, scraping, stubs, up
from tact.decision.v1 import decision_service_pb2 as decision_pb
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from worlds import CUSTOMERS, DESCRIPTORS, MODEL, NOON, instant, populate, register_model, write_shop

from training.jobs.tracking import experiment_id, tracking

PATIENCE_SECONDS = 60.0
SCRAPE_INTERVAL = "250ms"
DRY = "DECISION_MODE_DRY_RUN"
DECIDE = {"grpc_service": "tact.decision.v1.DecisionService", "grpc_method": "Decide"}


def promote_a_broken_version(folder, uri):
    """Make a bundle whose model is cut short the champion."""
    broken = folder / "broken"
    shutil.copytree(folder / "bundle", broken)
    model = (broken / "model.txt").read_bytes()
    (broken / "model.txt").write_bytes(model[: len(model) // 2])
    with tracking(uri) as client:
        run = client.create_run(experiment_id(client, "shop"))
        client.log_artifacts(run.info.run_id, str(broken), "bundle")
        source = f"{run.info.artifact_uri}/bundle"
        version = client.create_model_version(MODEL, source=source, run_id=run.info.run_id)
        client.set_registered_model_alias(MODEL, "champion", version.version)


async def traffic(services, number):
    """Make calls that end in all the ways that the dashboard tells apart."""
    decide = services["gateway"].Decide
    for customer_id in CUSTOMERS[:10]:
        await decide(request(customer_id, mode=DRY, at=NOON))
    answer = await decide(request(CUSTOMERS[number % len(CUSTOMERS)]))
    await decide(request("nobody"))
    await decide(request(CUSTOMERS[0], mode=DRY, at=NOON, min_sequence=10**9))
    with contextlib.suppress(grpc.aio.AioRpcError):
        await decide(request(max_actions=-1))
    told = decision_pb.Outcome(
        outcome_id=f"outcome {number}", decision_id=answer.decision_id, rank=1, kind="OUTCOME_KIND_VIEWED"
    )
    told.outcome_time.GetCurrentTime()
    await services["gateway"].RecordOutcomes(decision_pb.RecordOutcomesRequest(outcomes=[told, told]))
    happened = features_pb.Event(
        event_id=f"complaint {number}", customer_id="nobody", type="complaint", event_time=instant(NOON)
    )
    await services["features"].IngestEvents(features_pb.IngestEventsRequest(events=[happened, happened]))
    update = profile_pb.ProfileUpdate(customer_id="passer-by", record_time=instant(NOON))
    await services["profile"].UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=[update]))
    receipt = profile_pb.Consent(
        receipt_id="r",
        purpose="care",
        channel="app",
        state="CONSENT_STATE_GRANTED",
        record_time=instant(NOON),
    )
    record = profile_pb.ConsentRecord(customer_id="passer-by", consent=receipt)
    await services["profile"].RecordConsents(profile_pb.RecordConsentsRequest(records=[record]))


class Shown:
    """What Prometheus answers to each query, and to each variable."""

    def __init__(self):
        self.variables = {}
        self.answers = {}

    async def look(self, prometheus):
        """Ask everything as Grafana would ask it."""
        for variable in VARIABLES:
            self.variables[variable["name"]] = await prometheus.label_values(*label_values(variable))
        for query in QUERIES:
            self.answers[str(query)] = await prometheus.query(self.filled(query.expression))

    def filled(self, expression):
        """Put in the variables; what only stands in for missing series is left out."""
        for name, values in self.variables.items():
            expression = expression.replace(f"${name}", f"({'|'.join(values)})")
        return expression.replace("$__rate_interval", "30s").replace(" or vector(0)", "")

    def has_all(self):
        """Tell whether nothing is missing."""
        return all(map(self.has, QUERIES)) and all(self.variables.values())

    def has(self, query):
        """Tell whether a query has an answer of numbers only."""
        answer = self.answers.get(str(query))
        return bool(answer) and all(math.isfinite(number) for _, number in answer)

    def of(self, query, **labels):
        """Return the numbers of a query's series that have these labels."""
        wanted = labels.items()
        return [number for found, number in self.answers[query] if wanted <= found.items()]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Run services under traffic and Prometheus beside them until every query has an answer."""
    binary = program("prometheus")
    folder = tmp_path_factory.mktemp("world")
    home, data = folder / "home", folder / "prometheus"
    home.mkdir()
    data.mkdir()
    uri = register_model(folder)
    settings = {
        "TACT_PLAYBOOK": str(write_shop(folder / "playbook")),
        "TACT_SCORING_TRACKING_URI": uri,
        "TACT_SCORING_MODEL_NAME": MODEL,
        "TACT_SCORING_POLL_SECONDS": "0.1",
    }

    async def main():
        seen = Shown()
        async with (
            up(home, **settings) as ports,
            stubs(ports, DESCRIPTORS) as services,
            prometheus(binary, data, scraping(SCRAPING, ports, SCRAPE_INTERVAL)) as asked,
        ):
            await populate(services["profile"], services["features"])
            await asyncio.to_thread(promote_a_broken_version, folder, uri)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    for number in itertools.count():
                        await traffic(services, number)
                        await seen.look(asked)
                        if seen.has_all():
                            break
                        await asyncio.sleep(POLL_SECONDS)
        return seen

    return asyncio.run(main())


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_panel_shows_data(shown, query):
    answer = shown.answers[str(query)]
    assert shown.has(query), answer
    assert all(query.legend_labels <= labels.keys() for labels, _ in answer)


def test_every_variable_offers_values(shown):
    assert shown.variables == {"mode": ["dry_run", "live"]}


def test_panels_show_what_happened(shown):
    page = "Decisions now"
    up = {labels["service"]: number for labels, number in shown.answers[f"{page}: Targets A"]}
    assert up == dict.fromkeys(("gateway", "profile", "features", "scoring"), 1)
    assert shown.of(f"{page}: Errors A", **DECIDE, grpc_code="INVALID_ARGUMENT")[0] > 0
    assert shown.of(f"{page}: Degradations A", source="features", cause="mismatch")[0] > 0
    assert shown.of(f"{page}: Actions chosen A", action="recall")[0] > 0
    assert shown.of(f"{page}: Model A", model_name=MODEL, model_version="1") == [1]
    assert sum(shown.of(f"{page}: Models refused, registry errors A")) == 1
    assert shown.of(f"{page}: Ingest A", result="duplicate")[0] > 0
    assert 0 < shown.of(f"{page}: No action A")[0] < 1
    assert 0 < shown.of(f"{page}: Without the model A")[0] < 1
    assert 0 < shown.of(f"{page}: Feature age A")[0] < 60 * 86_400
    for stage in ("resolve", "policy", "score", "log"):
        (half,) = shown.of(f"{page}: Latency by stage, p50 A", stage=stage)
        (slowest,) = shown.of(f"{page}: Latency by stage, p99 A", stage=stage)
        assert 0 < half <= slowest
