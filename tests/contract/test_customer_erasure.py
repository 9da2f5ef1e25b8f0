"""Customers are taken out and away from the command line, whatever breaks off on the way."""

import asyncio
import io
import json
import stat
import sys
import uuid

import grpc
import learned
import monitoring
import pytest
import worlds
from archives import Stores, manifest_of
from deciding import instant, request
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from worlds import NOON, Processes

from services.cli.__main__ import main
from services.cli.customer import erasing
from services.cli.customer import report as reports
from services.cli.customer.reaching import Reached
from services.cli.data.parts import GATEWAY, PARTS
from services.cli.failure import Failure
from training.data.dataset import read_dataset
from training.jobs import train
from training.jobs.train import TrainConfig

OUTCOMES = next(table for table in GATEWAY.tables if table.name == "outcomes")
LIVE, DRY = "DECISION_MODE_LIVE", "DECISION_MODE_DRY_RUN"


class World:
    """Four processes, customers in them, and the command line."""

    def __init__(self, folder):
        self.folder, self.home = folder, folder / "home"
        self.uri = f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"
        environ = {"TACT_PROFILE_IDENTITY_LEASE_SECONDS": "0.2"}
        self.services = Processes(
            self.home,
            worlds.write_shop(folder / "shop"),
            self.uri,
            names=("profile", "features"),
            environ=environ,
        )
        self.runner = asyncio.Runner()
        self.customers = 0

    def run(self, exercise):
        return self.runner.run(exercise)

    def customer(self, members=1):
        """Make a customer of so many linked members, with something of every kind; return all its ids."""
        self.customers += 1
        names = [f"person-{self.customers}-{number}" for number in range(members)]
        self.run(self._fill(names))
        return names

    async def _fill(self, names):
        stubs = self.services.stubs
        for name in names:
            card = profile_pb.Identity(kind="card", value=f"card of {name}")
            update = profile_pb.ProfileUpdate(customer_id=name, identities=[card], record_time=instant(NOON))
            update.attributes["segment"].string_value = "gold"
            await stubs["profile"].UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=[update]))
            consent = profile_pb.Consent(
                receipt_id=f"{name} r",
                purpose="care",
                channel="app",
                state="CONSENT_STATE_GRANTED",
                record_time=instant(NOON),
            )
            record = profile_pb.ConsentRecord(customer_id=name, consent=consent)
            await stubs["profile"].RecordConsents(profile_pb.RecordConsentsRequest(records=[record]))
            happened = features_pb.Event(
                event_id=f"{name} e", customer_id=name, type="complaint", event_time=instant(NOON)
            )
            await stubs["features"].IngestEvents(features_pb.IngestEventsRequest(events=[happened]))
            await stubs["gateway"].Decide(request(name, request_id=f"{name} before"))
        for name in names[1:]:
            link = profile_pb.LinkIdentitiesRequest(
                link_id=f"{name} link",
                customer=profile_pb.CustomerKey(customer_id=names[0]),
                other=profile_pb.CustomerKey(customer_id=name),
            )
            await stubs["profile"].LinkIdentities(link)
        for mode in (LIVE, DRY):
            answer = await stubs["gateway"].Decide(request(names[0], request_id=names[0], mode=mode))
        assert answer.customer_id == names[0]

    def decide(self, name, **fields):
        """Decide for somebody."""
        return self.run(self.services.stubs["gateway"].Decide(request(name, **fields)))

    def start(self, name):
        self.run(self.services.start(name))

    def stop(self, name):
        self.run(self.services.stop(name))

    def kept(self, *names):
        """Return all rows of all stores in which a name stands."""
        stores = Stores(self.home)
        return [
            (part.name, table.name, row)
            for part in PARTS
            for table in part.tables
            for row in stores.rows(part, table)
            if any(name in repr(row) for name in names)
        ]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("erasures"))
    with world.runner:
        world.run(world.services.__aenter__())
        try:
            yield world
        finally:
            world.run(world.services.__aexit__())


