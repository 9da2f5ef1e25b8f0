"""What was measured of stores as Markdown, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.stores.turns import BARE
from bench.tables import short, shown, table

Result = Mapping[str, Any]


def section(result: Result) -> Iterator[str]:
    """Write the tables of stores."""
    scale = result["scale"]
    crowds = scale["crowds"]
    yield from ("", "## Features, profiles and their stores", "")
    yield (
        f"`{result['command']}`, {result['started']}, {result['minutes']} minutes, "
        f"commit {result['machine']['commit']}. {scale['customers']:,} customers as above; "
        f"medians of {scale['rounds']} rounds, with the least and the most."
    )
    if result["left_out"]:
        yield f"Left out, as no server answers: {', '.join(result['left_out'])}."
    yield from ("", "### Reads, by customers a call", "")
    yield from _by_size(_read_rows(result), _first(result["profiles"])["reads"]["read"])
    yield from ("", f"### Writes, by items a call, {result['callers']} callers at once", "")
    yield from _by_size(_written_rows(result), _first(result["profiles"])["writes"])
    yield from ("", f"### Size, with {crowds['events']} events a customer", "")
    yield from _sizes(result["sizes"])
    yield from ("", "### Many customers and few, read one at a time", "")
    yield from _crowds(result["sizes"], crowds)


def _by_size(rows: Iterator[Sequence[str]], sizes: Result) -> Iterator[str]:
    yield from table(("", "", *(f"{int(size):,}" for size in sizes)), rows)


def _read_rows(result: Result) -> Iterator[Sequence[str]]:
    read = {
        f"features, {store}, {state}": ways
        for store, found in result["features"].items()
        for state, ways in found["reads"].items()
    } | {f"profiles, {store}": found["reads"] for store, found in result["profiles"].items()}
    for name, ways in read.items():
        for way, by_size in ways.items():
            yield name, f"{way}, us", *(shown(figures["us"]) for figures in by_size.values())
            if way != BARE:
                yield name, f"{way} / {BARE}", *(shown(figures["ratio"]) for figures in by_size.values())


def _written_rows(result: Result) -> Iterator[Sequence[str]]:
    for kind, items in (("features", "events"), ("profiles", "updates")):
        for store, found in result[kind].items():
            for title, key in (
                (f"{items}/s", "rate"),
                (f"{BARE}, {items}/s", BARE),
                (f"{items} / {BARE}", "ratio"),
            ):
                yield f"{items}, {store}", title, *(shown(by[key]) for by in found["writes"].values())


def _sizes(pairs: Result) -> Iterator[str]:
    yield from table(
        (
            "",
            "customers",
            "disk, bytes of one",
            "memory once loaded",
            "and once computed",
            "`DescribeFeatures` tells",
            "collecting garbage, ms",
        ),
        (
            (
                name,
                f"{int(customers):,}",
                f"{found['disk_bytes']:,}",
                f"{found['loaded_bytes']:,}",
                f"{found['loaded_bytes'] + found['computed_bytes']:,}",
                _described(found["described"]),
                short(found["collection_ms"]),
            )
            for name, pair in pairs.items()
            for customers, found in pair["sizes"].items()
        ),
    )


def _described(found: Result) -> str:
    each = found["bytes_per_customer"]
    return f"{'nothing' if each is None else f'{each:,.0f}'} x {found['customers']:,}"


def _crowds(pairs: Result, crowds: Result) -> Iterator[str]:
    few, many = f"{crowds['few']:,}", f"{crowds['many']:,}"

    def row(name: str, pair: Result) -> Iterator[str]:
        yield name
        yield from (shown(found["us"]) for found in pair["sizes"].values())
        yield shown(pair["ratio"])
        if bounded := pair.get("bounded"):
            yield shown(bounded["ratio"])
            yield (
                f"{bounded['customers']:,} in {bounded['loaded_bytes'] / 2**20:,.0f} MiB, "
                f"{bounded['held']['median']:.0%} of reads"
            )
        else:
            yield from ("", "all")

    head = (f"p50 at {few}, us", f"p50 at {many}, us", "ratio", "ratio by default", "held by default")
    yield from table(("", *head), (list(row(name, pair)) for name, pair in pairs.items()))


def _first(tree: Result) -> Any:
    return next(iter(tree.values()))
