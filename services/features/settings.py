"""What the feature service can be told by the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import ServiceSettings


class FeatureSettings(ServiceSettings):
    """Settings of the feature service, ``TACT_FEATURES_...``."""

    model_config = SettingsConfigDict(env_prefix="TACT_FEATURES_")

    port: int = Field(7402, ge=0, le=65535)
    metrics_port: int = Field(9402, ge=0, le=65535)
    cached_events: int = Field(250_000, ge=0)
    write_queue: int = Field(1_000, ge=1)

    @property
    def store(self) -> Path:
        """The file of the event store."""
        return self.home / "features.sqlite"