class Terminal(io.StringIO):
    """Where somebody types, or nobody does."""


@pytest.fixture
def tact(world, monkeypatch, capsys):
    """Run ``tact customer``; returns its code, lines and complaint."""

    def run(act, *arguments, **environ):
        services = world.services
        monkeypatch.setenv("TACT_HOME", str(world.home))
        for name in ("profile", "features", "gateway"):
            monkeypatch.setenv(f"TACT_{name.upper()}_PORT", str(services.port(name)))
        certain = ["--yes"] if act == "erase" and not isinstance(sys.stdin, Terminal) else []
        code = main(["customer", act, *map(str, arguments), *certain])
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err

    return run


def report_of(lines):
    """Return the report that an erasure wrote."""
    (path,) = [line.removeprefix("report: ") for line in lines if line.startswith("report: ")]
    return reports.read(reports.Path(path))


def test_nothing_of_a_customer_and_its_members_is_left_anywhere(world, tact, capsys):
    other = world.customer()
    names = world.customer(members=2)
    decided = world.decide(names[0], request_id=names[0], mode=LIVE)
    assert {row[0] for row in world.kept(*names)} == {"profile", "features", "gateway"}
    before = world.kept(*other)
    code, lines, _ = tact("erase", f"card=card of {names[1]}")
    assert code == 0
    assert world.kept(*names) == []
    assert world.kept(*other) == before
    file = report_of(lines)
    report = file.report
    assert set(report.customer_ids) == set(names)
    assert (report.named, report.finish_time is None) == ("", False)
    assert all(step.done_time for step in report.steps.values())
    assert report.steps["profile"].rows["consents"] == 2
    assert report.steps["features"].rows["events"] == 2
    assert report.steps["gateway"].rows["decisions"] == 3
    assert report.steps["gateway"].rows["dry_run_decisions"] == 1
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert f"erased {', '.join(report.customer_ids)}" in lines
    assert "what remains:" in lines
    with pytest.raises(grpc.aio.AioRpcError, match="the answer was erased with its customer"):
        world.decide(names[0], request_id=names[0], mode=LIVE)
    gateway = f"127.0.0.1:{world.services.port('gateway')}"
    assert main(["explain", decided.decision_id, "--address", gateway]) == 1
    assert f"the decision {decided.decision_id} was erased with its customer" in capsys.readouterr().err


def test_who_is_not_on_file_may_have_events_and_decisions_all_the_same(world, tact):
    happened = features_pb.Event(
        event_id="stranger e", customer_id="stranger", type="complaint", event_time=instant(NOON)
    )
    world.run(
        world.services.stubs["features"].IngestEvents(features_pb.IngestEventsRequest(events=[happened]))
    )
    world.decide("stranger")
    assert len(world.kept("stranger")) == 2
    assert tact("erase", "stranger")[0] == 0
    assert world.kept("stranger") == []
    code, _, error = tact("erase", "card=nobody's")
    assert code == 1
    assert "nobody is known by this identity" in error


@pytest.mark.parametrize("broken", ["profile", "features", "gateway"])
@pytest.mark.parametrize("way", ["again", "resume"])
def test_what_broke_off_goes_on_where_it_was(world, tact, broken, way):
    names = world.customer(members=2)
    # Profile forgets the identity in the first step.
    named = f"card=card of {names[1]}" if broken != "profile" else names[0]
    before = set((world.home / "erasures").glob("*"))
    if broken == "profile":
        # Resolved, but not erased: the plan stands already.
        reports.planned(world.home / "erasures", named, names)
    world.stop(broken)
    code, lines, error = tact("erase", named)
    world.start(broken)
    assert code == 1
    assert f"{broken} at 127.0.0.1" in error
    assert "erased" not in "\n".join(lines)
    (path,) = set((world.home / "erasures").glob("*.json")) - before
    report = reports.read(path).report
    done = [name for name, step in report.steps.items() if step.done_time]
    assert done == ["profile", "features", "gateway"][: ["profile", "features", "gateway"].index(broken)]
    first = report.steps
    code, lines, _ = tact("erase", named) if way == "again" else tact("erase", "--resume", path)
    assert code == 0
    finished = report_of(lines)
    assert finished.path == path
    assert all(finished.report.steps[name] == first[name] for name in done)
    assert finished.report.finish_time
    assert world.kept(*names) == []
    code, _, error = tact("erase", "--resume", path)
    assert code == 1
    assert "is finished" in error


