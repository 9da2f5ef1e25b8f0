"""The digest with which a log record ends, so that no change to it goes unnoticed.

It is the field ``digest`` of ``tact.log.v1.DecisionRecord``, written by hand behind all others, whose
bytes it is the SHA-256 of. It tells accidents, not forgers: whoever can write the store can seal anew.
"""

from __future__ import annotations

import hashlib
from typing import Final

from tact.log.v1 import decision_record_pb2 as log_pb

from services.gateway.domain.replay import Seal

_SIZE: Final = hashlib.sha256().digest_size
_LENGTH_DELIMITED: Final = 2
_TAG: Final = log_pb.DecisionRecord.DIGEST_FIELD_NUMBER << 3 | _LENGTH_DELIMITED
_HEADER: Final = bytes((_TAG & 0x7F | 0x80, _TAG >> 7, _SIZE))
"""What precedes a digest: the tag as a varint of two bytes, and the length."""


def sealed(record: bytes) -> bytes:
    """Return a serialised record with its digest."""
    return record + _HEADER + hashlib.sha256(record).digest()


def seal_of(record: bytes) -> Seal:
    """Tell whether a record is as it was written.

    A record without any digest is older than digests, or was cut off.
    """
    end = len(record) - _SIZE
    begin = end - len(_HEADER)
    has_header = begin >= 0 and record[begin:end] == _HEADER
    fits = begin >= 0 and record[end:] == hashlib.sha256(record[:begin]).digest()
    if has_header and fits:
        return "intact"
    return "damaged" if has_header or fits else "absent"


def is_intact(record: bytes) -> bool:
    """Tell whether a record ends with the digest of all that comes before."""
    return seal_of(record) == "intact"


def is_sealed(record: bytes) -> bool:
    """Tell whether a record was written with a digest, also where it was altered since."""
    return seal_of(record) != "absent"
