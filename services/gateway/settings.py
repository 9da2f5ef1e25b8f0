"""What the gateway can be told by the environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import StoreSettings


class GatewaySettings(StoreSettings):
    """Settings of the gateway, ``TACT_GATEWAY_...``."""

    model_config = SettingsConfigDict(env_prefix="TACT_GATEWAY_")

    port: int = Field(7400, ge=0, le=65535)
    metrics_port: int = Field(9400, ge=0, le=65535)
    profile_address: str = "127.0.0.1:7401"
    features_address: str = "127.0.0.1:7402"
    scoring_address: str = "127.0.0.1:7403"
    last_good_customers: int = Field(10_000, ge=0)
    last_good_seconds: float = Field(86_400.0, ge=0)
    log_queue: int = Field(10_000, ge=1)

    @property
    def file(self) -> Path:
        """The file of the store, unless it is a database."""
        return self.home / "gateway.sqlite"

    @property
    def last_good_age(self) -> timedelta:
        """How old features may be that stand in for current ones."""
        return timedelta(seconds=self.last_good_seconds)
