import asyncio
import itertools

import pytest
from prometheus_client import CollectorRegistry

from services.engine.moments import Moment
from services.engine.playbook.loader import load, shipped
from services.engine.violations import Invalid, InvalidRequest
from services.profile.domain.borrowed import BorrowedValues
from services.profile.domain.consents import IncomingConsent, Recorded, State
from services.profile.domain.identities import Identity
from services.profile.domain.updates import IncomingUpdate, Taken
from services.profile.fakes import InMemoryProfiles
from services.profile.handlers import Answer, ProfileHandlers
from services.profile.metrics import ProfileMetrics
from services.profile.ports import StoreUnavailable
from tests.playbooks import load_playbook

NOW = 1_510_000_000_000_000
HOUR = 3_600_000_000
CARD = Identity("loyalty_card", "4711")
LENDING = {
    "age": {"type": "integer"},
    "tariff": {"type": "string", "provenance": "copied", "max_age": "2h"},
    "mood": {"type": "string", "provenance": "borrowed", "max_age": "1h"},
}


@pytest.fixture(scope="module")
def playbook():
    return load(shipped("retail"))


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def handlers(playbook, registry):
    return ProfileHandlers(
        InMemoryProfiles(), playbook, lambda: NOW, ProfileMetrics(registry), BorrowedValues(10), 0.0
    )


def update(customer_id="c1", *, identities=(), record_time=None, source="", **attributes):
    return IncomingUpdate(
        customer_id=customer_id,
        attributes=attributes,
        identities=tuple(identities),
        record_time=record_time,
        source=source,
    )


