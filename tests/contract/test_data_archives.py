"""Everything that is kept goes into an archive, and from there into any kind of store, whole and once."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import sqlite3
import stat
import time
import zipfile
from datetime import UTC, datetime, timedelta

import databases
import profile_stores
import pytest
from archives import KINDS, LEFT_BEHIND, event, filled, manifest_of, opened, populate, rewritten, tact
from decision_logs import NOW, entry, outcome
from test_contact_ledger import BREAD, reserving

from services.cli.data.parts import GATEWAY, PARTS
from services.features.adapters.store_lock import exclusive
from services.gateway.ports import DecisionErased, LedgerMoved
from services.profile.domain.identities import Identity

__all__ = ["tact"]
CUSTOMERS = ("anna", "björn\n\u2028", "cleo")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Return an archive of three customers, and the stores it was made of."""
    folder = tmp_path_factory.mktemp("archive")
    with opened("sqlite", folder / "home") as stores, pytest.MonkeyPatch.context() as patch:
        filled(stores, *CUSTOMERS)
        for name, value in stores.environ.items():
            patch.setenv(name, value)
        from services.cli.__main__ import main

        assert main(["data", "export", str(folder / "all.zip")]) == 0
        yield folder / "all.zip", stores


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_all_that_is_kept_is_the_same_elsewhere(source, target, tact, tmp_path):
    path = tmp_path / "all.zip"
    with opened(source, tmp_path / "a") as here, opened(target, tmp_path / "b") as there:
        filled(here, *CUSTOMERS)
        assert tact(here, "data", "export", path)[0] == 0
        code, told, _ = tact(there, "data", "import", path)
        assert code == 0
        assert there.everything() == here.everything()
        assert any(there.everything().values())
        # Numbers that a store goes on counting never fall behind.
        for part in PARTS:
            for table in part.tables:
                if table.name in LEFT_BEHIND[part.name] and table.owners:
                    pairs = zip(here.rows(part, table), there.rows(part, table), strict=True)
                    assert all(ours <= theirs for ours, theirs in pairs)
        assert "0 there already" in told
        code, again, _ = tact(there, "data", "import", path)
        assert code == 0
        assert all(", 0 new, " in line for line in again.splitlines() if not line.startswith("into "))
        assert there.everything() == here.everything()


@pytest.mark.parametrize("target", KINDS)
def test_services_go_on_from_what_was_put_in(target, archive, tact, tmp_path):
    path, _ = archive

    async def exercise(stores):
        async with stores.log() as log:
            assert (await log.find("anna-1", live=True)).record == b"whole\0record"
            assert (await log.append(entry("anna-1"))).record == b"whole\0record"
            reading = await log.ledger(["anna"], NOW)
            assert reading.ledger.contacts[0].facts == BREAD.facts
            with pytest.raises(LedgerMoved):
                await log.append(reserving("new", {"anna": 0}))
            assert await log.append(reserving("new", reading.versions)) is None
            report = outcome("anna o-1", decision_id="anna-1", measures={"effort": 0.1})
            assert (await log.record_outcomes([report], NOW)).verdicts == ["duplicate"]
        async with stores.events() as events:
            before = await events.newest()
            stored = await events.append([event(0, "anna"), event(77, "anna")])
            assert [answer.duplicate for answer in stored.answers] == [True, False]
            assert stored.newest > before

    with opened(target, tmp_path / "b") as there:
        assert tact(there, "data", "import", path)[0] == 0
        asyncio.run(exercise(there))


@pytest.mark.parametrize("target", KINDS)
def test_rows_of_who_was_erased_since_are_left_out(target, archive, tact, tmp_path):
    path, _ = archive

    async def erase(stores, moment):
        async with stores.log() as log:
            await log.erase(["anna"], lambda: moment)
        async with stores.events() as events:
            await events.erase(["anna"], lambda: int(moment.timestamp() * 1e6))
        async with stores.profiles() as profiles:
            await profiles.erase(["anna"], lambda: int(moment.timestamp() * 1e6))

    with opened(target, tmp_path / "b") as there:
        asyncio.run(erase(there, datetime.now(UTC)))
        code, told, _ = tact(there, "data", "import", path)
        assert code == 0
        assert "features: " in told
        assert "3 of erased customers left out" in told
        assert "10 of erased customers left out" in told
        kept = [str(row) for rows in there.everything().values() for row in rows]
        assert kept
        assert not any("anna" in row for row in kept)


