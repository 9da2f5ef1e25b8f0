"""``tact replay`` makes the decisions of a log again, without any server, and writes nothing."""

import asyncio
import concurrent.futures
import contextlib
import hashlib
import io
import json
import sqlite3
import sys

import pytest
import remote
import worlds
from deciding import FILES, playbook, request, write_playbook
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.chassis.inprocess import InProcessStub
from services.cli import decision_log, progress
from services.cli.__main__ import main
from services.cli.publishing import Store
from services.engine.playbook import publishing
from services.gateway.adapters.sealing import sealed
from services.gateway.app import open_service
from services.gateway.settings import GatewaySettings

DRY = "DECISION_MODE_DRY_RUN"
PATIENCE_SECONDS = 60.0
LIVE_ONES, DRY_ONES = 3, 40


@contextlib.asynccontextmanager
async def gateway(home):
    """Run a gateway on a folder; yields a stub."""
    settings = GatewaySettings(TACT_HOME=home)
    async with open_service(settings, playbook(), remote.stubs()) as service:
        yield InProcessStub(service, PATIENCE_SECONDS)


@pytest.fixture
def home(tmp_path):
    """Return a folder in which decisions are on record, with their playbook in ``shop``."""
    folder = tmp_path / "home"

    async def fill():
        async with gateway(folder) as stub:
            for number in range(LIVE_ONES + DRY_ONES):
                mode = DRY if number >= LIVE_ONES else "DECISION_MODE_LIVE"
                await stub.Decide(
                    request(
                        request_id=f"r-{number}",
                        customer_id="nobody" if number % 5 == 4 else f"c-{number}",
                        mode=mode,
                        include_explanation=number % 2 == 0,
                    )
                )

    asyncio.run(fill())
    (folder / "shop").mkdir()
    write_playbook(folder / "shop")
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    for name in ("TACT_PLAYBOOK", "TACT_GATEWAY_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TACT_HOME", str(tmp_path / "nowhere"))


def replay(capsys, *arguments):
    """Run the command; return its exit code and its lines."""
    code = main(["replay", *map(str, arguments)])
    return code, capsys.readouterr().out.splitlines()


