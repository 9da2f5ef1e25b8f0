"""Settings of a service, read from the environment once."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from services.chassis.listener import DEFAULT_MESSAGE_BYTES, Listener

S = TypeVar("S", bound="ServiceSettings")

SHARED = frozenset(
    {"TACT_HOME", "TACT_PLAYBOOK", "TACT_PLAYBOOK_POLL_SECONDS", "TACT_REQUIRE_SERVERS", "TACT_TEST_DATA"}
)


class InvalidSettings(ValueError):
    """The environment holds a variable that is unknown or has a wrong value."""


class ServiceSettings(BaseSettings):
    """What every service can be told; a service adds its own and the prefix ``TACT_<SERVICE>_``.

    Made directly, it takes its arguments and defaults only; ``load`` reads the environment.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True, validate_default=True
    )

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    metrics_port: int = Field(ge=0, le=65535)
    drain_seconds: float = Field(10.0, ge=0)
    max_message_bytes: int = Field(DEFAULT_MESSAGE_BYTES, gt=0)
    home: Path = Field(Path(".tact"), validation_alias="TACT_HOME")
    playbook: Path | None = Field(None, validation_alias="TACT_PLAYBOOK")
    playbook_poll_seconds: float = Field(1.0, gt=0, validation_alias="TACT_PLAYBOOK_POLL_SECONDS")

    @property
    def listener(self) -> Listener:
        """Where the service listens."""
        return Listener(
            host=self.host,
            port=self.port,
            metrics_port=self.metrics_port,
            drain_seconds=self.drain_seconds,
            max_message_bytes=self.max_message_bytes,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave the environment to ``load``."""
        return (init_settings,)


class StoreSettings(ServiceSettings):
    """What a service that keeps a store can be told: a file under ``home``, or a PostgreSQL database."""

    store: SecretStr = SecretStr("")
    store_connections: int = Field(8, ge=1)

    @field_validator("store")
    @classmethod
    def _is_known(cls, store: SecretStr) -> SecretStr:
        if store.get_secret_value() and not store.get_secret_value().startswith("postgresql://"):
            raise ValueError("must be empty, for a file under TACT_HOME, or begin with postgresql://")
        if store.get_secret_value() and not _names_a_database(store.get_secret_value()):
            raise ValueError("names no database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        return store

    @property
    def store_url(self) -> str:
        """Where the database is; empty where the store is a file."""
        return self.store.get_secret_value()


def _names_a_database(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.path.strip("/")) or "dbname" in parse_qs(parts.query)


def load(settings: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Read the settings of one service from ``environ`` (the process's own).

    Raises:
        InvalidSettings: a variable of the service's prefix is unknown, a shared one is
            misspelt, or a value is wrong. Every fault is named, values are not shown.
    """
    variables = {name.upper(): value for name, value in (os.environ if environ is None else environ).items()}
    prefix = settings.model_config.get("env_prefix", "").upper()
    if not prefix:
        raise TypeError(f"{settings.__name__} has no env_prefix")
    known = _variables(settings, prefix)
    if faults := _unknown(variables, prefix, frozenset(known.values())):
        raise InvalidSettings("; ".join(faults))
    source = EnvSettingsSource(settings, case_sensitive=False)
    source.env_vars = {name.lower(): value for name, value in variables.items()}
    try:
        return settings(**source())
    except ValidationError as error:
        faults = [
            f"{_name(fault['loc'], known)}: {fault['msg']}" for fault in error.errors(include_input=False)
        ]
        raise InvalidSettings("; ".join(faults)) from None
    except SettingsError as error:
        raise InvalidSettings(str(error)) from None


def _variables(settings: type[S], prefix: str) -> dict[str, str]:
    """Map each field to its variable."""
    return {
        name: field.validation_alias if isinstance(field.validation_alias, str) else f"{prefix}{name.upper()}"
        for name, field in settings.model_fields.items()
    }


def _unknown(variables: Mapping[str, str], prefix: str, known: frozenset[str]) -> list[str]:
    faults = []
    for name in sorted(variables.keys() - known - SHARED):
        ours = name.startswith(prefix)
        nearest = difflib.get_close_matches(
            name, known if ours else SHARED, n=1, cutoff=0.5 if ours else 0.85
        )
        if ours or (name.startswith("TACT_") and nearest):
            hint = f", did you mean {nearest[0]}?" if nearest else f"; known: {', '.join(sorted(known))}"
            faults.append(f"{name} is unknown{hint}")
    return faults


def _name(location: tuple[int | str, ...], known: Mapping[str, str]) -> str:
    field = str(location[0]) if location else ""
    return known.get(field, field)
