"""What every part of a job's configuration has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Configuration(BaseModel):
    """Frozen values, without room for an unknown key or an infinite number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
