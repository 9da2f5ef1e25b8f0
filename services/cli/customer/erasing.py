"""``tact customer erase``: takes customers away from every service and from what models learn from."""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from services.chassis.settings import load
from services.cli.customer import report as reports
from services.cli.customer.exporting import told
from services.cli.customer.linking import SOURCE
from services.cli.customer.reaching import NAMES, Reached, Refused, members_of, on_file, reached
from services.cli.customer.report import Applied, Report, ReportFile, Step
from services.cli.customer.telling import lines
from services.cli.customer.training_sets import TrainingSets
from services.cli.failure import Failure
from services.engine.instants import microseconds
from services.features.settings import FeatureSettings

_ATTEMPTS: Final = 3


def erase_customers(arguments: argparse.Namespace) -> int:
    """Erase a customer, go on where that broke off, or do all finished erasures again; 1 where one failed.

    Raises:
        Failure: a service does not answer or a file cannot be used; the same command goes on from there.
    """
    home = load(FeatureSettings).home
    sets = TrainingSets(home, arguments.dataset, arguments.tracking_uri)
    if arguments.again is not None:
        folder = home / "erasures" if arguments.again == Path() else arguments.again
        return asyncio.run(_again(arguments, folder, sets))
    if arguments.since is not None:
        raise Failure("--since belongs to --again")
    asyncio.run(_erase(arguments, home / "erasures", sets))
    return 0


async def _erase(arguments: argparse.Namespace, folder: Path, sets: TrainingSets) -> None:
    async with reached(arguments) as services:
        if (file := await _plan(arguments, folder, services["profile"])) is None:
            sys.stdout.write("nothing was erased\n")
            return
        sys.stdout.write(f"report: {file.path}\n")
        for name in NAMES:
            if file.report.steps[name].done_time is None:
                rows = await _erased(services, name, file)
                sys.stdout.write(f"{name}: {told(rows)}\n")
    sets.erase(file)
    file.save(finish_time=datetime.now(UTC), named="")
    sys.stdout.writelines(f"{line}\n" for line in lines(file.report))


async def _plan(arguments: argparse.Namespace, folder: Path, profile: Reached) -> ReportFile | None:
    """Return the plan to carry out, new or begun; None where somebody says no."""
    if arguments.resume is not None:
        file = reports.read(arguments.resume)
        if file.report.finish_time is not None:
            raise Failure(f"{file.path} is finished: --again does it again")
        return await _taken_up(arguments, file, profile)
    if (begun := next(reports.unfinished(folder, arguments.customer), None)) is not None:
        return await _taken_up(arguments, begun, profile)
    customer_ids = await members_of(profile, arguments.customer)
    return (
        reports.planned(folder, arguments.customer, customer_ids)
        if _agreed(arguments, customer_ids)
        else None
    )


async def _taken_up(arguments: argparse.Namespace, file: ReportFile, profile: Reached) -> ReportFile | None:
    """Return a begun plan, which until profile has erased is of who is the customer by now."""
    customer_ids = file.report.customer_ids
    if file.report.steps["profile"].done_time is None:
        customer_ids = await _members_by_now(profile, file)
    if not _agreed(arguments, customer_ids):
        return None
    _retarget(file, customer_ids)
    return file


async def _members_by_now(profile: Reached, file: ReportFile) -> tuple[str, ...]:
    """Return who is to be erased; who is named but unknown may be erased without its acknowledgement."""
    known = await on_file(profile, file.report.named)
    return file.report.customer_ids if known is None else tuple(known.member_ids)


async def _erased(services: Mapping[str, Reached], name: str, file: ReportFile) -> dict[str, int]:
    """Erase in one service, by table; who was linked to the customer meanwhile is of the customer."""
    for _ in range(_ATTEMPTS):
        ids = file.report.customer_ids
        # Where it has erased before, and its answer was lost, nothing is there any more.
        found = await _counted(services[name], ids) | Counter(file.report.steps[name].found)
        file.save(steps={**file.report.steps, name: Step(found=found)})
        try:
            rows = await _erase_in(services[name], ids)
            rows |= Counter(rows) | found
            step = Step(done_time=datetime.now(UTC), rows=rows, found=found)
            file.save(steps={**file.report.steps, name: step})
            return rows
        except Refused as error:
            if (name, error.reason) != ("profile", "REQUEST_INVALID"):
                raise
            refusal = error
        _retarget(file, await _members_by_now(services["profile"], file))
    raise refusal


