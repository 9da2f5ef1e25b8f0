"""What the feature service can be told by the environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import StoreSettings

Word = Annotated[str, Field(pattern=r"^[^\s.*>/\\]+$")]
Subject = Annotated[str, Field(pattern=r"^[^\s.]+(\.[^\s.]+)*$")]
Address = Annotated[str, Field(pattern=r"^[^\s.*>]+(\.[^\s.*>]+)*$")]
"""A subject without wildcards."""


class FeatureSettings(StoreSettings):
    """Settings of the feature service, ``TACT_FEATURES_...``."""

    model_config = SettingsConfigDict(env_prefix="TACT_FEATURES_")

    port: int = Field(7402, ge=0, le=65535)
    metrics_port: int = Field(9402, ge=0, le=65535)
    write_queue: int = Field(1_000, ge=1)
    state: SecretStr = SecretStr("")
    state_prefix: str = Field("tact:", max_length=64)
    state_seconds: int = Field(604_800, ge=1, le=31_536_000)
    state_events: int = Field(10_000, ge=0)
    held_events: int = Field(250_000, ge=0)
    nats_url: SecretStr = SecretStr("")
    nats_stream: Word = "TACT_EVENTS"
    nats_subject: Subject = "tact.events"
    nats_durable: Word = "tact-features"
    nats_dead_stream: Word = "TACT_EVENTS_DEAD"
    nats_dead_subject: Address = "tact.events-dead"
    nats_batch: int = Field(500, ge=1, le=10_000)
    nats_ack_wait_seconds: float = Field(30.0, ge=1)

    @field_validator("state")
    @classmethod
    def _check_state(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        try:
            parts = urlsplit(url)
            is_right = parts.scheme in ("redis", "rediss", "unix") and parts.port != 0 and not parts.query
        except ValueError:
            is_right = False
        if url and not is_right:
            raise ValueError(
                "must be empty, for the memory of the process, or redis://HOST:PORT/DATABASE, rediss:// "
                "likewise or unix://PATH, without options"
            )
        return value

    @field_validator("nats_url")
    @classmethod
    def _check_servers(cls, value: SecretStr) -> SecretStr:
        for url in _split(value):
            try:
                parts = urlsplit(url if "://" in url else f"nats://{url}")
                is_right = parts.scheme in ("nats", "tls") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                is_right = False
            if not is_right:
                raise ValueError("must be nats://HOST:PORT or tls://HOST:PORT, several divided by commas")
        return value

    @field_validator("nats_dead_subject")
    @classmethod
    def _check_burial(cls, value: str, others: ValidationInfo) -> str:
        if _takes(others.data.get("nats_subject", ""), value):
            raise ValueError("must not be a subject that events come from")
        return value

    @property
    def file(self) -> Path:
        """The file of the event store, unless it is a database."""
        return self.home / "features.sqlite"

    @property
    def nats_servers(self) -> list[str]:
        """The addresses of NATS servers, none where events come by calls only."""
        return _split(self.nats_url)


def _split(urls: SecretStr) -> list[str]:
    return [url for url in re.split(r"[\s,]+", urls.get_secret_value()) if url]


def _takes(pattern: str, subject: str) -> bool:
    """Tell whether a subject of NATS, perhaps with wildcards, takes in another."""
    expression = re.escape(pattern).replace(r"\*", r"[^.]+").replace(">", ".+")
    return re.fullmatch(expression, subject) is not None