@pytest.mark.parametrize("target", KINDS)
def test_rows_of_who_was_erased_before_come_back(target, archive, tact, tmp_path):
    """An archive that is newer than the erasure tells of a customer who came again."""
    path, stores = archive

    async def erase(there, moment):
        async with there.log() as log:
            await log.erase(["anna"], lambda: moment)

    with opened(target, tmp_path / "b") as there:
        asyncio.run(erase(there, NOW - timedelta(days=1)))
        assert tact(there, "data", "import", path)[0] == 0
        assert there.everything()["gateway", "decisions"] == stores.everything()["gateway", "decisions"]


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("teller", ["profile", "features"])
def test_who_was_erased_amid_an_export_does_not_come_back(target, teller, tact, tmp_path, monkeypatch):
    """The gateway is read first: its part holds the customer, and another the tombstone."""
    from services.cli.data import exporting

    snapshot_of = exporting.snapshot_of

    async def erase(stores):
        async with stores.profiles() as profiles, stores.events() as events, stores.log() as log:
            if teller == "profile":
                await profiles.erase(["anna"], lambda: int(datetime.now(UTC).timestamp() * 1e6))
            await events.erase(["anna"], lambda: int(datetime.now(UTC).timestamp() * 1e6))
            await log.erase(["anna"], lambda: datetime.now(UTC))

    @contextlib.asynccontextmanager
    async def erasing(part, settings):
        if part.name == teller:
            await erase(here)
        async with snapshot_of(part, settings) as snapshot:
            yield snapshot

    with opened("sqlite", tmp_path / "a") as here, opened(target, tmp_path / "b") as there:
        filled(here, "anna", "björn")
        monkeypatch.setattr(exporting, "snapshot_of", erasing)
        assert tact(here, "data", "export", tmp_path / "all.zip")[0] == 0
        with zipfile.ZipFile(tmp_path / "all.zip") as made:
            assert b'"anna"' in made.read("gateway/decisions.jsonl")
        code, told, _ = tact(there, "data", "import", tmp_path / "all.zip")
        assert code == 0
        assert "gateway: " in told
        assert "of erased customers left out" in told
        kept = there.everything()
        assert "anna" not in str(kept)
        assert kept["gateway", "decisions"]
        assert kept["profile", "customers"] == [("björn",)]


@pytest.mark.parametrize("target", KINDS)
def test_who_came_again_just_before_an_export_goes_in(target, tact, tmp_path):
    with opened("sqlite", tmp_path / "a") as here, opened(target, tmp_path / "b") as there:
        filled(here, "anna")

        async def come_again():
            async with here.profiles() as profiles, here.events() as events, here.log() as log:
                await profiles.erase(["anna"], lambda: int(datetime.now(UTC).timestamp() * 1e6))
                await events.erase(["anna"], lambda: int(datetime.now(UTC).timestamp() * 1e6))
                await log.erase(["anna"], lambda: datetime.now(UTC))
                await profile_stores.made(profiles, "anna")
                await events.append([event(5, "anna")])
                await log.append(entry("new"))

        asyncio.run(come_again())
        assert tact(here, "data", "export", tmp_path / "all.zip")[0] == 0
        for _ in range(2):
            code, told, _ = tact(there, "data", "import", tmp_path / "all.zip")
            assert code == 0
            assert "left out" not in told
            assert there.everything() == here.everything()


def test_who_another_store_erased_meanwhile_is_left_out_of_all(archive, tact, tmp_path):
    """An erasure that broke off is known to the first services only."""

    async def erase(stores):
        async with stores.profiles() as profiles:
            await profiles.erase(["anna"], lambda: int(datetime.now(UTC).timestamp() * 1e6))

    with opened("sqlite", tmp_path / "b") as there:
        asyncio.run(erase(there))
        assert tact(there, "data", "import", archive[0])[0] == 0
        assert "anna" not in str(there.everything())