def moment(micros):
    return Moment(micros // 1_000_000, micros % 1_000_000 * 1_000)


def consent(receipt_id="r1", customer_id="c1", **changes):
    fields = {
        "purpose": "marketing",
        "channel": "mail",
        "state": State.GRANTED,
        "record_time": None,
        "expire_time": None,
        "source": "",
    }
    return IncomingConsent(receipt_id=receipt_id, customer_id=customer_id, **{**fields, **changes})


def counted(registry, name):
    return {
        sample.labels["result"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"{name}_total" and sample.value
    }


def test_updates_are_answered_in_order_and_counted(handlers, registry):
    answers = asyncio.run(
        handlers.upsert(
            [
                update("c1", identities=[CARD], age_band="25-34"),
                update("c2", age_bnd="25-34"),
                update("c2", identities=[CARD], age_band="25-34"),
                update("c3"),
            ]
        )
    )
    assert [answers[0], *answers[2:]] == [Answer.APPLIED, Taken((0,)), Answer.APPLIED]
    assert isinstance(answers[1], Invalid)
    assert counted(registry, "tact_profile_updates") == {"applied": 2, "invalid": 1, "identity_taken": 1}


def test_reading_by_id_and_by_identity_finds_the_same(handlers, registry):
    async def main():
        await handlers.upsert([update(identities=[CARD], age_band="25-34")])
        keys = ["c1", CARD, "c2", Identity("loyalty_card", "none"), Identity("loyalty", "x"), None, ""]
        return await handlers.read(keys, None)

    by_id, by_identity, *unknown, bad_kind, no_key, empty = asyncio.run(main())
    assert by_id == by_identity
    assert by_id.attributes["age_band"].value == "25-34"
    assert unknown == [Answer.UNKNOWN] * 2
    assert bad_kind.violations[0].field == "identity.kind"
    assert no_key.violations[0].field == "key"
    assert empty.violations[0].field == "customer_id"
    assert counted(registry, "tact_profile_reads") == {"found": 2, "unknown": 2, "invalid": 3}


def test_identities_are_resolved_in_order(handlers):
    async def main():
        await handlers.upsert([update(identities=[CARD])])
        return await handlers.resolve([Identity("loyalty_card", "none"), CARD, Identity("card", "x")])

    unknown, found, invalid = asyncio.run(main())
    assert (unknown, found) == (Answer.UNKNOWN, "c1")
    assert invalid.violations[0].field == "kind"


def test_consents_are_answered_in_order_and_counted(handlers, registry):
    async def main():
        await handlers.upsert([update()])
        return await handlers.record(
            [
                consent(),
                consent(),
                consent(state=State.DENIED),
                consent("r2", "nobody"),
                consent("r3", purpose="spam"),
            ]
        )

    *answers, invalid = asyncio.run(main())
    assert answers == [Recorded.NEW, Recorded.DUPLICATE, Recorded.REUSED, Recorded.CUSTOMER_UNKNOWN]
    assert isinstance(invalid, Invalid)
    assert counted(registry, "tact_profile_consents") == {
        "recorded": 1,
        "duplicate": 1,
        "reused": 1,
        "customer_unknown": 1,
        "invalid": 1,
    }


def test_an_absurd_time_refuses_the_whole_read(handlers):
    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(handlers.read(["c1"], Moment(-1, 0)))
    assert refused.value.violations == (("as_of_time", "must not lie before 1970"),)


def test_others_run_while_a_large_batch_is_checked(handlers):
    async def main():
        turns = itertools.count()

        async def other():
            while True:
                next(turns)
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        await handlers.upsert(update(str(number)) for number in range(1_000))
        running.cancel()
        return next(turns)

    assert asyncio.run(main()) >= 10


class Lending:
    """Handlers of a playbook that copies and borrows, with a clock that the test moves."""

    def __init__(self, playbook, store=None, most=10):
        self.registry = CollectorRegistry()
        self.now = NOW
        self.store = store or InMemoryProfiles()
        self.handlers = ProfileHandlers(
            self.store, playbook, lambda: self.now, ProfileMetrics(self.registry), BorrowedValues(most), 0.0
        )

    def upsert(self, *updates):
        return asyncio.run(self.handlers.upsert(updates))

    def read(self, customer_id="c1", as_of=None):
        as_of_time = None if as_of is None else moment(as_of)
        (profile,) = asyncio.run(self.handlers.read([customer_id], as_of_time))
        if profile is Answer.UNKNOWN:
            return None
        return {name: attribute.value for name, attribute in profile.attributes.items()}


@pytest.fixture(scope="module")
def lending_playbook(tmp_path_factory):
    return load_playbook(
        tmp_path_factory.mktemp("playbook") / "shop",
        *(("profile", "attributes", name, declared) for name, declared in LENDING.items()),
    )


@pytest.fixture
def lending(lending_playbook):
    return Lending(lending_playbook)


def read_over(lending, times):
    found = []
    for time in times:
        lending.now = time
        found.append(lending.read())
    return found


@pytest.mark.parametrize(("name", "max_age"), [("mood", HOUR), ("tariff", 2 * HOUR)])
def test_a_value_counts_until_it_is_max_age_old(lending, name, max_age):
    lending.upsert(update(source="partner", **{name: "calm"}))
    value = {name: "calm"}
    times = [NOW, NOW + max_age - 1, NOW + max_age, NOW + 2 * max_age]
    assert [lending.read(as_of=time) for time in (NOW, NOW + 1, *times[1:])] == [{}, value, value, {}, {}]
    assert read_over(lending, times) == [value, value, {}, {}]


def test_a_value_without_max_age_never_grows_too_old(lending):
    lending.upsert(update(age=40.0))
    lending.now = NOW + 100_000 * HOUR
    assert lending.read() == {"age": 40}


def test_no_older_value_takes_the_place_of_one_that_is_too_old(lending):
    lending.upsert(update(source="crm", tariff="old", record_time=moment(NOW - HOUR)))
    lending.upsert(update(source="crm", tariff="new"))
    assert lending.read() == {"tariff": "new"}
    assert lending.read(as_of=NOW + 2 * HOUR) == {}


def test_reads_as_of_a_time_see_the_borrowed_value_of_that_time(lending):
    lending.upsert(update(mood="calm", record_time=moment(NOW - 100)), update(mood="cross"))
    lending.upsert(update(mood=None, record_time=moment(NOW + 100)))
    assert [lending.read(as_of=NOW + ago) for ago in (-100, -99, 0, 1, 100, 101)] == [
        {},
        {"mood": "calm"},
        {"mood": "calm"},
        {"mood": "cross"},
        {"mood": "cross"},
        {},
    ]
    assert lending.read() == {}


def test_a_borrowed_value_is_let_go_when_its_time_is_up_as_of_earlier_times_too(lending):
    lending.upsert(update(mood="calm"))
    lending.now = NOW + HOUR
    assert lending.read(as_of=NOW + 1) == {}


def test_a_customer_known_by_a_borrowed_value_only_is_on_file_without_it(lending, lending_playbook):
    lending.upsert(update(mood="calm"))
    assert lending.read() == {"mood": "calm"}
    assert "calm" not in str(lending.store.values)
    assert Lending(lending_playbook, lending.store).read() == {}


def test_a_refused_update_leaves_no_borrowed_value_behind(lending):
    card = Identity("email", "a@b.c")
    lending.upsert(update("c1", identities=[card]), update("c2"))
    (answer,) = lending.upsert(update("c2", identities=[card], mood="calm"))
    assert answer == Taken((0,))
    assert lending.read("c2") == {}


def test_nothing_is_held_of_an_update_that_the_store_did_not_take(lending):
    lending.upsert(update())
    lending.store.failure = StoreUnavailable("locked")
    with pytest.raises(StoreUnavailable):
        lending.upsert(update(mood="calm"))
    lending.store.failure = None
    assert lending.read() == {}


def test_what_was_on_file_before_it_was_borrowed_is_not_shown(lending, lending_playbook, tmp_path):
    owning = load_playbook(tmp_path / "shop", ("profile", "attributes", "mood", {"type": "string"}))
    Lending(owning, lending.store).upsert(update(mood="calm"))
    assert lending.read() == {}
    assert Lending(owning, lending.store).read() == {"mood": "calm"}


def test_borrowed_values_that_make_room_are_counted(lending_playbook):
    lending = Lending(lending_playbook, most=2)
    lending.upsert(*(update(f"c{number}", mood="calm") for number in range(5)))
    assert [lending.read(f"c{number}") for number in range(5)] == [{}] * 3 + [{"mood": "calm"}] * 2
    assert lending.registry.get_sample_value("tact_profile_borrowed_evicted_total") == 3


def test_another_playbook_binds_the_next_call_and_what_is_borrowed_stays(lending, lending_playbook, tmp_path):
    longer = load_playbook(
        tmp_path / "shop",
        *(("profile", "attributes", name, declared) for name, declared in LENDING.items()),
        ("profile", "attributes", "height", {"type": "integer"}),
    )
    lending.upsert(update(mood="calm"))
    (refused,) = lending.upsert(update(height=180.0))
    asyncio.run(lending.handlers.take(longer))
    assert lending.upsert(update(height=180.0)) == [Answer.APPLIED]
    assert isinstance(refused, Invalid)
    assert lending.read() == {"mood": "calm", "height": 180}
    shown = {"name": "shop", "version": longer.version[:12]}
    assert lending.registry.get_sample_value("tact_playbook", shown) == 1
    shown["version"] = lending_playbook.version[:12]
    assert lending.registry.get_sample_value("tact_playbook", shown) is None


def test_a_call_works_by_one_playbook_throughout(lending, tmp_path):
    other = load_playbook(tmp_path / "shop", ("profile", "identities", {"card": {}}))
    email = Identity("email", "a@b.c")

    def swapping(items):
        for number, item in enumerate(items):
            if number == 75:
                swaps.append(asyncio.get_running_loop().create_task(lending.handlers.take(other)))
            yield item

    async def main():
        emails = [email, *(Identity("email", f"{number}@b.c") for number in range(1, 200))]
        updates = [update(f"c{number}", identities=[mine]) for number, mine in enumerate(emails)]
        upserted = await lending.handlers.upsert(swapping(updates))
        await lending.handlers.take(before)
        resolved = await lending.handlers.resolve(swapping([email] * 200))
        await lending.handlers.take(before)
        read = await lending.handlers.read(swapping([email] * 200), None)
        return upserted, resolved, read

    swaps, before = [], lending.handlers._playbook
    upserted, resolved, read = asyncio.run(main())
    assert upserted == [Answer.APPLIED] * 200
    assert resolved == ["c0"] * 200
    assert [found.customer_id for found in read] == ["c0"] * 200
    assert len(swaps) == 3
    assert all(swap.done() for swap in swaps)
    assert isinstance(asyncio.run(lending.handlers.resolve([email]))[0], Invalid)


class Erasing(Lending):
    """Handlers whose waiting is noted, and in which something may happen meanwhile."""

    def __init__(self, playbook, meanwhile=()):
        super().__init__(playbook)
        self.waited, self.registry = [], CollectorRegistry()
        self._meanwhile = meanwhile
        self.handlers = ProfileHandlers(
            self.store,
            playbook,
            lambda: self.now,
            ProfileMetrics(self.registry),
            BorrowedValues(10),
            2.0,
            self._pause,
        )

    async def _pause(self, seconds):
        self.waited.append((seconds, await self.store.read(["c1"], None)))
        if self._meanwhile:
            await self.handlers.upsert(self._meanwhile)

    def erase(self, *customer_ids):
        return asyncio.run(self.handlers.erase(customer_ids))


def test_an_erasure_is_acknowledged_once_nobody_acts_on_what_was_read_before(lending_playbook):
    erasing = Erasing(lending_playbook)
    erasing.upsert(update(source="crm", tariff="flat"))
    assert erasing.erase("c1")["attributes"] == 1
    assert set(erasing.erase("c1").values()) == {0}
    # The repeat may come from a caller that did not wait.
    assert erasing.waited == [(2.0, [None])] * 2


def test_an_erasure_forgets_what_is_borrowed_also_what_comes_meanwhile(lending_playbook):
    late = update(mood="cross", record_time=moment(NOW + 1))
    erasing = Erasing(lending_playbook, [late])
    erasing.upsert(update(mood="calm"), update("c2", mood="calm"))
    erasing.erase("c1")
    erasing.upsert(update())
    assert (erasing.read(), erasing.read("c2")) == ({}, {"mood": "calm"})


@pytest.mark.parametrize(
    ("ids", "fields"),
    [
        ([], ["customer_ids"]),
        (["c"] * 1_001, ["customer_ids"]),
        (["c1", "", "c" * 129, "c\0"], ["customer_ids[1]", "customer_ids[2]", "customer_ids[3]"]),
    ],
)
def test_ids_to_export_or_erase_are_checked(lending_playbook, ids, fields):
    erasing = Erasing(lending_playbook)
    for call in (erasing.handlers.erase(ids), erasing.handlers.export(ids, "")):
        with pytest.raises(InvalidRequest) as refused:
            asyncio.run(call)
        assert [violation.field for violation in refused.value.violations] == fields
    assert erasing.waited == []


def test_an_erasure_of_whom_members_are_not_named_is_refused_and_forgets_nothing(lending_playbook):
    erasing = Erasing(lending_playbook)
    erasing.upsert(update(mood="calm"), update("c2"))
    asyncio.run(erasing.handlers.link("l-1", "c1", "c2", "crm"))
    erasing.waited.clear()
    with pytest.raises(InvalidRequest) as refused:
        erasing.erase("c2")
    assert [violation.field for violation in refused.value.violations] == ["customer_ids"]
    assert erasing.waited == []
    assert erasing.read() == {"mood": "calm"}


def test_a_token_that_is_none_is_refused_with_its_field(handlers):
    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(handlers.export(["c1"], "nonsense"))
    assert [violation.field for violation in refused.value.violations] == ["page_token"]
