"""Where services listen, as their settings say."""

from __future__ import annotations

from services.chassis.settings import ServiceSettings, load
from services.cli.failure import Failure


def address_of(settings: type[ServiceSettings]) -> str:
    """Return ``host:port`` of the service that such settings are for.

    Raises:
        Failure: its port is free to choose, so that only ``--address`` can tell.
    """
    found = load(settings)
    if not found.port:
        prefix = settings.model_config["env_prefix"]
        name = str(prefix).removeprefix("TACT_").rstrip("_").lower()
        raise Failure(f"{prefix}PORT is 0: say with --address where {name} listens")
    return f"{found.host}:{found.port}"
