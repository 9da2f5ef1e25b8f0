"""A run as Markdown, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.stores.report import section
from bench.tables import shown, table

Result = Mapping[str, Any]

_THROUGHPUT = "throughput"
_TITLES = {
    _THROUGHPUT: "answers/s",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "cpu_us": "CPU of a request, us",
}


def markdown(result: Result) -> str:
    """Write the tables of a run; figures are medians of the rounds, with the least and the most."""
    return "\n".join((*_head(result), *_tables(result), ""))


def is_closed(load: str) -> bool:
    """Tell a closed loop, which finds out the throughput, from an open one, which sets it."""
    return load.endswith("in flight")


def _head(result: Result) -> Iterator[str]:
    host, size, scale = result["machine"], result["world"], result["scale"]
    disturbed = result["cores_lost"]
    yield "# Decide under load"
    yield ""
    yield f"`{result['command']}`, {result['started']}, {result['minutes']} minutes, commit {host['commit']}."
    yield (
        f"{host['cores']} cores of {host['processor']}, of which others kept "
        f"{shown(disturbed['others'])} busy and the host withheld {shown(disturbed['withheld'])}. "
        f"Python {host['python']}, grpcio {host['grpcio']}."
    )
    yield (
        f"{size['mode']} decisions: {size['candidates']} candidates x {size['features']} features x "
        f"{size['trees']} trees, {size['customers']:,} customers with {size['events']:,} events. "
        f"Medians of {scale['rounds']} rounds, with the least and the most."
    )


def _tables(result: Result) -> Iterator[str]:
    yield from ("", "## Tact divided by the baselines, in the same round", "")
    yield from _by_load(result["ratios"])
    yield from ("", "## All figures", "")
    yield from _by_load(result["targets"])
    yield from ("", "## Where the time goes: mean us of a request", "")
    yield from _breakdown(result)
    yield from ("", "## Policies and traces: the gateway alone, one decision at a time", "")
    yield from _policies(result["policies"])
    # A part that was measured alone stands beside what a run before it measured.
    if "ledger" in result:
        yield from ("", "## The contact ledger, by store", "")
        yield from _ledger(result["ledger"])
    yield from ("", "## CPU of a request by process, us", "")
    yield from _by_process(result)
    yield from ("", "## Peak memory, MiB", "")
    memory = result["peak_rss_mib"].items()
    rows = ((target, f"{sum(used.values()):.0f}", _joined(used)) for target, used in memory)
    yield from table(("target", "all", "by process"), rows)
    yield from ("", "## The load generator", "")
    yield from _generator(result["generator"])
    yield from ("", "## Requests sent, and counted OK by the servers themselves", "")
    counted = result["counted"].items()
    rows = ((target, str(told["sent"]), _joined(told["ok"])) for target, told in counted)
    yield from table(("target", "sent", "counted OK"), rows)
    if "stores" in result:
        yield from section(result["stores"])


def _by_load(tree: Result) -> Iterator[str]:
    loads = list(next(iter(tree.values())))
    yield from table(
        ("", "", *loads),
        (
            (name, title, *(_figure(by_load[load], load, key) for load in loads))
            for key, title in _TITLES.items()
            for name, by_load in tree.items()
        ),
    )


def _figure(figures: Result, load: str, key: str) -> str:
    return shown(figures[key]) if is_closed(load) or key != _THROUGHPUT else ""


def _breakdown(result: Result) -> Iterator[str]:
    columns = {
        f"{target}, {load}": parts
        for target, loads in result["breakdown"].items()
        for load, parts in loads.items()
        if is_closed(load)
    }
    first = next(iter(columns.values()))

    def row(title: str, *place: str) -> list[str]:
        return [title, *(f"{_at(parts, place):.0f}" for parts in columns.values())]

    rows = [row("seen by the client", "client")]
    rows += [row(f"- {name}", "parts", name) for name in first["parts"]]
    rows += [row(f"inside: {name}", "services", name) for name in first["services"]]
    yield from table(("", *columns), rows)
    alone = shown(result["raw_lightgbm_us"])
    yield ""
    yield f"The model alone, `Booster.predict` of such matrices on one thread: {alone} us."


def _policies(found: Result) -> Iterator[str]:
    sizes = list(found["stage_us"])
    rows = (
        (title, *(shown(found[key][size]) for size in sizes))
        for title, key in (
            ("policies, consent and place, us", "stage_us"),
            ("a decision with its whole trace / without", "trace"),
        )
    )
    yield from table((f"{found['rules']} rules", *(f"{size} candidates" for size in sizes)), rows)


def _ledger(found: Result) -> Iterator[str]:
    stores = list(found)
    rows = (
        (title, *(shown(found[store][key]) for store in stores))
        for title, key in (
            ("a decision that reserves / one without caps", "reserving"),
            ("one customer contended for / many customers", "contention"),
            ("conflicts a decision, one customer", "conflicts"),
            ("claims a second / the bare store's own transactions", "claims"),
        )
    )
    yield from table(("", *stores), rows)


def _by_process(result: Result) -> Iterator[str]:
    loads = list(next(iter(result["targets"].values())))
    yield from table(
        ("target", "process", *loads),
        (
            (target, process, *(f"{figures[load]['cpu_us_by_process'][process]:.0f}" for load in loads))
            for target, figures in result["targets"].items()
            for process in figures[loads[0]]["cpu_us_by_process"]
        ),
    )


def _generator(targets: Result) -> Iterator[str]:
    loads = list(next(iter(targets.values())))
    yield from table(
        ("target", "", *loads),
        (
            (target, title, *(shown(figures[load][key]) for load in loads))
            for target, figures in targets.items()
            for key, title in (("cores", "cores busy"), ("lag_p99_ms", "sent too late, p99 ms"))
        ),
    )
    cost = min(figures["cpu_us"]["median"] for figures in targets["echo"].values())
    yield ""
    yield f"One request costs it {cost:.0f} us, so alone on a core it could send {1e6 / cost:,.0f} a second."


def _at(tree: Any, place: Sequence[str]) -> float:
    for name in place:
        tree = tree[name]
    return float(tree)


def _joined(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.rpartition('.')[2]} {value:.0f}" for name, value in values.items())
