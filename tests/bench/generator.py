"""The process that generates load: a line of JSON orders a load, a line of JSON tells what came of it.

Every request has a ``request_id`` of its own, never used again.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import uuid
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tact.decision.v1 import decision_service_pb2 as pb

from bench.http2 import Connection
from bench.load import Closed, Open, Plan, drive

TIMEOUT_SECONDS = 15
_REQUEST_ID_BYTES = 32


def write_requests(path: Path, requests: Sequence[pb.DecideRequest]) -> None:
    """Keep one request for each customer; their ids are added when they are sent."""
    path.write_text("\n".join(request.SerializeToString().hex() for request in requests))


def identified(requests: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Draw customers at random and give each request a new id, for ever."""
    draw, run = random.Random(seed), uuid.uuid4().hex[:16]
    number = 0
    while True:
        request_id = f"{run}{number:016x}".encode()
        # Fields of a message may come in any order, so the id goes in front of the rest.
        yield b"\x0a" + bytes((_REQUEST_ID_BYTES,)) + request_id + draw.choice(requests)
        number += 1


def main() -> None:
    """Obey orders until there are no more."""
    requests = [bytes.fromhex(line) for line in Path(sys.argv[1]).read_text().split()]
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_obey(json.loads(line), requests)) + "\n")
        sys.stdout.flush()


def _obey(order: Mapping[str, Any], requests: Sequence[bytes]) -> dict[str, Any]:
    connection = Connection(order["port"], order["path"], TIMEOUT_SECONDS)
    try:
        run = drive(connection, identified(requests, order["seed"]), _plan(order))
    finally:
        connection.close()
    return {
        "sent": run.sent,
        "elapsed": run.elapsed,
        "cpu_seconds": run.cpu_seconds,
        "latencies": run.latencies,
        "lags": run.lags,
        "failures": [repr(failure.trailers) for failure in run.failures],
        "samples": [b64encode(sample.message).decode() for sample in run.samples],
    }


def _plan(order: Mapping[str, Any]) -> Plan:
    seconds, requests = order["seconds"], order["requests"]
    if order["rate"] is None:
        return Closed(in_flight=order["in_flight"], seconds=seconds, requests=requests)
    return Open.at_random(order["rate"], seconds, requests, order["seed"])


if __name__ == "__main__":
    main()
