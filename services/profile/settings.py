"""What the profile service can be told by the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import StoreSettings


class ProfileSettings(StoreSettings):
    """Settings of the profile service, ``TACT_PROFILE_...``."""

    model_config = SettingsConfigDict(env_prefix="TACT_PROFILE_")

    port: int = Field(7401, ge=0, le=65535)
    metrics_port: int = Field(9401, ge=0, le=65535)
    write_queue: int = Field(1_000, ge=1)
    borrowed_values: int = Field(100_000, ge=1)
    identity_lease_seconds: float = Field(2.0, ge=0.1, le=60)

    @property
    def file(self) -> Path:
        """The file of the profile store, unless it is a database."""
        return self.home / "profile.sqlite"
