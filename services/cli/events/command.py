"""Runs ``tact events import``: reads, translates and sends, and tells what became of every row."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

import grpc.aio
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis.clients import GrpcStub, Stub, channel
from services.cli.addresses import address_of
from services.cli.events.importing import Batch, Importing, Reading
from services.cli.events.layout import read_layout, resolve
from services.cli.events.occurrences import counted
from services.cli.events.rejects import listed
from services.cli.events.sending import Sender, side_by_side
from services.cli.events.sources import open_source
from services.cli.events.times import Times
from services.cli.events.translation import Translator
from services.cli.failure import Failure
from services.cli.progress import shown
from services.engine.instants import zone
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.store import opened
from services.features.settings import FeatureSettings

_FEATURES: Final = pb.DESCRIPTOR.services_by_name["FeatureService"]
_IN_FLIGHT: Final = 4
_TIMEOUT_SECONDS: Final = 60.0
_GREETING_SECONDS: Final = 10.0
_HUNDRED: Final = 100


def import_events(arguments: argparse.Namespace) -> int:
    """Import all files; 1 where a row was refused.

    Raises:
        Failure: a file or the mapping cannot be used, or the service does not take the events.
        PlaybookError: the playbook or the mapping does not load.
        ValueError: there is no such time zone.
    """
    playbook = _playbook(arguments.playbook)
    with ExitStack() as stack:
        readings = list(_readings(arguments, playbook, stack))
        importing = Importing(stack.enter_context(listed(arguments.rejects)), _now)
        stack.callback(lambda: sys.stdout.write(f"{importing.counts}\n"))
        step = stack.enter_context(shown("Import", _HUNDRED))
        asyncio.run(_import(arguments, playbook, readings, importing, step))
    return 1 if importing.counts.rejected else 0


def _playbook(folder: Path | None) -> Playbook:
    setting = folder or os.environ.get("TACT_PLAYBOOK")
    return opened(Path(setting) if setting else None, Path(os.environ.get("TACT_HOME", ".tact")))[0]


def _readings(arguments: argparse.Namespace, playbook: Playbook, stack: ExitStack) -> Iterator[Reading]:
    """Open all files, so that nothing is sent before all of them can be used."""
    layout = read_layout(arguments)
    times = Times(unit=layout.time_unit, zone=zone(layout.time_zone) if layout.time_zone else None)
    occurrences = stack.enter_context(counted())
    for path in arguments.files:
        source = stack.enter_context(
            closing(open_source(path, delimiter=arguments.delimiter, encoding=arguments.encoding))
        )
        columns = resolve(layout, source.header, path, playbook)
        source.check(columns.used)
        translator = Translator(
            layout=layout,
            columns=columns,
            playbook=playbook,
            times=times,
            occurrences=occurrences,
        )
        yield Reading(source=source, translator=translator)


async def _import(
    arguments: argparse.Namespace,
    playbook: Playbook,
    readings: Sequence[Reading],
    importing: Importing,
    step: Callable[[], None],
) -> None:
    address = arguments.address or address_of(FeatureSettings)
    async with channel(address, _FEATURES) as opened_channel:
        stub = GrpcStub(opened_channel, _FEATURES, _TIMEOUT_SECONDS)
        await _check_version(stub, address, playbook)
        sender = Sender(stub, arguments.patience)

        async def store(batch: Batch) -> None:
            importing.settle(batch, await sender.send(batch.events))

        calls = (partial(store, batch) for batch in _batches(readings, importing, step))
        async for _ in side_by_side(calls, _IN_FLIGHT):
            pass


def _batches(readings: Iterable[Reading], importing: Importing, step: Callable[[], None]) -> Iterator[Batch]:
    sizes = [reading.source.path.stat().st_size for reading in readings]
    before, steps, whole = 0.0, 0, max(1, sum(sizes))
    for reading, size in zip(readings, sizes, strict=True):
        for batch in importing.batches(reading):
            yield batch
            share = (before + size * reading.source.share_read()) / whole
            while steps < int(_HUNDRED * share):
                steps += 1
                step()
        before += size


async def _check_version(stub: Stub, address: str, playbook: Playbook) -> None:
    """Make sure that events are read by the same playbook here and there."""
    try:
        described = await stub.DescribeFeatures(pb.DescribeFeaturesRequest(), timeout=_GREETING_SECONDS)
    except grpc.aio.AioRpcError as error:
        raise Failure(
            f"no feature service answers at {address} ({error.code().name}): "
            "start one with: tact serve features; or say --address HOST:PORT"
        ) from None
    if described.playbook_version != playbook.version:
        raise Failure(
            f"the feature service works by version {described.playbook_version[:12]} of its playbook, and "
            f'"{playbook.head.name}" here is version {playbook.version[:12]}: say --playbook FOLDER'
        )


def _now() -> int:
    return time.time_ns() // 1_000
