"""The plan and report of an erasure: a file, written before anything is erased and after each step."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.cli.customer.reaching import NAMES
from services.cli.failure import Failure


class _Saved(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Saved):
    """What a service erased, by table; ``done_time`` is absent until it has acknowledged.

    ``found`` was there before it was first told to.
    """

    done_time: AwareDatetime | None = None
    rows: Mapping[str, int] = Field(default_factory=dict)
    found: Mapping[str, int] = Field(default_factory=dict)


class DatasetStep(_Saved):
    """A dataset that held rows of the customer; ``left_dataset_id`` is what is left, once they are out."""

    folder: str
    dataset_id: str
    rows: int
    left_dataset_id: str = ""


class SeenBy(_Saved):
    """A run, or the model version that came of it, that learned from rows of the customer.

    ``is_certain`` is false where what it learned from is gone, so that it only may have.
    """

    model: str
    version: str
    aliases: tuple[str, ...]
    run_id: str
    dataset_id: str
    is_certain: bool


class Training(_Saved):
    """The training sets, and who learned from them, as was found before the first row was taken out."""

    done_time: AwareDatetime | None = None
    datasets: tuple[DatasetStep, ...] = ()
    seen_by: tuple[SeenBy, ...] = ()


class Applied(_Saved):
    """A repetition, after a backup was restored: what was there again, by service and table."""

    time: AwareDatetime
    rows: Mapping[str, Mapping[str, int]]


class Report(_Saved):
    """One erasure.

    ``named`` is whom the command named, until the erasure is finished; ``customer_ids`` are all ids, which a
    repetition needs.
    """

    format: Literal[1] = 1
    erasure_id: str
    begin_time: AwareDatetime
    finish_time: AwareDatetime | None = None
    named: str = ""
    customer_ids: tuple[str, ...]
    steps: Mapping[str, Step] = Field(default_factory=lambda: {name: Step() for name in NAMES})
    training: Training = Training()
    applied: tuple[Applied, ...] = ()


class ReportFile:
    """A report and the file that holds it."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path = path
        self.report = report

    def save(self, **changes: object) -> None:
        """Change the report, on disk first.

        Raises:
            Failure: it cannot be written.
        """
        report = self.report.model_copy(update=changes)
        new = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(
                os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8"
            ) as file:
                file.write(report.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise Failure(f"{self.path} cannot be written: {error.strerror}") from None
        self.report = report


def planned(folder: Path, named: str, customer_ids: Sequence[str]) -> ReportFile:
    """Write the plan of a new erasure.

    Raises:
        Failure: it cannot be written.
    """
    begun = datetime.now(UTC)
    erasure_id = str(uuid.uuid4())
    report = Report(erasure_id=erasure_id, begin_time=begun, named=named, customer_ids=tuple(customer_ids))
    file = ReportFile(folder / f"{erasure_id}.json", report)
    file.save()
    return file


def read(path: Path) -> ReportFile:
    """Read a report.

    Raises:
        Failure: the file is none.
    """
    try:
        return ReportFile(path, Report.model_validate_json(path.read_bytes()))
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise Failure(f"{path} is no report: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def reports(folder: Path) -> list[ReportFile]:
    """Return all reports in a folder, the earliest first.

    Raises:
        Failure: a file is none.
    """
    return sorted(map(read, folder.glob("*.json")), key=lambda file: file.report.begin_time)


def unfinished(folder: Path, named: str) -> Iterator[ReportFile]:
    """Yield the erasures of who is named so that broke off, the earliest first.

    Until profile has erased, only who the command named is sure to be of the customer.
    """
    for file in reports(folder):
        report = file.report
        ids = () if report.steps["profile"].done_time is None else report.customer_ids
        if report.finish_time is None and named in (report.named, *ids):
            yield file
