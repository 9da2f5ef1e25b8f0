"""An erasure in words: what left where, who learned from it, and what remains for how long."""

from __future__ import annotations

from collections.abc import Iterator

from services.chassis.settings import load
from services.cli.customer.report import Report, SeenBy
from services.features.settings import FeatureSettings
from services.gateway.settings import GatewaySettings


def lines(report: Report) -> Iterator[str]:
    """Tell a finished erasure."""
    yield f"erased {', '.join(report.customer_ids)}"
    certain = [one for one in report.training.seen_by if one.is_certain]
    uncertain = [one for one in report.training.seen_by if not one.is_certain]
    if certain:
        yield "models that learned from the customer:"
        yield from map(_model, certain)
    if uncertain:
        yield "models that may have, as what they learned from was built anew since:"
        yield from map(_model, uncertain)
    if not report.training.seen_by:
        yield "no model is known to have learned from the customer"
    yield "what remains:"
    if "dead_letters" not in report.steps["features"].rows:
        yield "  dead letters in NATS, if there are any: the features service that erased knows of none"
    yield from (f"  {line}" for line in remains())


def remains() -> Iterator[str]:
    """Tell what an erasure does not reach, by the settings that this command is given."""
    features, gateway = load(FeatureSettings), load(GatewaySettings)
    if features.nats_servers:
        yield f"what waits in the stream {features.nats_stream}: once it is applied, erase again"
        yield f"what was garbled in {features.nats_dead_stream}, so that it names nobody: until it is dropped"
    if features.state.get_secret_value():
        yield f"feature state in Redis: none, as it was let go of; else {features.state_seconds} s at most"
    yield "borrowed values that other processes of profile hold in memory: until they are too old"
    yield (
        f"last features that other gateways remember: {gateway.last_good_seconds:g} s at most, and not used "
        "while profile answers"
    )
    yield "backups and archives: as long as you keep them; after a restore: tact customer erase --again"
    yield "bytes in free pages of the stores: until they are vacuumed"
    yield "decisions made for another customer while the two were linked: they are the other's"
    yield "what models learned: until they are replaced"
    yield "hashes of the ids, the ids of the decisions, and the report, which holds the ids"


def _model(one: SeenBy) -> str:
    named = f"{one.model} version {one.version}" if one.model else "no registered version"
    aliases = f" ({', '.join(one.aliases)})" if one.aliases else ""
    return f"  {named}{aliases}, run {one.run_id}"
