from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.playbook.schema.catalogue import Action
from services.engine.policy.consent import CLASSES_WITHOUT_CONSENT, Permission, removal

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
KEY = ("marketing", "email")


def decide(permissions, action_class="standard", at=NOW):
    action = Action.model_validate(
        {
            "group": "g",
            "class": action_class,
            "purpose": "marketing",
            "value": 1,
            "treatments": {"mail": {"channel": "email", "content": {"headline": "x"}}},
        }
    )
    found = removal(action, action.treatments["mail"], permissions, at)
    assert found is None or found.stage == "consent"
    return found and found.rule


@pytest.mark.parametrize(
    ("permissions", "rule"),
    [
        ({}, "not_given"),
        ({("marketing", "sms"): Permission(granted=True)}, "not_given"),
        ({("service", "email"): Permission(granted=True)}, "not_given"),
        ({("email", "marketing"): Permission(granted=True)}, "not_given"),
        ({KEY: Permission(granted=False)}, "refused"),
        ({KEY: Permission(granted=False, expire_time=NOW - MICROSECOND)}, "refused"),
        ({KEY: Permission(granted=True, expire_time=NOW - MICROSECOND)}, "expired"),
        ({KEY: Permission(granted=True, expire_time=NOW)}, "expired"),
        ({KEY: Permission(granted=True, expire_time=NOW + MICROSECOND)}, None),
        ({KEY: Permission(granted=True)}, None),
    ],
)
def test_only_a_granted_unexpired_consent_for_purpose_and_channel_opens_the_gate(permissions, rule):
    assert decide(permissions) == rule


@pytest.mark.parametrize("action_class", ["mandatory", "transactional"])
@pytest.mark.parametrize("permissions", [{}, {KEY: Permission(granted=False)}])
def test_mandatory_and_transactional_actions_need_no_consent(action_class, permissions):
    assert decide(permissions, action_class) is None


def test_no_other_class_goes_without_consent():
    assert {"mandatory", "transactional"} == CLASSES_WITHOUT_CONSENT
    assert decide({}, "standard") == "not_given"


def test_an_expiry_is_the_same_moment_in_every_zone():
    there = (NOW + MICROSECOND).astimezone(tz=None)
    assert decide({KEY: Permission(granted=True, expire_time=there)}) is None


PURPOSES, CHANNELS = ("marketing", "service"), ("email", "sms", "push")
PERMISSIONS = st.dictionaries(
    st.tuples(st.sampled_from(PURPOSES), st.sampled_from(CHANNELS)),
    st.builds(
        Permission,
        granted=st.booleans(),
        expire_time=st.none() | st.sampled_from([NOW - MICROSECOND, NOW, NOW + MICROSECOND]),
    ),
)


@settings(max_examples=100)
@given(PERMISSIONS)
def test_other_purposes_and_channels_never_matter(permissions):
    own = {key: permission for key, permission in permissions.items() if key == KEY}
    assert decide(permissions) == decide(own)
    granted = KEY in own and own[KEY].granted
    assert (decide(permissions) is None) == (granted and own[KEY].expire_time in (None, NOW + MICROSECOND))