@pytest.mark.parametrize("lost", ["profile", "features", "gateway"])
def test_what_was_erased_is_told_also_where_the_answer_was_lost(world, tact, lost, monkeypatch):
    names = world.customer(members=2)
    whole = erasing._erase_in

    async def erase_in(service, customer_ids):
        rows = await whole(service, customer_ids)
        if service.name == lost:
            raise Failure("the answer was lost")
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(erasing, "_erase_in", erase_in)
        assert tact("erase", names[0])[0] == 1
    code, lines, _ = tact("erase", names[0])
    assert code == 0
    finished = report_of(lines).report
    other = report_of(tact("erase", world.customer(members=2)[0])[1]).report
    assert {name: step.rows for name, step in finished.steps.items()} == {
        name: step.rows for name, step in other.steps.items()
    }


def test_who_is_linked_after_the_plan_was_made_is_erased_too(world, tact):
    names = world.customer(members=2)
    file = reports.planned(world.home / "erasures", names[0], names[:1])
    code, lines, _ = tact("erase", names[0])
    assert code == 0
    assert report_of(lines).path == file.path
    assert set(report_of(lines).report.customer_ids) == set(names)
    assert world.kept(*names) == []


def unlink(world, name):
    """Take a member out of its customer: it was a wrong match."""
    asked = profile_pb.UnlinkIdentityRequest(link_id=f"{name} unlink", customer_id=name)
    world.run(world.services.stubs["profile"].UnlinkIdentity(asked))


@pytest.mark.parametrize("way", ["again", "resume"])
def test_who_left_the_customer_after_the_plan_was_made_is_not_erased(world, tact, way):
    names = world.customer(members=2)
    file = reports.planned(world.home / "erasures", names[0], names)
    # As an attempt leaves it that counted both, and was refused.
    file.save(steps={**file.report.steps, "profile": reports.Step(found={"customers": 2})})
    unlink(world, names[1])
    before = [row for row in world.kept(names[1]) if names[0] not in repr(row)]
    code, lines, _ = tact("erase", names[0]) if way == "again" else tact("erase", "--resume", file.path)
    assert code == 0
    assert report_of(lines).report.customer_ids == (names[0],)
    assert report_of(lines).report.steps["profile"].rows["customers"] == 1
    assert report_of(lines).path == file.path
    assert world.kept(names[0]) == []
    assert world.kept(names[1]) == before


def test_a_member_of_a_plan_is_not_taken_for_who_was_named(world, tact):
    names = world.customer(members=2)
    file = reports.planned(world.home / "erasures", names[0], names)
    unlink(world, names[1])
    code, lines, _ = tact("erase", names[1])
    assert code == 0
    assert report_of(lines).report.customer_ids == (names[1],)
    assert report_of(lines).path != file.path
    assert world.kept(names[0])
    assert tact("erase", "--resume", file.path)[0] == 0
    assert world.kept(names[0]) == []


def test_a_plan_of_who_is_not_known_any_more_stays_as_it_was(world, tact):
    """Profile may have erased without its acknowledgement having come."""
    names = world.customer(members=2)
    file = reports.planned(world.home / "erasures", f"card=card of {names[0]}", names)
    asked = profile_pb.EraseCustomerRequest(customer_ids=names)
    world.run(world.services.stubs["profile"].EraseCustomer(asked))
    code, lines, _ = tact("erase", f"card=card of {names[0]}")
    assert code == 0
    assert report_of(lines).path == file.path
    assert set(report_of(lines).report.customer_ids) == set(names)
    assert world.kept(*names) == []


