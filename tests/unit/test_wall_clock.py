"""The time of day is read where a service is put together, and handed on as an argument."""

import re
from pathlib import Path

SERVICES = Path(__file__).parents[2] / "services"
READS = re.compile(
    r"\b(datetime\.(now|utcnow|today)|date\.today|time\.(time|time_ns|clock_gettime))\(|from time import"
)


def test_no_deadline_and_no_duration_can_come_from_the_wall_clock():
    sources = [path.relative_to(SERVICES) for path in SERVICES.rglob("*.py")]
    readers = {
        path.as_posix()
        for path in sources
        if path.parts[0] != "cli" and READS.search((SERVICES / path).read_text())
    }
    assert readers == {f"{name}/app.py" for name in ("gateway", "profile", "features", "scoring")}
