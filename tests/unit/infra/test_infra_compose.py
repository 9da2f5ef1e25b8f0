"""The compose file agrees with the settings, the images and the files that it mounts."""

import re
from urllib.parse import urlparse

import pytest
import yaml
from containers import COMPOSE, COMPOSE_FILE, PROJECT, ROOT, image_fault, stages
from dashboards import INFRA, SCRAPING

from services.chassis.server import CLEAN_UP_SECONDS
from services.chassis.settings import load
from services.features.settings import FeatureSettings
from services.gateway.settings import GatewaySettings
from services.profile.settings import ProfileSettings
from services.scoring.settings import ScoringSettings

SETTINGS = {
    "gateway": GatewaySettings,
    "profile": ProfileSettings,
    "features": FeatureSettings,
    "scoring": ScoringSettings,
}
CONTAINERS = COMPOSE["services"]
SHARING = sorted(CONTAINERS.keys() - {"pod"})
BUILT = sorted(name for name in SHARING if "build" in CONTAINERS[name])


def settings(name):
    return load(SETTINGS[name], CONTAINERS[name].get("environment", {}))


def stage(name):
    return stages()[CONTAINERS[name]["build"].get("target", "service")]


def test_all_that_is_promised_is_there():
    assert {*SETTINGS, "mlflow", "prometheus", "grafana", "pod"} == CONTAINERS.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_service_is_built_from_its_own_extra(name):
    build = CONTAINERS[name]["build"]
    assert build["args"] == {"SERVICE": name}
    assert name in PROJECT["optional-dependencies"]
    assert (ROOT / "services" / name / "__main__.py").is_file()


@pytest.mark.parametrize("name", BUILT)
def test_an_image_is_built_from_the_project_and_named_by_its_version(name):
    build = CONTAINERS[name]["build"]
    assert (COMPOSE_FILE.parent / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert CONTAINERS[name]["image"] == f"tact-{name}:{PROJECT['version']}"


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_image_is_pinned_and_names_no_registry(name):
    assert image_fault(CONTAINERS[name]["image"]) is None


@pytest.mark.parametrize("name", SHARING)
def test_all_share_the_network_of_the_pod(name):
    assert CONTAINERS[name]["network_mode"] == "service:pod"
    assert "pod" in CONTAINERS[name]["depends_on"]
    assert "ports" not in CONTAINERS[name]


@pytest.mark.parametrize("name", SETTINGS)
def test_services_stay_on_loopback(name):
    assert settings(name).host == "127.0.0.1"


def test_only_this_machine_reaches_what_is_published():
    published = {int(port.split(":")[2]): port.split(":")[0] for port in CONTAINERS["pod"]["ports"]}
    assert published == {3000: "127.0.0.1", 5000: "127.0.0.1"}


def test_the_gateway_finds_the_others():
    gateway = settings("gateway")
    for name in ("profile", "features", "scoring"):
        assert getattr(gateway, f"{name}_address") == f"127.0.0.1:{settings(name).port}"


def test_scoring_finds_mlflow():
    (command,) = stages()["mlflow"].all("CMD")
    port = re.search(r'"--port", "(\d+)"', command)[1]
    assert settings("scoring").registry_uri == f"http://127.0.0.1:{port}"
    assert f"127.0.0.1:{port}/health" in stages()["mlflow"].all("HEALTHCHECK")[0]


def test_prometheus_reads_the_metrics_of_every_service():
    targets = {
        target["labels"]["service"]: target["targets"]
        for job in SCRAPING["scrape_configs"]
        for target in job["static_configs"]
    }
    assert targets == {name: [f"127.0.0.1:{settings(name).metrics_port}"] for name in SETTINGS}


def test_grafana_finds_prometheus_and_its_dashboards():
    source = yaml.safe_load((INFRA / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    (provider,) = yaml.safe_load((INFRA / "grafana/provisioning/dashboards/tact.yaml").read_text())[
        "providers"
    ]
    grafana = CONTAINERS["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    listening = f"--web.listen-address={urlparse(source['datasources'][0]['url']).netloc}"
    assert listening in CONTAINERS["prometheus"]["command"]
    assert provider["options"]["path"] == mounted["../grafana/dashboards"]
    assert home.startswith(provider["options"]["path"])
    assert (INFRA / "grafana/dashboards" / home.rpartition("/")[2]).is_file()


def test_no_two_listen_on_one_port():
    services = [settings(name) for name in SETTINGS]
    ports = [port for each in services for port in (each.port, each.metrics_port)]
    ports += [3000, 5000, 9090]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_is_mounted_is_there(name):
    for volume in CONTAINERS[name].get("volumes", ()):
        source, _, options = volume.partition(":")
        if source.startswith("."):
            assert (COMPOSE_FILE.parent / source).exists()
            assert options.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", BUILT)
def test_state_lies_on_a_volume_of_its_own(name):
    environment = dict(pair.split("=") for pair in stages()["runtime"].all("ENV")[0].split())
    (volume,) = CONTAINERS[name]["volumes"]
    assert volume == f"{name}:{environment['TACT_HOME']}"


@pytest.mark.parametrize("name", SHARING)
def test_a_container_tells_its_health(name):
    assert "healthcheck" in CONTAINERS[name] or stage(name).all("HEALTHCHECK")


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_no_rights_to_lose(name):
    container = CONTAINERS[name]
    assert container.get("user", "") not in ("root", "0") if "user" in container else stage(name).all("USER")
    assert container["read_only"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not container.get("privileged")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stop_waits_for_the_drain(name):
    grace = float(CONTAINERS[name]["stop_grace_period"].removesuffix("s"))
    assert grace > settings(name).drain_seconds + CLEAN_UP_SECONDS