def _retarget(file: ReportFile, customer_ids: tuple[str, ...]) -> None:
    """Plan for other ids; what profile held of the former was not erased."""
    if customer_ids != file.report.customer_ids:
        file.save(customer_ids=customer_ids, steps={**file.report.steps, "profile": Step()})


async def _counted(service: Reached, customer_ids: tuple[str, ...]) -> Counter[str]:
    """Return how many rows there are, by table."""
    counts: Counter[str] = Counter()
    token = ""
    while True:
        asked = service.messages.ExportCustomerRequest(customer_ids=customer_ids, page_token=token)
        page = await service.call("ExportCustomer", asked)
        counts.update(row.table for row in page.rows)
        if not (token := page.next_page_token):
            return counts


async def _erase_in(service: Reached, customer_ids: tuple[str, ...]) -> dict[str, int]:
    asked = service.messages.EraseCustomerRequest(customer_ids=customer_ids)
    answer = await service.call("EraseCustomer", asked)
    return {one.table: one.rows for one in answer.erased}


async def _again(arguments: argparse.Namespace, folder: Path, sets: TrainingSets) -> int:
    """Do finished erasures again, the earliest first; one that fails keeps no other back."""
    since = arguments.since or 0
    chosen = [file for file in reports.reports(folder) if microseconds(file.report.begin_time) >= since]
    if not chosen:
        raise Failure(f"there is no report of an erasure in {folder}" + (" since then" if since else ""))
    ids = [one for file in chosen for one in file.report.customer_ids]
    if not _agreed(arguments, tuple(ids)):
        sys.stdout.write("nothing was erased\n")
        return 0
    failed = 0
    async with reached(arguments) as services:
        for file in chosen:
            try:
                rows = await _done_again(services, file, sets)
            except Failure as error:
                failed += 1
                sys.stderr.write(f"{file.path}: {error}\n")
            else:
                sys.stdout.write(f"{file.path}: {told(rows)}\n")
    sys.stdout.write(f"{len(chosen) - failed} of {len(chosen)} done again\n")
    return 1 if failed else 0


async def _done_again(
    services: Mapping[str, Reached], file: ReportFile, sets: TrainingSets
) -> dict[str, int]:
    if file.report.finish_time is None:
        raise Failure(f"it is not finished: tact customer erase --resume {file.path}")
    await _set_apart(services["profile"], file.report)
    rows = {name: await _erase_in(services[name], file.report.customer_ids) for name in NAMES}
    rows["training"] = sets.erase_again(file.report)
    file.save(applied=(*file.report.applied, Applied(time=datetime.now(UTC), rows=rows)))
    return {f"{name} {table}": count for name, counts in rows.items() for table, count in counts.items()}


async def _set_apart(profile: Reached, report: Report) -> None:
    """Undo links that a backup brought back between who was erased and who had left before."""
    ids = set(report.customer_ids)
    for one in report.customer_ids:
        while (known := await on_file(profile, one)) is not None:
            others = [member for member in known.member_ids if member not in ids]
            if not others:
                break
            member = others[0] if known.customer_id in ids else one
            # The same in a repetition that broke off, another one after the next restore.
            name = f"{report.erasure_id} {len(report.applied)} {member}"
            asked = profile.messages.UnlinkIdentityRequest(
                link_id=str(uuid.uuid5(uuid.NAMESPACE_OID, name)), customer_id=member, source=SOURCE
            )
            if (await profile.call("UnlinkIdentity", asked)).duplicate:
                raise Failure(f"{member} was linked again meanwhile: tact customer unlink {member}")
            sys.stdout.write(f"unlinked {member}, as it was before it was erased: {', '.join(others)} stay\n")


def _agreed(arguments: argparse.Namespace, customer_ids: tuple[str, ...]) -> bool:
    """Ask whether to go on.

    Raises:
        Failure: nobody is there to ask.
    """
    if arguments.yes:
        return True
    shown = ", ".join(customer_ids[:10]) + (
        f" and {len(customer_ids) - 10} more" if len(customer_ids) > 10 else ""
    )
    sys.stdout.write(f"Erase {shown} for good? An export of it cannot be imported here again. [y/N] ")
    sys.stdout.flush()
    if not (answer := sys.stdin.readline()):
        raise Failure("nobody is there to ask whether to erase: say --yes")
    return answer.strip().lower() in ("y", "yes")
