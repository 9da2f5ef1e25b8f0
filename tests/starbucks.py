"""The Starbucks transcript, a playbook for it, and its features counted a second time by DuckDB."""

import json
import os
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("TACT_TEST_DATA", ROOT.parent / "shared" / "data"))
TRANSCRIPT = DATA / "starbucks_transcript.parquet"
START = 1_704_067_200_000_000
"""Hour 0 of the transcript, which has no dates: the first of 2024, in microseconds since 1970."""
HOUR = 3_600_000_000
DAY = 24 * HOUR

MAPPING = """
event_id: number
customer_id: person
type: event
types:
  offer received: offer_received
  offer viewed: offer_viewed
  offer completed: offer_completed
event_time: micros
time_unit: microseconds
attributes: { amount: amount, offer: offer_id, reward: reward }
"""
PLAYBOOK = """
name: rewards
time_zone: UTC
currency: USD
purposes: { marketing: {} }
channels: { email: {} }
"""
EVENTS = """
events:
  transaction: { attributes: { amount: { type: decimal, scale: 2 } } }
  offer_received: { attributes: { offer: { type: string } } }
  offer_viewed: { attributes: { offer: { type: string } } }
  offer_completed: { attributes: { offer: { type: string }, reward: { type: integer } } }
"""
FEATURES = """
features:
  purchases: { kind: count, event: transaction }
  purchases_3d: { kind: count, event: transaction, window: 3d }
  spend: { kind: sum, event: transaction, attribute: amount }
  spend_7d: { kind: sum, event: transaction, attribute: amount, window: 7d }
  mean_amount_14d: { kind: mean, event: transaction, attribute: amount, window: 14d }
  least_amount: { kind: min, event: transaction, attribute: amount }
  most_amount_7d: { kind: max, event: transaction, attribute: amount, window: 7d }
  first_amount: { kind: first, event: transaction, attribute: amount }
  last_amount_7d: { kind: last, event: transaction, attribute: amount, window: 7d }
  spend_rate_12h: { kind: rate, event: transaction, attribute: amount, window: 12h }
  fading_spend: { kind: decayed, event: transaction, attribute: amount, half_life: 2d }
  purchase_recency: { kind: recency, event: transaction }
  purchase_interval_14d: { kind: interval, event: transaction, window: 14d }
  offers_viewed_7d: { kind: distinct, event: offer_viewed, attribute: offer, window: 7d }
  rewards_10d: { kind: sum, event: offer_completed, attribute: reward, window: 10d }
  big_rewards: { kind: count, event: offer_completed, where: { reward: 10 } }
  unviewed: { kind: open, event: offer_received, key: offer, closed_by: [offer_viewed] }
  spend_per_purchase: { kind: expression, expression: feature.spend / feature.purchases }
  received_share: { kind: affinity, event: offer_received, by: offer, to: offer }
  views_7d: { kind: affinity, event: offer_viewed, by: offer, to: offer, measure: total, window: 7d }
"""