async def bring_back(world, name):
    """Put something on record as a backup would that is older than the erasure."""
    stubs = world.services.stubs
    happened = features_pb.Event(
        event_id=f"{name} e", customer_id=name, type="complaint", event_time=instant(NOON)
    )
    await stubs["features"].IngestEvents(features_pb.IngestEventsRequest(events=[happened]))
    await stubs["gateway"].Decide(request(name))


def test_after_a_restore_finished_erasures_are_done_again(world, tact, tmp_path):
    names = world.customer()
    code, lines, _ = tact("erase", names[0])
    file = report_of(lines)
    world.run(bring_back(world, names[0]))
    assert world.kept(*names)
    elsewhere = tmp_path / "reports"
    elsewhere.mkdir()
    (elsewhere / file.path.name).write_bytes(file.path.read_bytes())
    code, lines, _ = tact("erase", "--again", elsewhere)
    assert (code, lines[-1]) == (0, "1 of 1 done again")
    assert world.kept(*names) == []
    (applied,) = reports.read(elsewhere / file.path.name).report.applied
    assert applied.rows["features"]["events"] == 1
    code, _, error = tact("erase", "--again", elsewhere, "--since", "2100-01-01T00:00:00Z")
    assert code == 1
    assert "there is no report" in error
    assert tact("erase", "--again")[0] == 0
    open_one = reports.planned(elsewhere, "x", ["x"])
    code, lines, error = tact("erase", "--again", elsewhere)
    assert (code, lines[-1]) == (1, "1 of 2 done again")
    assert f"tact customer erase --resume {open_one.path}" in error


@pytest.mark.parametrize("erased", [0, 1, 2])
def test_a_link_that_a_backup_brought_back_is_undone_and_the_other_stays(world, tact, tmp_path, erased):
    """Whichever of them the pointers went to, and over more than one of them."""
    names = [name for _ in range(3) for name in world.customer()]
    code, lines, _ = tact("erase", names[erased])
    assert code == 0
    file = report_of(lines)
    restored = reports.ReportFile(tmp_path / file.path.name, file.report)
    restored.save()
    others = [name for name in names if name != names[erased]]
    for _ in range(2):
        world.run(link_again(world, names))
        code, lines, error = tact("erase", "--again", tmp_path)
        assert (code, lines[-1]) == (0, "1 of 1 done again"), error
        assert world.kept(names[erased]) == []
        kept = {row[2][0] for row in world.kept(*others) if row[1] == "customers"}
        assert kept == set(others)


async def link_again(world, names):
    """Put customers and their links on record as a backup would: a chain of pointers, the first its root."""
    profile = world.services.stubs["profile"]
    updates = [profile_pb.ProfileUpdate(customer_id=name, record_time=instant(NOON)) for name in names]
    await profile.UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=updates))
    for stays, joins in (names[1:], names[:2]):
        link = profile_pb.LinkIdentitiesRequest(
            link_id=str(uuid.uuid4()),
            customer=profile_pb.CustomerKey(customer_id=stays),
            other=profile_pb.CustomerKey(customer_id=joins),
        )
        await profile.LinkIdentities(link)


def test_rows_leave_datasets_and_models_that_saw_them_are_told(world, tact, tmp_path):
    names = world.customer()
    rows = learned.frame(800)
    rows.loc[rows["customer_id"] == "household-4", "customer_id"] = names[0]
    count = int((rows["customer_id"] == names[0]).sum())
    mine, another = world.home / "datasets" / "mine", tmp_path / "elsewhere"
    learned.write(mine, rows)
    learned.write(another, rows)
    config = TrainConfig(
        dataset=mine, model_name="erasable", outcome="bought", tracking_uri=world.uri, **dict(learned.FAST)
    )
    trained = train.run(config, now=learned.NOW)
    code, lines, _ = tact("erase", names[0], "--dataset", another)
    assert code == 0
    assert f"{mine}: {count} rows" in lines
    report = report_of(lines).report
    assert {one.folder for one in report.training.datasets} == {str(mine), str(another)}
    for folder in (mine, another):
        left = read_dataset(folder)
        assert names[0] not in set(left.frame["customer_id"])
        assert left.meta.former[-1].erasure_id == report.erasure_id
        (step,) = [one for one in report.training.datasets if one.folder == str(folder)]
        assert (step.rows, step.left_dataset_id) == (count, left.meta.dataset_id)
    assert [(one.model, one.version, one.is_certain) for one in report.training.seen_by] == [
        ("erasable", "1", True)
    ]
    assert f"  erasable version 1, run {trained.run_id}" in lines


