"""Playbooks are published and rolled back while services decide, each in a process of its own."""

import asyncio
import os
import subprocess
import sys

from deciding import FILES, request
from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from worlds import CUSTOMERS, NOON, PATIENCE_SECONDS, ROOT, Processes, populate

from services.engine.playbook.loader import load

SERVICES = ("profile", "features")


def write(folder, word):
    """Write the shop with a word in its texts and as a kind of identity."""
    folder.mkdir()
    for name, text in FILES.items():
        worded = text.replace("headline: ", f"headline: {word} ").replace(
            "card: {}", f"card: {{}}, {word}: {{}}"
        )
        (folder / name).write_text(worded, encoding="utf-8")
    return folder


class Desk:
    """Whoever publishes."""

    def __init__(self, store):
        self._store = store

    async def tact(self, *words):
        """Run a verb of ``tact playbook``."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TACT_")}
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.cli", "playbook", *map(str, words)],
            cwd=ROOT,
            env=environ | {"TACT_PLAYBOOK": str(self._store)},
            check=True,
            capture_output=True,
        )


def test_running_services_take_what_is_published_and_go_back(tmp_path):
    folders = {word: write(tmp_path / word, word) for word in ("old", "new")}
    words = {load(folder).version: word for word, folder in folders.items()}
    answers = []

    async def main():
        desk = Desk(tmp_path / "store")
        await desk.tact("publish", folders["old"])
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            Processes(tmp_path, tmp_path / "store", names=SERVICES) as running,
        ):
            await populate(running.stubs["profile"], running.stubs["features"])
            await decided_by("old", running)
            for verb, word in ((("publish", folders["new"]), "new"), (("rollback",), "old")):
                await desk.tact(*verb)
                await decided_by(word, running)
                await resolved_by(word, running)

    async def resolved_by(word, running):
        identity = profile_pb.Identity(kind=word, value="4711")
        asked = profile_pb.ResolveIdentitiesRequest(identities=[identity])
        while (await running.stubs["profile"].ResolveIdentities(asked)).results[0].HasField("error"):
            pass

    async def decided_by(word, running):
        seen = 0
        while seen < 20:
            asked = request(CUSTOMERS[len(answers) % 40], mode="DECISION_MODE_DRY_RUN", at=NOON)
            answers.append(await running.stubs["gateway"].Decide(asked))
            seen += words[answers[-1].playbook_version] == word

    asyncio.run(main())
    for answer in answers:
        headlines = {action.content["headline"].split()[0] for action in answer.actions}
        assert headlines <= {words[answer.playbook_version]}
        lost = {pb.DegradationSource.Name(lost.source) for lost in answer.degradations}
        assert lost <= {"DEGRADATION_SOURCE_SCORING"}
    told = [words[answer.playbook_version] for answer in answers]
    assert [word for word, before in zip(told, ["", *told], strict=False) if word != before] == [
        "old",
        "new",
        "old",
    ]
