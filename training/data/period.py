"""A period of a dataset's exposures."""

from __future__ import annotations

from pydantic import AwareDatetime, model_validator

from services.engine.instants import microseconds
from training.configuration import Configuration
from training.data.dataset import Dataset
from training.refusal import Refused


class Period(Configuration):
    """Exposures from ``from_time``, inclusive, until ``until_time``, exclusive; unset is unbounded."""

    from_time: AwareDatetime | None = None
    until_time: AwareDatetime | None = None

    @model_validator(mode="after")
    def _runs_forward(self) -> Period:
        if self.from_time and self.until_time and self.from_time >= self.until_time:
            raise ValueError("from_time must be before until_time")
        return self

    def of(self, dataset: Dataset) -> Dataset:
        """Keep the rows exposed in the period.

        Raises:
            Refused: there is none.
        """
        exposure = dataset.times("exposure_time")
        keep = exposure == exposure
        if self.from_time:
            keep &= exposure >= microseconds(self.from_time)
        if self.until_time:
            keep &= exposure < microseconds(self.until_time)
        if not keep.any():
            raise Refused(f"{dataset.folder}: no row is exposed in the period asked for")
        return dataset.select(keep)
