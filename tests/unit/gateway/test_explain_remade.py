"""A decision that is made again from its log record is the recorded one, to the byte."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import bazaar
import pytest
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.gateway.adapters.encoding import ProtoEncoder
from services.gateway.adapters.explanation import explanation
from services.gateway.adapters.recollection import recalling
from services.gateway.domain.remaking import finished, remaking

WORLDS = 80


def decided(seed, head):
    """Let a shop decide in a world of its own; return the shop, the answer and its log entry."""
    rng = random.Random(f"{head} {seed}")
    shop = bazaar.shop(rng, head)
    if rng.random() < 0.6:
        asyncio.run(shop.deciding(bazaar.request(rng, shop)))
        shop.now += bazaar.timedelta(minutes=rng.randrange(60))
    bazaar.break_something(rng, shop)
    answer = asyncio.run(shop.deciding(bazaar.request(rng, shop)))
    (entry,) = (one for one in shop.log.entries.values() if one.decision_id == answer.decision_id)
    return shop, answer, entry


def told_again(shop, entry):
    """Return the story of a decision whose record has lost its explanation, if it had one."""
    shop.log.entries[entry.live, entry.decision_id] = replace(entry, record=entry.without_trace)
    return shop.explain(entry.decision_id)


def to_bytes(message):
    return message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("head", range(len(bazaar.HEADS)))
def test_a_remade_decision_is_answered_and_logged_as_the_recorded_one(head):
    for seed in range(WORLDS):
        shop, answer, entry = decided(seed, head)
        record = log_pb.DecisionRecord.FromString(entry.without_trace)
        again = finished(remaking(shop.edition, finished(recalling(record, shop.edition))))
        encoder = ProtoEncoder(record.request, record.caller, *shop.edition)
        encoded = encoder.encode(again, entry.record_time)
        assert to_bytes(encoded.response) == to_bytes(answer), seed
        assert to_bytes(log_pb.DecisionRecord.FromString(encoded.record)) == to_bytes(
            log_pb.DecisionRecord.FromString(entry.record)
        ), seed


@pytest.mark.parametrize("head", range(len(bazaar.HEADS)))
def test_a_story_is_the_answer_with_the_explanation_that_it_would_have_had(head):
    for seed in range(WORLDS):
        shop, answer, entry = decided(seed, head)
        made, _ = shop.decided[-1]
        answer.explanation.CopyFrom(explanation(made, shop.edition.playbook))
        assert to_bytes(told_again(shop, entry).response) == to_bytes(answer), seed


def test_the_worlds_try_all_that_a_decision_can_do():
    removed, levels, codes, seen = Counter(), Counter(), Counter(), Counter()
    for head in range(len(bazaar.HEADS)):
        for seed in range(WORLDS):
            shop, answer, entry = decided(seed, head)
            record = log_pb.DecisionRecord.FromString(entry.record)
            told = told_again(shop, entry).response
            traces = told.explanation.candidates
            removed.update((trace.removed_stage, trace.removed_rule) for trace in traces)
            levels[pb.ServedBy.Name(answer.served_by)] += 1
            codes.update(r.code for a in answer.actions for r in a.reasons)
            codes.update(r.code for r in answer.reasons)
            seen.update(log_pb.Verdict.Name(withheld.verdict) for withheld in record.withheld)
            seen.update(f"factor {factor.name}" for trace in traces for factor in trace.factors)
            seen.update(f"moved by {name}" for trace in traces for name in trace.moved_by)
            seen.update(f"zone of {told.explanation.time_zone_source}" for _ in traces)
            seen.update(f"arm {answer.control_arm}" for _ in traces)
            seen["bundle"] += any(action.bundle for action in answer.actions)
            seen["nearest change"] += told.explanation.HasField("nearest_change")
            seen["failed rule"] += any("divide by zero" in trace.removed_text for trace in traces)
    rules = shop.edition.playbook.rules.rules
    policies = {(rule.section, rule.rule.name) for rule in rules if hasattr(rule.rule, "when")}
    stages = {"eligibility", "applicability", "suitability", "suppression"}
    assert {found for found in policies if found[0] in stages} <= removed.keys()
    assert {stage for stage, _ in removed} >= {*stages, "consent", "place", "content", "arm", "arbitration"}
    assert levels.keys() == set(pb.ServedBy.keys()) - {"SERVED_BY_UNSPECIFIED"}
    assert codes.keys() >= {"WHY", "PRIOR", "MANDATORY", "DEFAULT", "WEIGHT", "LEVER", "MEASURE", "EXPLORED"}
    assert codes["PROMISE"]
    assert codes.keys() >= {"BUNDLE", "LATER", "CONTROL_ARM", "UNKNOWN_CUSTOMER", "DEGRADED", "NO_CONSENT"}
    assert seen.keys() >= set(log_pb.Verdict.keys()) - {"VERDICT_UNSPECIFIED"}
    assert {f"arm {arm}" for head in bazaar.HEADS for arm in head.get("control_arms", ())} <= seen.keys()
    factors = {f"factor {name}" for name in ("basket", "gossip", "loyal", "cheap", "push", "veto", "delight")}
    factors |= {"factor shipment", "factor welcome"}
    assert seen.keys() >= factors
    assert seen.keys() >= {f"moved by {name}" for name in ("night", "evening", "morning", "device")}
    assert seen.keys() >= {f"zone of {what}" for what in ("request", "profile", "country", "playbook")}
    assert seen["bundle"]
    assert seen["nearest change"]
    assert seen["failed rule"]


def test_what_is_borrowed_is_in_no_record_and_no_story():
    for seed in range(WORLDS):
        shop, _, entry = decided(seed, 0)
        text = str(told_again(shop, entry)) + str(log_pb.DecisionRecord.FromString(entry.record))
        assert str(bazaar.BORROWED_NUMBER) not in text
        assert str(bazaar.BORROWED_MOOD) not in text


def test_a_borrowed_value_leaves_no_digest_that_could_be_guessed():
    """Two requests that differ by it alone are the same."""
    shop = bazaar.shop(random.Random(7))
    asked = bazaar.request(random.Random(7), shop)
    asked.request_id = "twice"
    asked.context.attributes["mood"].number_value = 1
    first = asyncio.run(shop.deciding(asked))
    asked.context.attributes["mood"].number_value = bazaar.BORROWED_MOOD
    assert asyncio.run(shop.deciding(asked)) == first
    assert len(shop.log.entries) == 1