def test_a_dataset_that_cannot_be_read_breaks_off_and_is_not_forgotten(world, tact):
    names = world.customer()
    folder = world.home / "datasets" / "torn"
    rows = learned.frame(200)
    rows.loc[:20, "customer_id"] = names[0]
    learned.write(folder, rows)
    meta = (folder / "dataset.json").read_bytes()
    (folder / "dataset.json").unlink()
    code, lines, error = tact("erase", names[0])
    assert code == 1
    assert "holds no dataset: dataset.json is missing" in error
    assert report_of(lines).report.finish_time is None
    (folder / "dataset.json").write_bytes(meta)
    code, lines, _ = tact("erase", names[0])
    assert code == 0
    assert f"{folder}: 21 rows" in lines


@pytest.mark.parametrize("is_file", [False, True])
def test_a_named_folder_that_is_none_is_refused_before_anything_is_erased(world, tact, tmp_path, is_file):
    names = world.customer()
    before, plans = world.kept(*names), set((world.home / "erasures").glob("*"))
    if is_file:
        (tmp_path / "typo").write_text("")
    code, _, error = tact("erase", names[0], "--dataset", tmp_path / "typo")
    assert code == 1
    assert f"--dataset {tmp_path / 'typo'}: there is no such folder" in error
    assert world.kept(*names) == before
    assert set((world.home / "erasures").glob("*")) == plans


@pytest.mark.parametrize(
    ("typed", "options", "is_erased"),
    [
        ("n\n", [], False),
        ("\n", [], False),
        ("y\n", [], True),
        ("", ["--yes"], True),
    ],
)
def test_somebody_is_asked(world, tact, monkeypatch, typed, options, is_erased):
    names = world.customer()
    plans = set((world.home / "erasures").glob("*"))
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    code, lines, _ = tact("erase", names[0], *options)
    assert code == 0
    assert bool(world.kept(*names)) != is_erased
    if not is_erased:
        assert "nothing was erased" in lines[-1]
        assert set((world.home / "erasures").glob("*")) == plans


def test_where_nobody_can_be_asked_nothing_is_erased(world, tact, monkeypatch):
    names = world.customer()
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    code, _, error = tact("erase", names[0])
    assert (code, "say --yes" in error) == (1, True)
    assert world.kept(*names)


def test_a_customer_is_exported_and_imports_again_without_loss(world, tact, tmp_path, monkeypatch):
    names = world.customer(members=2)
    path = tmp_path / "one.zip"
    code, lines, _ = tact("export", f"card=card of {names[1]}", "--to", path)
    assert code == 0
    assert set(lines[0].split(", ")) == set(names)
    manifest = manifest_of(path)
    assert set(manifest["customers"]) == set(names)
    there = Stores(tmp_path / "home")
    with monkeypatch.context() as patch:
        patch.setenv("TACT_HOME", str(there.home))
        assert main(["data", "import", str(path)]) == 0
    here = Stores(world.home)
    for part in PARTS:
        for table in part.tables:
            owned = [
                row
                for row in here.rows(part, table)
                if table.owners and {row[table.columns.index(one)] for one in table.owners} & set(names)
            ]
            assert there.rows(part, table) == owned or table.greatest, table.name
            assert manifest["services"][part.name]["tables"][table.name]["rows"] == len(owned)
    code, _, error = tact("export", "nobody-at-all", "--to", tmp_path / "none.zip")
    assert code == 1
    assert "nothing is kept of nobody-at-all" in error
    assert not list(tmp_path.glob("none.zip*"))