def complaint(capsys, *arguments):
    """Run the command, which must fail; return what it says."""
    assert main(["replay", *map(str, arguments)]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    return found.err


def records(home, table="dry_run_decisions"):
    with contextlib.closing(sqlite3.connect(home / "gateway.sqlite")) as store:
        return store.execute(f"SELECT decision_id, record FROM {table} ORDER BY rowid").fetchall()  # noqa: S608


def rewrite(home, decision_id, record, table="dry_run_decisions"):
    with contextlib.closing(sqlite3.connect(home / "gateway.sqlite")) as store:
        store.execute(f"UPDATE {table} SET record = ? WHERE decision_id = ?", (record, decision_id))  # noqa: S608
        store.commit()


def forge(home, decision_id, record, **changes):
    """Change an answer on record, and seal it anew."""
    parsed = log_pb.DecisionRecord.FromString(record)
    parsed.ClearField("digest")
    parsed.response.MergeFrom(pb.DecideResponse(**changes))
    rewrite(home, decision_id, sealed(parsed.SerializeToString(deterministic=True)))


def footprint(folder):
    """Return every file of a folder with its content's digest and its time."""
    return {
        path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


ALL = LIVE_ONES + DRY_ONES
ALL_WELL = (0, [f"{ALL} of {ALL} identical"])


def test_a_log_of_live_and_dry_decisions_is_identical(home, capsys):
    assert replay(capsys, home, "--playbook", home / "shop") == ALL_WELL
    assert replay(capsys, home / "gateway.sqlite", "--playbook", home / "shop") == ALL_WELL


def test_the_log_under_the_home_folder_is_the_usual_one(home, capsys, monkeypatch):
    monkeypatch.setenv("TACT_HOME", str(home))
    assert replay(capsys, "--playbook", home / "shop") == ALL_WELL


def test_nothing_is_written(home, capsys):
    before = footprint(home)
    assert replay(capsys, home, "--playbook", home / "shop") == ALL_WELL
    assert footprint(home) == before


def test_a_gateway_may_go_on_meanwhile(home, capsys):
    async def exercise():
        async with gateway(home) as stub:
            await stub.Decide(request(request_id="later", mode=DRY))
            with contextlib.closing(sqlite3.connect(home / "gateway.sqlite")) as watching:
                (before,) = watching.execute("PRAGMA data_version").fetchone()
                code = await asyncio.to_thread(main, ["replay", str(home), "--playbook", str(home / "shop")])
                assert watching.execute("PRAGMA data_version").fetchone() == (before,)
            await stub.Decide(request(request_id="last", mode=DRY))
            return code

    assert asyncio.run(exercise()) == 0
    assert capsys.readouterr().out == f"{ALL + 1} of {ALL + 1} identical\n"


def test_what_was_erased_is_counted_and_fails_nothing(home, capsys):
    async def exercise():
        async with gateway(home) as stub:
            await stub.EraseCustomer(pb.EraseCustomerRequest(customer_ids=["c-0", "c-1"]))

    asyncio.run(exercise())
    code, lines = replay(capsys, home, "--playbook", home / "shop")
    assert (code, lines) == (0, [f"{ALL - 2} of {ALL - 2} identical, 2 erased with their customers"])
    _, lines = replay(capsys, home, "--playbook", home / "shop", "--json")
    assert json.loads(lines[-1])["erased"] == 2


def test_what_is_erased_while_it_is_replayed_is_not_taken_for_damage(home, capsys, monkeypatch):
    real = decision_log.records

    def overtaken(log):
        async def exercise():
            async with gateway(home) as stub:
                await stub.EraseCustomer(pb.EraseCustomerRequest(customer_ids=["c-0"]))

        with concurrent.futures.ThreadPoolExecutor() as other:
            other.submit(asyncio.run, exercise()).result()
        return real(log)

    monkeypatch.setattr(decision_log, "records", overtaken)
    code, lines = replay(capsys, home, "--playbook", home / "shop")
    assert (code, lines) == (0, [f"{ALL - 1} of {ALL - 1} identical, 1 erased with their customers"])


def test_a_log_of_before_erasures_is_replayed(home, capsys):
    with contextlib.closing(sqlite3.connect(home / "gateway.sqlite")) as log:
        log.execute("DROP TABLE erased_decisions")
    assert replay(capsys, home, "--playbook", home / "shop") == ALL_WELL


def test_the_earliest_come_first(home, capsys):
    decision_id, record = records(home)[4]
    rewrite(home, decision_id, record[:-1])
    assert replay(capsys, home, "--playbook", home / "shop", "--limit", 7) == (0, ["7 of 7 identical"])
    code, lines = replay(capsys, home, "--playbook", home / "shop", "--limit", 8)
    assert (code, lines[-1]) == (1, "7 of 8 identical")


@pytest.mark.parametrize("limit", ["0", "-1", "some"])
def test_a_limit_must_be_a_number_of_decisions(limit, home, capsys):
    with pytest.raises(SystemExit):
        main(["replay", str(home), f"--limit={limit}"])
    assert f"{limit} is no number of decisions" in capsys.readouterr().err


def test_an_empty_log_is_identical(tmp_path, capsys):
    async def open_once():
        async with gateway(tmp_path / "empty"):
            pass

    asyncio.run(open_once())
    assert replay(capsys, tmp_path / "empty") == (0, ["0 of 0 identical"])


def test_a_flipped_byte_is_named(home, capsys):
    decision_id, record = records(home, "decisions")[1]
    rewrite(home, decision_id, record[:50] + bytes([record[50] ^ 1]) + record[51:], "decisions")
    assert replay(capsys, home, "--playbook", home / "shop") == (
        1,
        [
            "different: the record was altered since it was written",
            f"  {decision_id}",
            f"{ALL - 1} of {ALL} identical",
        ],
    )


def test_what_differs_is_told_together_with_a_few_ids(home, capsys):
    forged = [(key, record) for key, record in records(home) if b"UNKNOWN_CUSTOMER" in record]
    for key, record in forged:
        forge(home, key, record, control_arm="hold_out", customer_id="x")
    code, lines = replay(capsys, home, "--playbook", home / "shop")
    ids = ", ".join(key for key, _ in forged[:3])
    assert (code, lines) == (
        1,
        [
            "different: customer_id",
            f"  {ids} and {len(forged) - 3} more",
            "    customer_id: x on record, nobody now",
            "    control_arm: hold_out on record, nothing now",
            f"{ALL - len(forged)} of {ALL} identical",
        ],
    )


def test_a_missing_playbook_is_named_with_where_it_was_looked_for(home, capsys, tmp_path):
    (tmp_path / "other").mkdir()
    other = write_playbook(tmp_path / "other")
    text = FILES["playbook.yaml"].replace("threshold: 0.10", "threshold: 0.20")
    (other / "playbook.yaml").write_text(text)
    code, lines = replay(capsys, home, "--playbook", other)
    assert code == 1
    version = playbook().version
    assert lines[0] == (
        f"impossible: playbook version {version} is in none of {other}: say with --playbook where it is"
    )
    assert lines[1].endswith(f" and {ALL - 3} more")
    assert lines[2:] == [f"0 of {ALL} identical"]
    assert replay(capsys, home, "--playbook", other, "--playbook", home / "shop") == ALL_WELL


def test_a_published_playbook_is_found_beside_the_log(home, capsys, monkeypatch):
    store = Store(home / "playbooks")
    publishing.publish(store, home / "shop", worlds.NOON, "tests")
    assert replay(capsys, home) == ALL_WELL
    monkeypatch.setenv("TACT_PLAYBOOK", str(home / "shop"))
    assert replay(capsys, home) == ALL_WELL
    (policies,) = home.glob("playbooks/versions/*/policies.yaml")
    policies.write_text(policies.read_text().replace("profile.age >= 18", "profile.age >= 19"))
    assert replay(capsys, home) == ALL_WELL
    monkeypatch.delenv("TACT_PLAYBOOK")
    code, lines = replay(capsys, home)
    assert code == 1
    assert "is not as it was published" in lines[0]


def test_a_folder_without_a_playbook_is_complained_of(home, capsys):
    text = complaint(capsys, home, "--playbook", home)
    assert text.startswith(f"tact replay: {home} holds no playbook that can be used:\n")


def test_json_is_a_line_for_each_that_is_not_identical_and_one_with_the_counts(home, capsys):
    decision_id, record = records(home)[-1]
    forge(home, decision_id, record, control_arm="hold_out")
    code, lines = replay(capsys, home, "--playbook", home / "shop", "--json")
    told, counts = map(json.loads, lines)
    assert code == 1
    assert told == {
        "decision_id": decision_id,
        "live": False,
        "verdict": "REPLAY_VERDICT_DIFFERENT",
        "differences": [{"field": "control_arm", "recorded": "hold_out"}],
    }
    assert counts == {
        "decisions": ALL,
        "identical": ALL - 1,
        "different": 1,
        "impossible": 0,
        "damaged": 0,
        "erased": 0,
        "score_difference": None,
    }


def test_of_very_many_troubles_a_few_are_told(home, capsys):
    for number, (key, record) in enumerate(records(home)[:30]):
        forge(home, key, record, playbook_version=f"version-{number}")
    code, lines = replay(capsys, home, "--playbook", home / "shop")
    assert code == 1
    assert sum(line.startswith("impossible: ") for line in lines) == 20
    assert lines[-2:] == ["other trouble: 10", f"{ALL - 30} of {ALL} identical"]


@pytest.mark.parametrize("store", ["postgresq://tact:hush-hush@db/tact", "host=db password=hush-hush"])
def test_a_setting_that_names_no_store_is_not_repeated(store, monkeypatch, capsys):
    monkeypatch.setenv("TACT_GATEWAY_STORE", store)
    told = complaint(capsys)
    assert "TACT_GATEWAY_STORE" in told
    assert "hush" not in told


def test_what_is_no_log_is_complained_of(tmp_path, capsys):
    nowhere = tmp_path / "nowhere"
    assert complaint(capsys) == f"tact replay: there is no decision log {nowhere / 'gateway.sqlite'}\n"
    assert (
        complaint(capsys, tmp_path)
        == f"tact replay: there is no decision log {tmp_path / 'gateway.sqlite'}\n"
    )
    url = "mysql://tact:hush-hush@db/tact"
    assert "hush" not in complaint(capsys, url)
    text = tmp_path / "text"
    text.write_text("no database " * 100)
    assert complaint(capsys, text) == (
        f"tact replay: {text} cannot be read as a decision log: file is not a database\n"
    )
    other = tmp_path / "other.sqlite"
    with contextlib.closing(sqlite3.connect(other)) as store:
        store.execute("CREATE TABLE decisions (one)")
    expected = f"tact replay: {other} is no decision log: it has no table dry_run_decisions\n"
    assert complaint(capsys, other) == expected


def test_a_broken_log_is_complained_of(home, capsys):
    path = home / "gateway.sqlite"
    content = bytearray(path.read_bytes())
    content[8_192:] = b"\xff" * (len(content) - 8_192)
    path.write_bytes(content)
    assert f"{path} cannot be read as a decision log: " in complaint(
        capsys, home, "--playbook", home / "shop"
    )


def test_what_only_looks_like_a_log_is_complained_of(tmp_path, capsys):
    tables = ("decisions", "dry_run_decisions")
    empty, filled = tmp_path / "empty.sqlite", tmp_path / "filled.sqlite"
    with contextlib.closing(sqlite3.connect(empty)) as store:
        for table in tables:
            store.execute(f"CREATE TABLE {table} (one)")
    assert "cannot be read as a decision log: no such column" in complaint(capsys, empty)
    with contextlib.closing(sqlite3.connect(filled)) as store:
        for table in tables:
            store.execute(f"CREATE TABLE {table} (decision_id, record_time, record)")
        store.execute("INSERT INTO decisions VALUES ('d-1', 'noon', 'a text')")
        store.commit()
    assert f"{filled} cannot be read as a decision log: row 1 is damaged" in complaint(capsys, filled)


def test_a_decision_that_is_counted_and_cannot_be_reached_is_missed(home, capsys):
    with contextlib.closing(sqlite3.connect(home / "gateway.sqlite")) as store:
        row = "SELECT -5, 'out-of-reach', customer_id, fingerprint, ?, actions, record"
        columns = "rowid, decision_id, customer_id, fingerprint, record_time, actions, record"
        statement = f"INSERT INTO dry_run_decisions ({columns}) {row} FROM dry_run_decisions LIMIT 1"
        store.execute(statement, (-(2**63),))
        store.commit()
    said = complaint(capsys, home, "--playbook", home / "shop")
    assert f"{ALL + 1} decisions were counted, but {ALL} read: the log is damaged" in said


def test_progress_is_shown_on_a_terminal_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, is_shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.shown("Replay", 2) as advance:
            advance()
            advance()
        assert ("Replay" in stream.getvalue()) is is_shown


@pytest.fixture(scope="module")
def learned_home(tmp_path_factory):
    """Let all four services decide by a real model; return the folder, the registry and what scoring says."""
    folder = tmp_path_factory.mktemp("learned")
    uri = worlds.register_model(folder)
    shop = worlds.write_shop(folder / "shop")
    told = []

    async def fill():
        async with worlds.OneProcess(folder / "home", shop, uri) as world:
            await worlds.populate(world.stubs["profile"], world.stubs["features"])
            for number, customer_id in enumerate(worlds.CUSTOMERS):
                asked = request(
                    request_id=f"r-{number}",
                    customer_id=customer_id,
                    mode=DRY,
                    at=worlds.NOON,
                    include_explanation=number % 2 == 0,
                )
                answer = await world.stubs["gateway"].Decide(asked)
                again = pb.ReplayDecisionRequest(decision_id=answer.decision_id, rescore=True)
                told.append((answer, await world.stubs["gateway"].ReplayDecision(again)))

    asyncio.run(fill())
    return folder / "home", shop, uri, told


def test_a_real_model_scores_again_what_it_scored(learned_home):
    _, _, _, told = learned_home
    by_model = [replay for answer, replay in told if answer.model_version]
    assert len(by_model) > 20
    for answer, found in told:
        assert found.verdict == pb.REPLAY_VERDICT_IDENTICAL
        assert found.HasField("score_difference") is bool(answer.model_version)
        assert found.score_difference <= 1e-9


def test_a_registered_model_scores_again_without_any_server(learned_home, capsys, monkeypatch):
    home, shop, uri, told = learned_home
    monkeypatch.setenv("TACT_SCORING_TRACKING_URI", uri)
    monkeypatch.setenv("TACT_SCORING_MODEL_NAME", worlds.MODEL)
    code, lines = replay(capsys, home, "--playbook", shop, "--rescore")
    assert (code, lines[1:]) == (0, [f"{len(told)} of {len(told)} identical"])
    words, _, number = lines[0].rpartition(" ")
    assert words == "largest difference of a score:"
    assert float(number) <= 1e-9


def test_a_model_that_is_not_registered_is_named(learned_home, capsys, monkeypatch, tmp_path):
    home, shop, _, told = learned_home
    monkeypatch.setenv("TACT_SCORING_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    code, lines = replay(capsys, home, "--playbook", shop, "--rescore")
    scored = sum(bool(answer.model_version) for answer, _ in told)
    assert code == 1
    assert lines[0] == "impossible: model version 1 is not in the registry"
    assert lines[-1] == f"{len(told) - scored} of {len(told)} identical"
    assert list(tmp_path.iterdir()) == []


def test_a_score_of_another_model_shows(learned_home, capsys, monkeypatch):
    """What stands on record as a score of the model is none."""
    home, shop, uri, _ = learned_home
    monkeypatch.setenv("TACT_SCORING_TRACKING_URI", uri)
    monkeypatch.setenv("TACT_SCORING_MODEL_NAME", worlds.MODEL)
    key, record = next((key, one) for key, one in records(home) if b"wine-coupon" in one)
    parsed = log_pb.DecisionRecord.FromString(record)
    parsed.ClearField("digest")
    scored = [candidate for candidate in parsed.candidates if candidate.HasField("propensity")]
    scored[0].propensity += 1e-6
    rewrite(home, key, sealed(parsed.SerializeToString(deterministic=True)))
    try:
        code, lines = replay(capsys, home, "--playbook", shop, "--rescore")
    finally:
        rewrite(home, key, record)
    assert code == 1
    assert "largest difference of a score: 1e-06" in lines
    assert lines[1] == f"  {key}"