@pytest.mark.parametrize("slack", [timedelta(minutes=-4), timedelta(minutes=-6)])
def test_clocks_may_differ_by_five_minutes(slack, archive, tact, tmp_path):
    path, _ = archive
    made = datetime.fromisoformat(manifest_of(path)["made_time"])

    async def erase(there):
        async with there.log() as log:
            await log.erase(["anna"], lambda: made + slack)

    with opened("sqlite", tmp_path / "b") as there:
        asyncio.run(erase(there))
        assert tact(there, "data", "import", path)[0] == 0
        is_left_out = "anna" not in str(there.everything()["gateway", "decisions"])
        assert is_left_out == (slack > timedelta(minutes=-5))


@pytest.mark.parametrize("target", KINDS)
def test_erased_decisions_are_left_out_with_what_was_recorded_of_them(target, archive, tact, tmp_path):
    path, stores = archive

    async def erase(there):
        async with there.log() as log:
            await log.append(entry("anna-1"))
            await log.append(entry("anna-4", live=False))
            # Long before the archive was made: nobody but the decision is kept out.
            await log.erase(["anna"], lambda: NOW - timedelta(days=1))

    with opened(target, tmp_path / "b") as there:
        asyncio.run(erase(there))
        code, told, _ = tact(there, "data", "import", path)
        assert code == 0
        everything, before = there.everything(), stores.everything()
        count = 0
        for name in ("decisions", "dry_run_decisions", "outcomes", "contacts"):
            table = next(table for table in GATEWAY.tables if table.name == name)
            place = table.columns.index("decision_id")
            left = [row for row in before["gateway", name] if row[place] not in ("anna-1", "anna-4")]
            count += len(before["gateway", name]) - len(left)
            assert everything["gateway", name] == left
        assert count > 2
        assert f", {count} of erased decisions left out" in told


def test_what_others_have_of_a_decision_that_is_left_out_is_left_out(archive, tact, tmp_path):
    path = rewritten(
        archive[0],
        {
            "gateway/contacts.jsonl": (
                change := lambda content: content.replace(b'"customer_id":"anna"', b'"customer_id":"cleo"')
            ),
            "manifest.json": in_manifest(
                lambda manifest: manifest["services"]["gateway"]["tables"]["contacts"].update(
                    sha256=hashlib.sha256(change(read(archive[0], "gateway/contacts.jsonl"))).hexdigest()
                )
            ),
        },
        tmp_path / "moved.zip",
    )

    async def erase(there):
        async with there.log() as log:
            await log.erase(["anna"], lambda: datetime.now(UTC))

    with opened("sqlite", tmp_path / "b") as there:
        asyncio.run(erase(there))
        assert tact(there, "data", "import", path)[0] == 0
        assert "anna" not in str(there.everything()["gateway", "contacts"])


def test_an_erased_decision_stays_erased_elsewhere(tact, tmp_path):
    with opened("sqlite", tmp_path / "a") as here, opened("sqlite", tmp_path / "b") as there:
        filled(here, "anna")

        async def erase():
            async with here.log() as log:
                await log.erase(["anna"], lambda: NOW)

        async def look():
            async with there.log() as log:
                with pytest.raises(DecisionErased):
                    await log.find("anna-1", live=True)

        asyncio.run(erase())
        assert tact(here, "data", "export", tmp_path / "all.zip")[0] == 0
        assert tact(there, "data", "import", tmp_path / "all.zip")[0] == 0
        asyncio.run(look())


@pytest.mark.parametrize("target", KINDS)
def test_a_row_that_differs_stops_the_import_and_nothing_of_its_batch_is_done(
    target, archive, tact, tmp_path
):
    path, _ = archive

    async def occupy(stores):
        async with stores.log() as log:
            await log.append(entry("anna-3", record=b"another"))

    with opened(target, tmp_path / "b") as there:
        asyncio.run(occupy(there))
        code, _, error = tact(there, "data", "import", path)
        assert code == 1
        assert "gateway: decisions: another row stands in the place of decision_id anna-3" in error
        assert [row[0] for row in there.everything()["gateway", "decisions"]] == ["anna-3"]