@pytest.mark.parametrize("times", [1, 9])
def test_a_customer_who_is_decided_for_amid_an_export_is_taken_again(
    world, tact, tmp_path, monkeypatch, times
):
    """Decisions were read already; an outcome comes after."""
    names = world.customer()
    called, left = Reached.call, [None] * times

    async def call(self, rpc, request):
        answer = await called(self, rpc, request)
        if (self.name, rpc) == ("gateway", "ExportCustomer") and left:
            left.pop()
            # What a later page would have brought.
            row = next(one for one in answer.rows if one.table == "decisions")
            decided = json.loads(row.row)["decision_id"]
            late = dict.fromkeys(OUTCOMES.columns, "") | dict.fromkeys(OUTCOMES.numbers, 1)
            late["decision_id"] = f"not {decided}"
            place = max(
                n for n, one in enumerate(answer.rows) if one.table in ("decisions", "dry_run_decisions")
            )
            answer.rows.insert(place + 1, type(row)(table="outcomes", row=json.dumps(late)))
        return answer

    monkeypatch.setattr(Reached, "call", call)
    code, _, error = tact("export", names[0], "--to", tmp_path / "one.zip")
    if times == 1:
        assert code == 0, error
    else:
        assert code == 1
        assert "gateway gave outcomes of decisions that are not there" in error
        assert list(tmp_path.iterdir()) == []


def test_an_export_into_the_stores_it_came_from_changes_nothing(world, tact, tmp_path, monkeypatch):
    names = world.customer()
    path = tmp_path / "one.zip"
    assert tact("export", names[0], "--to", path)[0] == 0
    before = world.kept(*names)
    assert tact("erase", names[0])[0] == 0
    assert before
    world.stop("features")
    try:
        monkeypatch.setenv("TACT_HOME", str(world.home))
        assert main(["data", "import", str(path)]) == 0
    finally:
        world.start("features")
    # What was taken out before it was erased does not come back by accident.
    assert world.kept(*names) == []


def test_what_cannot_be_reached_is_said_and_nothing_is_planned(world, tact):
    plans = set((world.home / "erasures").glob("*"))
    world.stop("profile")
    try:
        for arguments in (("erase", "anybody"), ("export", "anybody", "--to", world.folder / "x.zip")):
            code, _, error = tact(*arguments)
            assert code == 1
            assert "profile at 127.0.0.1" in error
    finally:
        world.start("profile")
    assert set((world.home / "erasures").glob("*")) == plans


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', '{"customer_ids": ["a"]}'])
def test_what_is_no_report_is_said(content, tact, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(content)
    code, _, error = tact("erase", "--resume", path)
    assert code == 1
    assert "is no report" in error
    code, _, error = tact("erase", "--again", tmp_path)
    assert code == 1


def test_services_in_one_process_are_erased_from_as_well(tmp_path, monkeypatch, capsys):
    home, shop = tmp_path / "home", worlds.write_shop(tmp_path / "shop")
    home.mkdir()
    happened = features_pb.Event(
        event_id="anna e", customer_id="anna", type="complaint", event_time=instant(NOON)
    )

    async def exercise():
        async with (
            monitoring.up(home, TACT_PLAYBOOK=str(shop)) as ports,
            monitoring.stubs(ports, worlds.DESCRIPTORS) as stubs,
        ):
            await stubs["features"].IngestEvents(features_pb.IngestEventsRequest(events=[happened]))
            await stubs["gateway"].Decide(request("anna"))
            monkeypatch.setenv("TACT_HOME", str(home))
            for name in ("profile", "features", "gateway"):
                monkeypatch.setenv(f"TACT_{name.upper()}_PORT", str(ports[name]["port"]))
            return await asyncio.to_thread(main, ["customer", "erase", "anna", "--yes"])

    assert asyncio.run(exercise()) == 0
    assert "features: 1 events" in capsys.readouterr().out
    assert not any("anna" in repr(row) for rows in Stores(home).everything().values() for row in rows)
