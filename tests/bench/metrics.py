"""Reads what servers count, and holds it against what was sent."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[tuple[str, Labels], float]

_HANDLED = "grpc_server_handled_total"


class Miscounted(Exception):
    """Servers did not answer exactly what was sent, so what was measured means nothing."""


def scrape(metrics_port: int) -> Iterator[tuple[tuple[str, Labels], float]]:
    """Read a page of metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", metrics_port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield (sample.name, tuple(sorted(sample.labels.items()))), sample.value


def difference(after: Samples, before: Samples) -> Samples:
    """Return by how much each sample grew; one that was not there grew from 0."""
    return {key: value - before.get(key, 0.0) for key, value in after.items()}


def total(several: Iterable[Samples]) -> Samples:
    """Add samples of the same name and labels."""
    added: dict[tuple[str, Labels], float] = {}
    for samples in several:
        for key, value in samples.items():
            added[key] = added.get(key, 0.0) + value
    return added


def value(samples: Samples, name: str, **labels: str) -> float:
    """Add the samples of a name that have these labels."""
    wanted = set(labels.items())
    return sum(number for (found, has), number in samples.items() if found == name and wanted <= set(has))


def mean_us(samples: Samples, histogram: str, **labels: str) -> float:
    """Return the mean of a histogram of seconds in microseconds, 0 where it is empty."""
    count = value(samples, f"{histogram}_count", **labels)
    return value(samples, f"{histogram}_sum", **labels) / count * 1e6 if count else 0.0


def answered(samples: Samples, service: str, rpc: str) -> int:
    """Return how many calls of an RPC were answered OK."""
    return int(value(samples, _HANDLED, grpc_service=service, grpc_method=rpc, grpc_code="OK"))


def verify_answered(where: str, grown: Samples, calls: Iterable[tuple[str, str]], sent: int) -> None:
    """Check that each call was answered OK as often as requests were sent, and never otherwise.

    Raises:
        Miscounted: some number differs.
    """
    for service, rpc in calls:
        ok = answered(grown, service, rpc)
        every = value(grown, _HANDLED, grpc_service=service, grpc_method=rpc)
        if ok != sent or every != sent:
            raise Miscounted(
                f"{where}: {sent} requests were sent, but {service}/{rpc} counted {ok} OK and "
                f"{every - ok:g} others"
            )
