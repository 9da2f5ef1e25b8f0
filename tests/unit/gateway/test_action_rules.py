"""Rules read an action's attributes as their declared types, however the file writes the number."""

import pytest
from deciding import FILES

from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.loader import load
from services.engine.policy.engagement import EngagementPolicy
from services.engine.policy.verdicts import Verdicts
from services.gateway.domain.situation import action_values


@pytest.mark.parametrize("written", ["10", "10.0", "1e1"])
def test_a_whole_number_is_whole_however_it_is_written(tmp_path, written):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("discount: 10 }", f"discount: {written} }}"))
    rule = "eligibility: [{name: small, text: Small ones only., when: action.discount % 2 == 0}]"
    (tmp_path / "policies.yaml").write_text(rule)
    playbook = load(tmp_path)
    action = playbook.actions["bread-coupon"]
    values = action_values(playbook, FeatureSet(playbook), None)
    policy = EngagementPolicy(Verdicts(playbook, {}, values))
    concerning = playbook.rules.concerning("bread-coupon", action, "letter", action.treatments["letter"])
    assert policy.removal(concerning, "bread-coupon", "letter", ignores_arms=False) is None
