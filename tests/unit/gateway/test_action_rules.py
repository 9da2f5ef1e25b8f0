"""Rules read an action's attributes as their declared types, however the file writes the number."""

import pytest
from deciding import FILES

from services.engine.playbook.loader import load
from services.gateway.domain import funnel
from services.gateway.domain.decision import Fate


@pytest.mark.parametrize("written", ["10", "10.0", "1e1"])
def test_a_whole_number_is_whole_however_it_is_written(tmp_path, written):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("discount: 10 }", f"discount: {written} }}"))
    rule = "eligibility: [{name: small, text: Small ones only., when: action.discount % 2 == 0}]"
    (tmp_path / "policies.yaml").write_text(rule)
    playbook = load(tmp_path)
    action = playbook.actions["bread-coupon"]
    fate = Fate(
        action_id="bread-coupon",
        action=action,
        treatment_id="letter",
        treatment=action.treatments["letter"],
    )
    funnel.apply_engagement_policy(playbook, [fate], {}, lambda _: {})
    assert fate.removal is None
