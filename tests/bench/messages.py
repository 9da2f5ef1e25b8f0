"""Real messages, recorded, so that the baselines carry the same payloads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The request and the response of one RPC, each the one of median size among many.

    ``service`` is the protobuf name, such as ``tact.profile.v1.ProfileService``.
    """

    service: str
    rpc: str
    request: bytes
    response: bytes

    @property
    def path(self) -> str:
        """The RPC as HTTP/2 names it."""
        return f"/{self.service}/{self.rpc}"


Recordings = Mapping[str, Recording]


def write_recordings(path: Path, recordings: Recordings) -> None:
    """Keep recordings by the name of the service that answered."""
    content = {
        name: {
            "service": one.service,
            "rpc": one.rpc,
            "request": one.request.hex(),
            "response": one.response.hex(),
        }
        for name, one in recordings.items()
    }
    path.write_text(json.dumps(content))


def read_recordings(path: Path) -> Recordings:
    """Read recordings back."""
    return {
        name: Recording(
            service=one["service"],
            rpc=one["rpc"],
            request=bytes.fromhex(one["request"]),
            response=bytes.fromhex(one["response"]),
        )
        for name, one in json.loads(path.read_text()).items()
    }
