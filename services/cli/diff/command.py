"""Runs ``tact playbook diff``: reads the log, decides again, and tells and draws the difference."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from services.cli.decision_log import Entry, home_of, outcomes, reader_of, records
from services.cli.diff import picture, segments
from services.cli.diff.archive import Archive, open_edition
from services.cli.diff.comparison import Comparison, compare
from services.cli.diff.document import document
from services.cli.diff.figures import Figures, figures
from services.cli.diff.report import Segments, report
from services.cli.diff.side import Scorer
from services.cli.diff.survey import survey
from services.cli.failure import Failure
from services.cli.progress import shown
from services.cli.publishing import default_store
from services.cli.shelf import Shelf, usual_places
from services.engine.playbook.store import Store, is_store
from services.gateway.domain.making import Edition


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison and write its picture, and its JSON where asked.

    Raises:
        Failure: a playbook or the log cannot be used, the log is empty, decisions cannot be divided as
            asked, or a file cannot be written.
    """
    if arguments.picture is not None and not picture.can_draw():
        raise Failure(f"--picture: {picture.MISSING}")
    store = Store(default_store())
    editions = open_edition(arguments.old, store), open_edition(arguments.new, store)
    by = list(dict.fromkeys(arguments.by))
    for name in by:
        segments.check(name, [edition.playbook for edition in editions])
    archive = Archive(*editions, _shelf(store, arguments.decisions))
    found = survey(records(arguments.decisions), outcomes(arguments.decisions), archive)
    if not (found.entries or found.damaged):
        raise Failure(f"the decision log {reader_of(arguments.decisions).name} is empty")
    scorers = _scorers(editions) if arguments.model else (None, None)
    comparison = compare(found, archive, editions, by=by, scorers=scorers, watched=_watched)
    if not comparison.rows:
        text = f"{len(comparison.damaged)} records are damaged, {len(comparison.refused)} requests refused"
        raise Failure(f"no decision can be compared: {text}")
    whole = _figures(comparison, range(len(comparison.rows)))
    parts = {name: list(_divided(comparison, index)) for index, name in enumerate(by)}
    sys.stdout.write(report(comparison, whole, parts))
    _write(arguments, comparison, whole, parts)
    return 0


def _shelf(store: Store, log: str | None) -> Shelf:
    places = [store.folder] if is_store(store.folder) else []
    return Shelf(list(dict.fromkeys([*places, *usual_places(home_of(log))])))


def _scorers(editions: tuple[Edition, Edition]) -> tuple[Scorer | None, Scorer | None]:
    """Return the champion for each playbook whose features it knows; say where it cannot score."""
    # MLflow and LightGBM take seconds to import, and not every image has them.
    from services.cli.diff.champion import open_champion

    champion = open_champion()
    found: list[Scorer | None] = []
    for which, edition in zip(("OLD", "NEW"), editions, strict=True):
        if obstacle := champion.obstacle(edition):
            sys.stderr.write(f"model version {champion.version} cannot score for {which}: {obstacle}\n")
        found.append(None if obstacle else champion)
    return found[0], found[1]


def _figures(comparison: Comparison, places: Iterable[int]) -> Figures:
    rows = [comparison.rows[place] for place in places]
    return figures(rows, comparison.old.playbook, comparison.new.playbook)


def _divided(comparison: Comparison, index: int) -> Iterator[tuple[str, Figures]]:
    for label, places in segments.divide([row.segments[index] for row in comparison.rows]):
        yield label, _figures(comparison, places)


def _watched(entries: Sequence[Entry]) -> Iterator[Entry]:
    with shown("Decisions", len(entries)) as advance:
        for entry in entries:
            yield entry
            advance()


def _write(arguments: argparse.Namespace, comparison: Comparison, whole: Figures, parts: Segments) -> None:
    path = arguments.picture or Path(os.environ.get("TACT_HOME", ".tact")) / "diff.png"
    try:
        if arguments.json is not None:
            text = json.dumps(document(comparison, whole, parts), indent=2, ensure_ascii=False)
            arguments.json.write_text(text + "\n", encoding="utf-8")
        if not picture.can_draw():
            sys.stderr.write(f"{picture.MISSING}\n")
            return
        picture.draw(path, comparison, whole, parts)
    except OSError as error:
        raise Failure(f"the result cannot be written: {error}") from None
    sys.stdout.write(f"\nPicture: {path}\n")