SERVED = """
    WITH joined AS (
        SELECT a.person, a.as_of, e.number, e.event, e.micros, e.offer_id AS offer, e.reward,
               round(e.amount * 100)::BIGINT AS cents, (a.as_of - e.micros)::BIGINT AS age
        FROM asked a LEFT JOIN events e ON e.person = a.person AND e.micros < a.as_of
    ), bought AS (
        SELECT person, as_of,
               count(*) AS purchases,
               count(*) FILTER (age <= 72 * $hour) AS purchases_3d,
               sum(cents) / 100 AS spend,
               coalesce(sum(cents) FILTER (age <= 168 * $hour), 0) / 100 AS spend_7d,
               sum(cents) FILTER (age <= 336 * $hour)
                   / (100 * count(*) FILTER (age <= 336 * $hour)) AS mean_amount_14d,
               min(cents) / 100 AS least_amount,
               max(cents) FILTER (age <= 168 * $hour) / 100 AS most_amount_7d,
               arg_min(cents, {'micros': micros, 'number': number}) / 100 AS first_amount,
               arg_max(cents, {'micros': micros, 'number': number}) FILTER (age <= 168 * $hour) / 100
                   AS last_amount_7d,
               coalesce(sum(cents) FILTER (age <= 12 * $hour), 0) * 2 / 100 AS spend_rate_12h,
               sum(cents * pow(2.0::DOUBLE, -age / (48.0::DOUBLE * $hour))) / 100 AS fading_spend,
               min(age) / (24 * $hour) AS purchase_recency,
               CASE WHEN count(*) FILTER (age <= 336 * $hour) >= 2
                    THEN (max(age) FILTER (age <= 336 * $hour) - min(age))
                         / ((24 * $hour) * (count(*) FILTER (age <= 336 * $hour) - 1)) END
                   AS purchase_interval_14d,
               sum(cents) / 100 / count(*) AS spend_per_purchase
        FROM joined WHERE event = 'transaction' GROUP BY ALL
    ), offered AS (
        SELECT person, as_of,
               count(DISTINCT offer) FILTER (event = 'offer viewed' AND age <= 168 * $hour)
                   AS offers_viewed_7d,
               sum(reward::BIGINT) FILTER (event = 'offer completed' AND age <= 240 * $hour) AS rewards_10d,
               count(*) FILTER (event = 'offer completed' AND reward = 10) AS big_rewards
        FROM joined GROUP BY ALL
    ), waiting AS (
        SELECT r.person, r.as_of, max(r.age) / 1000000 AS unviewed
        FROM joined r WHERE r.event = 'offer received' AND NOT EXISTS (
            FROM joined v
            WHERE v.person = r.person AND v.as_of = r.as_of AND v.event = 'offer viewed' AND v.offer = r.offer
                  AND (v.micros > r.micros OR (v.micros = r.micros AND v.number > r.number))
        ) GROUP BY ALL
    )
    SELECT * FROM asked
        LEFT JOIN bought USING (person, as_of)
        LEFT JOIN offered USING (person, as_of)
        LEFT JOIN waiting USING (person, as_of)
"""
PER_OFFER = """
    SELECT a.person, a.as_of, p.id AS offer,
           count(*) FILTER (e.event = 'offer received' AND e.offer_id = p.id)
               / nullif(count(*) FILTER (e.event = 'offer received'), 0) AS received_share,
           count(*) FILTER (e.event = 'offer viewed' AND e.offer_id = p.id
                            AND a.as_of - e.micros <= 168 * $hour) AS views_7d
    FROM asked a CROSS JOIN offers p LEFT JOIN events e ON e.person = a.person AND e.micros < a.as_of
    GROUP BY ALL
"""
ZERO_WITHOUT_EVENTS = {
    "purchases", "purchases_3d", "spend", "spend_7d", "spend_rate_12h", "fading_spend", "offers_viewed_7d",
    "rewards_10d", "big_rewards",
}  # fmt: skip


def portfolio():
    """Return the ids of the ten offers."""
    return [offer["id"] for offer in json.loads((DATA / "starbucks_portfolio.json").read_text())]


def write_playbook(folder):
    """Write the playbook, one action an offer; returns its folder."""
    if not TRANSCRIPT.exists():
        pytest.skip(f"{TRANSCRIPT} is not there; TACT_TEST_DATA may name its folder")
    actions = {
        f"offer_{number}": {
            "group": "offers",
            "purpose": "marketing",
            "value": 1,
            "attributes": {"offer": offer},
            "treatments": {"letter": {"channel": "email", "content": {"text": "An offer for you"}}},
        }
        for number, offer in enumerate(portfolio())
    }
    catalogue = {"attributes": {"offer": {"type": "string"}}, "groups": {"offers": {}}, "actions": actions}
    folder.mkdir()
    files = {"playbook": PLAYBOOK, "profile": "", "events": EVENTS, "features": FEATURES, "policies": ""}
    for name, text in {**files, "actions": json.dumps(catalogue)}.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def database(people=None):
    """Open a DuckDB with the tables events and offers; only the first so many people, by name."""
    duck = duckdb.connect()
    duck.execute(
        """
        CREATE TABLE events AS
        SELECT format('{:06}', row_number() OVER ()) AS number, *, $start + hour::BIGINT * $hour AS micros
        FROM read_parquet($file)
        """,
        {"start": START, "hour": HOUR, "file": str(TRANSCRIPT)},
    )
    if people is not None:
        duck.execute(
            "DELETE FROM events WHERE person NOT IN (SELECT DISTINCT person FROM events ORDER BY 1 LIMIT ?)",
            [people],
        )
    duck.execute("CREATE TABLE offers (id VARCHAR)")
    duck.executemany("INSERT INTO offers VALUES (?)", [[offer] for offer in portfolio()])
    return duck
