"""Redis keys of a test's own; ``TACT_TEST_REDIS`` names a server other than this machine's."""

import contextlib
import itertools
import os
import uuid

import redis
from monitoring import absent

SERVER = os.environ.get("TACT_TEST_REDIS", "redis://127.0.0.1:6379/0")
_AT_ONCE = 1_000


@contextlib.contextmanager
def prefix():
    """Yield a prefix of keys that nobody else uses; all of them go afterwards.

    Without a server the test skips, or fails if servers are required.
    """
    made = f"tact-test:{uuid.uuid4().hex}:"
    with contextlib.closing(redis.Redis.from_url(SERVER, socket_connect_timeout=5)) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            absent(f"no Redis to test with, TACT_TEST_REDIS may name one: {type(error).__name__}")
        try:
            yield made
        finally:
            keys = client.scan_iter(match=f"{made}*", count=_AT_ONCE)
            while batch := list(itertools.islice(keys, _AT_ONCE)):
                client.unlink(*batch)
