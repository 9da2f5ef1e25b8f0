"""``tact playbook diff --model``: the champion of a registry scores what the log has no score of."""

import asyncio
import random
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from deciding import EVERYTHING, FILES, LAYOUT, NOW, Shop, feature_set, request
from differing import Log, diff
from worlds import MODEL, register_model

from services.cli.diff.champion import open_champion
from services.cli.diff.chances import Source
from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.engine.playbook.loader import load
from services.gateway.domain.knowledge import Model, Profile
from services.gateway.domain.making import Edition
from services.gateway.fakes import InMemoryFeatures, InMemoryProfiles, InMemoryScorer
from services.scoring.adapters.lightgbm_booster import LightgbmBooster
from services.scoring.domain.bundle import FILES as BUNDLE
from services.scoring.follower import prove


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry with a champion, and its bundle."""
    folder = tmp_path_factory.mktemp("registry")
    return register_model(folder), {name: (folder / "bundle" / name).read_bytes() for name in BUNDLE}


def shop_where(wine_from):
    """Load the shop, where wine is for those of that age."""
    with tempfile.TemporaryDirectory() as name:
        for file, text in FILES.items():
            changed = text.replace("profile.age >= 18", f"profile.age >= {wine_from}")
            (Path(name) / file).write_text(changed, encoding="utf-8")
        playbook = load(Path(name))
    return Edition(playbook, FeatureSet(playbook))


def decided(by, model):
    """Decide about a hundred worlds, the same for every playbook."""
    layout = tuple(feature_set().layout(LAYOUT))
    described = Model(
        version="1", fingerprint=fingerprint(layout), layout=layout, priors={"offers": 0.4}, overall_prior=0.4
    )
    rng = random.Random(3)
    shop = Shop(
        edition=by,
        profiles=InMemoryProfiles(),
        features=InMemoryFeatures(),
        scorer=InMemoryScorer(
            model=described,
            score_row=lambda customer, row: float(model.scores(np.array([[*customer, *row]]))[0]),
        ),
    )

    async def decide():
        for number in range(100):
            customer_id = f"customer-{number % 30}"
            shop.now = NOW + timedelta(hours=number)
            shop.profiles.profiles[customer_id] = Profile(
                customer_id=customer_id,
                attributes={"age": rng.randrange(16, 90), "segment": rng.choice(["new", "gold"])},
                permissions=EVERYTHING,
            )
            shop.features.customer = {
                name: rng.choice([0.5, 1.75, 3.0]) for name in by.feature_set.customer_names
            }
            shop.features.per_action = {
                action_id: {"liking": rng.choice([0.25, 1.5, 2.0])} for action_id in by.playbook.actions
            }
            await shop.deciding(request(customer_id, at=shop.now, mode=2, request_id=f"r-{number}"))

    asyncio.run(decide())
    return Log(decided_by=by, shop=shop)


def test_the_champion_scores_as_it_would_have_scored_then(registry, monkeypatch):
    uri, files = registry
    monkeypatch.setenv("TACT_SCORING_TRACKING_URI", uri)
    monkeypatch.setenv("TACT_SCORING_MODEL_NAME", MODEL)
    champion, model = open_champion(), prove(files, LightgbmBooster)
    strict, usual = shop_where(118), shop_where(18)
    assert champion.obstacle(usual) == ""
    comparison = diff(decided(strict, model), strict, usual, scorers=(champion, champion))
    expected = decided(usual, model).records
    assert comparison.by_new.sources[Source.MODEL] > 50
    assert set(comparison.by_old.sources) == {Source.RECORDED}
    assert all(row.agrees for row in comparison.rows)
    for row, record in zip(comparison.rows, expected, strict=True):
        answered = [(one.action_id, one.treatment_id, one.propensity) for one in record.response.actions]
        assert [pick[:2] for pick in row.new.picks] == [one[:2] for one in answered]
        assert [pick.propensity for pick in row.new.picks] == pytest.approx([one[2] for one in answered])


def test_a_champion_of_other_features_is_not_asked(registry, monkeypatch):
    uri, _ = registry
    monkeypatch.setenv("TACT_SCORING_TRACKING_URI", uri)
    monkeypatch.setenv("TACT_SCORING_MODEL_NAME", MODEL)
    with tempfile.TemporaryDirectory() as name:
        for file, text in FILES.items():
            (Path(name) / file).write_text(text.replace("window: 30d", "window: 31d"), encoding="utf-8")
        playbook = load(Path(name))
    obstacle = open_champion().obstacle(Edition(playbook, FeatureSet(playbook)))
    assert obstacle == 'feature "spend_30d" was redefined since the model was trained'
