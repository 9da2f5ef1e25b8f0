"""``tact playbook check``: problems end it with 1 and go to stderr, notes do neither."""

import re

import pytest

from services.cli.__main__ import main
from services.engine.playbook.loader import shipped
from tests.theatre import FILES, write_theatre

FOLDERS = sorted(str(path) for path in shipped("retail").parent.iterdir() if path.is_dir())


def checked(capsys, *folders):
    code = main(["playbook", "check", *map(str, folders)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def test_the_shipped_playbooks_have_no_problem(capsys):
    code, out, err = checked(capsys, *FOLDERS)
    assert (code, err) == (0, [])
    for folder in FOLDERS:
        [last] = [line for line in out if line.startswith(f"{folder}: ")]
        assert re.search(r"[0-9]+ actions, .* [0-9]+ cases, version [0-9a-f]{12}$", last)
    assert all(re.match(r"[^:]+/\w+\.yaml:[0-9]+: note: ", line) or ": note: " not in line for line in out)


def test_notes_are_listed_and_are_no_failure(tmp_path, capsys):
    folder = write_theatre(tmp_path / "theatre")
    code, out, err = checked(capsys, folder)
    assert (code, err) == (0, [])
    assert [line.removeprefix(f"{folder}/") for line in out[:-1]] == [
        "actions.yaml:90: note: programme stands in only where a caller leaves out cancelled, "
        "which is in every other answer",
        'playbook.yaml:32: note: purpose "surveys": no attribute and no event needs consent to it',
    ]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {"policies": FILES["policies.yaml"].replace("profile.age >= 18", "profile.agee >= 18")},
            ["policies.yaml:4"],
        ),
        (
            {"policies": FILES["policies.yaml"].replace("feature.visits < 40.0", "profile.tier == 'patorn'")},
            ["policies.yaml:22"],
        ),
        (
            {
                "policies": FILES["policies.yaml"].replace(
                    "context.stage == 'main'", "context.stage == 'mian'"
                )
            },
            ["policies.yaml:12"],
        ),
        (
            {
                "policies": FILES["policies.yaml"].replace(
                    "profile.age >= 18", "profile.age >= 18 && profile.age < 2"
                )
            },
            ["actions.yaml:67", "policies.yaml:4"],
        ),
        ({"actions": FILES["actions.yaml"].replace("opera: 1", "oprea: 1")}, ["actions.yaml:49"]),
    ],
)
def test_problems_are_told_with_file_and_line_and_fail(tmp_path, capsys, changes, lines):
    folder = write_theatre(tmp_path / "theatre", **changes)
    fine = write_theatre(tmp_path / "fine")
    code, out, err = checked(capsys, folder, fine)
    assert code == 1
    assert [line.removeprefix(f"{folder}/").rpartition(":")[0].split(": ")[0] for line in err] == lines
    assert any(line.startswith(f"{fine}: ") for line in out)
    assert not any(line.startswith(f"{folder}: ") for line in out)


def test_what_is_wrong_with_cases_is_told_beside_what_is_wrong_with_rules(tmp_path, capsys):
    policies = FILES["policies.yaml"].replace("feature.visits < 40.0", "profile.tier == 'patorn'")
    folder = write_theatre(tmp_path / "theatre", policies=policies)
    (folder / "cases").mkdir()
    (folder / "cases" / "one.yaml").write_text("situation: x\n")
    code, _, err = checked(capsys, folder)
    assert code == 1
    assert {line.removeprefix(f"{folder}/").split(":")[0] for line in err} == {
        "policies.yaml",
        "cases/one.yaml",
    }