@pytest.mark.parametrize("target", KINDS)
def test_no_message_repeats_the_value_of_an_identity(target, archive, tact, tmp_path):
    path, stores = archive

    async def occupy(there):
        kind, value, _ = stores.everything()["profile", "identities"][0]
        async with there.profiles() as profiles:
            await profiles.upsert([profile_stores.update("somebody else", cards=[value])])
        return kind, value

    with opened(target, tmp_path / "b") as there:
        kind, value = asyncio.run(occupy(there))
        code, _, error = tact(there, "data", "import", path)
        assert code == 1
        assert f"profile: identities: another row stands in the place of kind {kind}, value" in error
        assert value not in error


def make_room(stores):
    """Take the decision that stands in the way out, which is no erasure."""
    statement = "DELETE FROM decisions WHERE decision_id = 'anna-3'"
    if stores.url:
        with databases.administrator(stores.url) as server:
            server.execute("SET search_path TO gateway, public")
            server.execute(statement)
        return
    with contextlib.closing(sqlite3.connect(stores.home / "gateway.sqlite")) as file, file:
        file.execute(statement)


def read(path, name):
    """Return a file of an archive."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def change_line(content):
    return content.replace(b'"rank":1', b'"rank":2', 1)


def drop_line(content):
    return content[content.index(b"\n") + 1 :]


def in_row(content, old, new):
    assert old in content
    return content.replace(old, new, 1)


def in_manifest(change):
    def apply(content):
        manifest = json.loads(content)
        change(manifest)
        return json.dumps(manifest).encode()

    return apply


DAMAGES = {
    "a changed row": ({"gateway/contacts.jsonl": change_line}, "gateway/contacts.jsonl was altered"),
    "a lost row": ({"gateway/outcomes.jsonl": drop_line}, "has 5 rows, but 6 were written"),
    "a row too many": (
        {"gateway/ledgers.jsonl": lambda content: content + drop_line(content)},
        "gateway/ledgers.jsonl has 5 rows, but 3 were written",
    ),
    "no json": (
        {"gateway/outcomes.jsonl": lambda content: content + b"{\n"},
        "gateway/outcomes.jsonl, line 7: outcomes: ",
    ),
    "no text": (
        {"features/events.jsonl": lambda content: b"\xff\n" + content},
        "features/events.jsonl, line 1: ",
    ),
    "another column": (
        {"features/events.jsonl": lambda content: content.replace(b'"type"', b'"typ"', 1)},
        "features/events.jsonl, line 1: events: a row has the columns sequence, event_id",
    ),
    "no bytes": (
        {"gateway/decisions.jsonl": lambda content: content.replace(b'"record":"', b'"record":"*', 1)},
        "gateway/decisions.jsonl, line 1: decisions: ",
    ),
    **{
        f"an attribute with {what}": (
            {"profile/attributes.jsonl": lambda content, change=change: in_row(content, *change)},
            f"profile/attributes.jsonl, line 1: attributes: {said}",
        )
        for what, change, said in (
            ("a number too great", (b'"record_time":20', b'"record_time":%d' % 2**70), "record_time is of a"),
            ("a fraction", (b'"record_time":20', b'"record_time":20.5'), "record_time is of a kind"),
            ("no number", (b'"record_time":20', b'"record_time":NaN'), "record_time is of a kind"),
            ("a truth", (b'"record_time":20', b'"record_time":true'), "record_time is of a kind"),
            ("a list", (b'"record_time":20', b'"record_time":[1]'), "record_time is of a kind"),
            ("an object", (b'"record_time":20', b'"record_time":{"a":1}'), "record_time is of a kind"),
            ("a lone surrogate", (b'"name":"', b'"name":"\\ud800'), "name holds a character that"),
            ("half a pair", (b'"name":"', b'"name":"\\udc00'), "name holds a character that"),
            ("a NUL", (b'"name":"', b'"name":"\\u0000'), "name holds a character that"),
            (
                "an owner that is no text",
                (b'"customer_id":"anna"', b'"customer_id":5'),
                "customer_id is of a",
            ),
            ("owners", (b'"customer_id":"anna"', b'"customer_id":["anna"]'), "customer_id is of a"),
            (
                "a column twice",
                (b'"record_time":20', b'"record_time":20,"name":"x"'),
                "a column is there twice",
            ),
            ("depths", (b'"record_time":20', b'"record_time":' + b"[" * 200_000), "it is nested too deeply"),
        )
    },
    "no base64": (
        {
            "gateway/decisions.jsonl": lambda content: re.sub(
                rb'"record":"[^"]*"', b'"record":5', content, count=1
            )
        },
        "gateway/decisions.jsonl, line 1: decisions: record is no base64",
    ),
    "a manifest too long": (
        {"manifest.json": lambda content: content + b" " * (16 << 20)},
        "manifest.json is longer than 16777216 bytes",
    ),
    "a manifest of depths": ({"manifest.json": lambda content: b"[" * 200_000}, "manifest.json: "),
    "a lost file": ({"gateway/contacts.jsonl": None}, "gateway/contacts.jsonl is missing"),
    "a file too many": ({"gateway/secrets.jsonl": lambda content: b"x"}, "gateway/secrets.jsonl is unknown"),
    "no manifest": ({"manifest.json": None}, "is no archive of Tact: it has no manifest.json"),
    "another format": (
        {"manifest.json": in_manifest(lambda manifest: manifest.update(format=2))},
        "has format 2, this version of Tact knows 1",
    ),
    "another schema": (
        {
            "manifest.json": in_manifest(
                lambda manifest: manifest["services"]["gateway"].update(schema_version=3)
            )
        },
        f"holds gateway of schema version 3, this version of Tact knows {len(GATEWAY.sqlite_migrations)}",
    ),
    "an unknown table": (
        {
            "manifest.json": in_manifest(
                lambda manifest: manifest["services"]["gateway"]["tables"].update(
                    secrets={"rows": 0, "sha256": "0" * 64}
                )
            )
        },
        "manifest.json: gateway has no table secrets",
    ),
    "a table too few": (
        {
            "manifest.json": in_manifest(
                lambda manifest: manifest["services"]["gateway"]["tables"].pop("ledgers")
            )
        },
        "manifest.json: gateway lacks its table ledgers",
    ),
    "an unknown service": (
        {
            "manifest.json": in_manifest(
                lambda manifest: manifest["services"].update(billing={"schema_version": 1, "tables": {}})
            )
        },
        "manifest.json: there is no service billing",
    ),
    "no time": (
        {"manifest.json": in_manifest(lambda manifest: manifest.update(made_time="yesterday"))},
        "manifest.json: made_time: ",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_is_refused_before_anything_is_written(damage, archive, tact, tmp_path):
    changes, said = DAMAGES[damage]
    path = rewritten(archive[0], changes, tmp_path / "damaged.zip")
    with opened("sqlite", tmp_path / "b") as there:
        code, told, error = tact(there, "data", "import", path)
        assert (code, told) == (1, "")
        assert said in error
        assert error.startswith(f"tact data: {path}")
        assert list(there.home.iterdir()) == []


@pytest.mark.parametrize("place", [0.02, 0.3, 0.7, 0.999])
def test_a_byte_that_turned_is_noticed(place, archive, tact, tmp_path):
    content = bytearray(archive[0].read_bytes())
    content[int(len(content) * place)] ^= 0x55
    path = tmp_path / "turned.zip"
    path.write_bytes(content)
    with opened("sqlite", tmp_path / "b") as there:
        code, _, error = tact(there, "data", "import", path)
        if code == 0:
            # Some bytes of a zip file, such as its times, say nothing about what it holds.
            assert there.everything() == archive[1].everything()
        else:
            assert error.startswith("tact data: ")
            assert list(there.home.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"PK", b"no archive at all"])
def test_what_is_no_archive_is_said(content, tact, tmp_path):
    path = tmp_path / "all.zip"
    if content is not None:
        path.write_bytes(content)
    with opened("sqlite", tmp_path / "b") as there:
        code, _, error = tact(there, "data", "import", path)
    assert code == 1
    assert ("there is no archive" in error) == (content is None)


def test_an_archive_says_what_it_holds_and_only_its_owner_can_read_it(archive):
    path, stores = archive
    manifest = manifest_of(path)
    assert manifest["format"] == 1
    assert manifest["customers"] is None
    assert datetime.fromisoformat(manifest["made_time"]).utcoffset() == timedelta()
    with zipfile.ZipFile(path) as opened_archive:
        for part in PARTS:
            service = manifest["services"][part.name]
            assert service["schema_version"] == len(part.sqlite_migrations)
            for table in part.tables:
                content = opened_archive.read(f"{part.name}/{table.name}.jsonl")
                lines = content.decode().split("\n")[:-1]
                assert [table.decode(line) for line in lines] == stores.rows(part, table)
                assert service["tables"][table.name] == {
                    "rows": len(lines),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_archive_is_whole_or_not_there(archive, tact, tmp_path):
    path, stores = archive
    before = path.read_bytes()
    code, _, error = tact(stores, "data", "export", path)
    assert (code, path.read_bytes()) == (1, before)
    assert "is there already" in error
    code, _, error = tact(stores, "data", "export", tmp_path / "nowhere" / "all.zip")
    assert code == 1
    assert "cannot be written" in error
    with opened("sqlite", tmp_path / "empty") as nothing:
        code, _, error = tact(nothing, "data", "export", tmp_path / "none.zip")
    assert code == 1
    assert "there is no store" in error
    assert list(tmp_path.glob("*.zip*")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_of_another_version_is_not_exported(kind, tact, tmp_path):
    with opened(kind, tmp_path / "a") as here:
        filled(here, "anna")
        if here.url:
            with databases.administrator(here.url) as server:
                server.execute("UPDATE tact_migrations SET version = version + 1 WHERE schema = 'gateway'")
        else:
            with sqlite3.connect(here.home / "gateway.sqlite") as file:
                file.execute("PRAGMA user_version = 3")
        code, _, error = tact(here, "data", "export", tmp_path / "all.zip")
        assert code == 1
        assert "gateway: " in error
        assert "this version of Tact knows" in error
        assert not (tmp_path / "all.zip").exists()


def test_nothing_is_put_into_files_that_are_served(archive, tact, tmp_path):
    with opened("sqlite", tmp_path / "b") as there, exclusive(there.home / "features.sqlite"):
        code, _, error = tact(there, "data", "import", archive[0])
    assert code == 1
    assert f"is served by another process (pid {os.getpid()})" in error
    assert not (there.home / "gateway.sqlite").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_of_one_moment_of_each_store_while_services_write(kind, tact, tmp_path):
    """No outcome is there without its decision, and no contact."""
    path = tmp_path / "all.zip"
    with opened(kind, tmp_path / "a") as here, opened("sqlite", tmp_path / "b") as there:
        filled(here, "anna")

        async def exercise():
            async with here.log() as log:
                exporting = asyncio.create_task(asyncio.to_thread(tact, here, "data", "export", path))
                number = 0
                while not exporting.done() or number < 50:
                    number += 1
                    await log.append(entry(f"d-{number:05}"))
                    await log.record_outcomes([outcome(f"o-{number}", decision_id=f"d-{number:05}")], NOW)
                return await exporting

        assert asyncio.run(exercise())[0] == 0
        assert tact(there, "data", "import", path)[0] == 0


@pytest.mark.parametrize("target", KINDS)
def test_an_import_that_broke_off_is_finished_by_the_same_command(
    target, archive, tact, tmp_path, monkeypatch
):
    from services.cli.data import importing

    path, stores = archive
    monkeypatch.setattr(importing, "_ROWS_AT_ONCE", 2)
    with opened(target, tmp_path / "b") as there:
        # What is put in first is there; the other file stands in the way of the rest.
        blocked = rewritten(path, {}, tmp_path / "same.zip")

        async def occupy():
            async with there.log() as log:
                await log.append(entry("anna-3", record=b"another"))

        asyncio.run(occupy())
        assert tact(there, "data", "import", blocked)[0] == 1
        assert there.everything()["features", "events"] == stores.everything()["features", "events"]
        assert [row[0] for row in there.everything()["gateway", "decisions"]] == [
            "anna-1",
            "anna-2",
            "anna-3",
        ]
        make_room(there)
        assert tact(there, "data", "import", blocked)[0] == 0
        assert there.everything()["gateway", "decisions"] == stores.everything()["gateway", "decisions"]


@pytest.mark.parametrize("target", KINDS)
def test_an_import_of_profiles_ends_when_nobody_acts_any_more_on_who_was_one(target, archive, tact, tmp_path):
    """Gateways on a server go on while profiles lie in a file."""
    path, _ = archive
    with opened(target, tmp_path / "b") as there:
        there.lease_seconds = "1"
        begun = time.monotonic()
        assert tact(there, "data", "import", path)[0] == 0
        assert time.monotonic() - begun >= 1
        # Nothing new, nothing to wait for.
        there.lease_seconds = "60"
        assert tact(there, "data", "import", path)[0] == 0
        assert time.monotonic() - begun < 60


@pytest.mark.parametrize("target", KINDS)
def test_who_decides_and_reads_meanwhile_is_told_of_what_was_put_in(target, archive, tact, tmp_path):
    """What was decided by the ledger of before is not written, and features hold no state of before."""
    path, _ = archive

    async def decide_a_lot(stores):
        async with stores.log() as log:
            for number in range(9):
                versions = (await log.ledger(["anna"], NOW)).versions
                assert await log.append(reserving(f"own-{number}", versions)) is None
            return (await log.ledger(["anna"], NOW)).versions

    async def go_on(stores, versions):
        async with stores.log() as log:
            with pytest.raises(LedgerMoved):
                await log.append(reserving("late", versions))
        async with stores.events() as events:
            (version,), newest = await events.versions(["anna"])
            assert 0 < version.change <= newest

    with opened(target, tmp_path / "b") as there:
        versions = asyncio.run(decide_a_lot(there))
        assert tact(there, "data", "import", path)[0] == 0
        asyncio.run(go_on(there, versions))


def test_columns_are_of_the_kinds_that_their_tables_declare():
    for part in PARTS:
        with contextlib.closing(sqlite3.connect(":memory:")) as store:
            for migration in part.sqlite_migrations:
                store.executescript(migration)
            for table in part.tables:
                kinds = dict(store.execute("SELECT name, type FROM pragma_table_info(?)", (table.name,)))
                assert {name for name in table.columns if kinds[name] == "INTEGER"} == table.numbers
                assert {name for name in table.columns if kinds[name] == "BLOB"} == table.binary


def test_no_statement_reads_a_whole_table(tact, tmp_path):
    """Nor does one whose plan was made while the tables were small, in PostgreSQL."""

    async def work(stores):
        async with stores.log() as log, stores.profiles() as profiles, stores.events() as events:
            for number in range(20):
                name, cards = f"new-{number}", [f"card-{number}"]
                await profiles.upsert([profile_stores.update(name, cards=cards, age="41")])
                await profiles.record([profile_stores.consent(name, customer_id=name)])
                assert (await profile_stores.read(profiles, Identity("card", *cards))).customer_id == name
                await events.append([event(number + 1_000_000, name)])
                assert (await log.find("anna-1", live=True)).record == b"whole\0record"
                assert (await log.ledger(["anna", name], NOW)).ledger.contacts
                if number == 10:
                    await populate(stores, *map(str, range(100, 300)))
            await profiles.erase(["cleo"], lambda: 1)
            await events.erase(["cleo"], lambda: 1)
            await log.erase(["cleo"], lambda: NOW)

    with opened("postgresql", tmp_path) as stores:
        filled(stores, *CUSTOMERS)
        with databases.administrator(stores.url) as server:
            server.execute("ANALYZE")
        before = databases.scanned(stores.url)
        asyncio.run(work(stores))
        assert tact(stores, "data", "export", tmp_path / "all.zip")[0] == 0
        found = {
            table for table, times in databases.scanned(stores.url).items() if times > before.get(table, 0)
        }
        # These have a row each.
        assert found <= {"features.counter", "features.store", "profile.counter", "public.last_model"}
        assert "features.counter" in found
