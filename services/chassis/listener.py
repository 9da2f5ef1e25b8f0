"""Where a service may listen."""

import contextlib
import ipaddress
from dataclasses import dataclass

DEFAULT_MESSAGE_BYTES = 16 * 1024 * 1024


class ListenError(OSError):
    """A port cannot be listened on; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """The addresses of one service; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int
    metrics_port: int
    drain_seconds: float = 10.0
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES


def require_loopback(host: str) -> None:
    """Refuse a host that other machines can reach.

    Raises:
        ValueError: ``host`` is neither ``localhost`` nor a loopback address.
    """
    if host == "localhost":
        return
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    raise ValueError(
        f"cannot listen on {host!r}: a listener on any address but loopback needs TLS, "
        "which this version does not offer"
    )


def cannot_listen(service: str, host: str, port: int) -> ListenError:
    """Make the error of a port that ``service`` could not bind."""
    return ListenError(f"{service} cannot listen on port {port} of {host}: it is taken, or not ours to take")
