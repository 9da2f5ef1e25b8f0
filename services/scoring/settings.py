"""What the scoring service can be told by the environment."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import ServiceSettings


class ScoringSettings(ServiceSettings):
    """Settings of the scoring service, ``TACT_SCORING_...``."""

    model_config = SettingsConfigDict(env_prefix="TACT_SCORING_")

    port: int = Field(7403, ge=0, le=65535)
    metrics_port: int = Field(9403, ge=0, le=65535)
    tracking_uri: str | None = None
    model_name: str = Field("tact-retail", min_length=1)
    alias: str = Field("champion", min_length=1)
    poll_seconds: float = Field(2.0, gt=0)
    warm_up_seconds: float = Field(60.0, gt=0)
    inline_rows: int = Field(100, ge=0)
    threads: int = Field(2, ge=1)

    @property
    def registry_uri(self) -> str:
        """The MLflow store to follow: the one given, or else SQLite under the home folder."""
        return self.tracking_uri or f"sqlite:///{self.home.expanduser().resolve() / 'mlflow' / 'mlflow.db'}"
