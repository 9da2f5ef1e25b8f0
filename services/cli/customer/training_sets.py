"""The training sets of an erasure: which hold the customer, who learned from them, and out with the rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.chassis.settings import load
from services.cli.customer.report import DatasetStep, Report, ReportFile, SeenBy, Training
from services.cli.failure import Failure
from services.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from training.jobs.erase import EraseConfig, Held


class TrainingSets:
    """All datasets at and below some folders, and the MLflow store that knows who learned from them."""

    def __init__(self, home: Path, named: Sequence[Path], tracking_uri: str | None) -> None:
        """Look below the folder of all state, which may not be there yet, and those that are named.

        Raises:
            Failure: what is named is no folder.
        """
        for one in named:
            if not one.is_dir():
                raise Failure(f"--dataset {one}: there is no such folder")
        self._roots = (home, *named)
        self._tracking_uri = tracking_uri

    def erase(self, file: ReportFile) -> None:
        """Look who learned from the customer, then take its rows out, each step saved.

        Raises:
            Failure: a dataset cannot be read or written; the next attempt goes on from there.
        """
        training = file.report.training
        if training.done_time is not None:
            return
        found = self._survey(file.report)
        # What was found before counts on: its rows may be out already.
        known = {one.folder: one for one in training.datasets}
        for held in found:
            if held.rows:
                folder = str(held.folder)
                known[folder] = DatasetStep(folder=folder, dataset_id=held.dataset_id, rows=held.rows)
        seen_by = {(one.run_id, one.model, one.version, one.dataset_id): one for one in training.seen_by}
        for one in (_seen(one) for held in found for one in held.seen_by):
            key = (one.run_id, one.model, one.version, one.dataset_id)
            if key not in seen_by or one.is_certain:
                seen_by[key] = one
        training = Training(datasets=tuple(known.values()), seen_by=tuple(seen_by.values()))
        file.save(training=training)
        for number, dataset in enumerate(training.datasets):
            if dataset.left_dataset_id:
                continue
            place = Path(dataset.folder)
            left = self._take_out(file.report, place) if place.exists() else _NOTHING
            datasets = list(training.datasets)
            datasets[number] = dataset.model_copy(update={"left_dataset_id": left})
            training = training.model_copy(update={"datasets": tuple(datasets)})
            file.save(training=training)
            sys.stdout.write(f"{dataset.folder}: {dataset.rows} rows\n")
        file.save(training=training.model_copy(update={"done_time": datetime.now(UTC)}))

    def erase_again(self, report: Report) -> dict[str, int]:
        """Take the rows of a customer out of what was restored; return how many, by folder.

        Raises:
            Failure: a dataset cannot be read or written.
        """
        held = {str(one.folder): one.rows for one in self._survey(report) if one.rows}
        for folder in held:
            self._take_out(report, Path(folder))
        return held

    def _survey(self, report: Report) -> list[Held]:
        from training.data.folders import folders_with
        from training.refusal import Refused

        try:
            if find_spec("pandas") is None:
                if any(folders_with(("dataset.json",), *self._roots)):
                    raise Failure(
                        "there are datasets, and to change them needs: pip install 'tact-nba[training]'"
                    )
                return []
            from training.jobs import erase

            return erase.survey(self._config(report))
        except (Refused, OSError) as error:
            raise Failure(str(error)) from None

    def _take_out(self, report: Report, folder: Path) -> str:
        from training.jobs import erase
        from training.refusal import Refused

        try:
            return erase.run(self._config(report), folder).meta.dataset_id
        except (Refused, OSError) as error:
            raise Failure(str(error)) from None

    def _config(self, report: Report) -> EraseConfig:
        from training.jobs.erase import EraseConfig

        return EraseConfig(
            customer_ids=report.customer_ids,
            erasure_id=report.erasure_id,
            roots=self._roots,
            tracking_uri=self._tracking_uri or load(ScoringSettings).registry_uri,
        )


_NOTHING: Final = "nothing: the folder is gone"


def _seen(one: object) -> SeenBy:
    return SeenBy.model_validate(one, from_attributes=True)
