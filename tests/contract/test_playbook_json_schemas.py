"""The published JSON Schemas agree with the loader: fresh, lenient to what loads, strict about keys."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from services.cli.__main__ import main
from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.json_schemas import json_schemas
from services.engine.playbook.loader import FILES, load, shipped
from services.engine.playbook.source import read
from tests.json_schema import is_valid
from tests.theatre import FILES as THEATRE
from tests.theatre import KEYS, write_theatre

FOLDER = shipped("retail").parent
SCHEMAS = {name: f"{name.removesuffix('.yaml')}.schema.json" for name in FILES}
PLAYBOOKS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def published(file):
    return json.loads((FOLDER / SCHEMAS[file]).read_text(encoding="utf-8"))


def test_the_published_schemas_are_fresh(tmp_path, capsys):
    assert main(["playbook", "schema", "--write", str(tmp_path / "fresh")]) == 0
    written = sorted((tmp_path / "fresh").iterdir())
    assert capsys.readouterr().out.split() == [str(tmp_path / "fresh" / SCHEMAS[file]) for file in FILES]
    assert [path.name for path in written] == sorted(path.name for path in FOLDER.glob("*.json"))
    for path in written:
        stale = f"{path.name} is stale: run tact playbook schema --write playbooks"
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), stale


def test_the_schemas_are_printed_by_name(capsys):
    assert main(["playbook", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schemas()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["playbook", "schema", "--write", str(tmp_path / "file")]) == 1
    assert f"{tmp_path / 'file'} cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_each_shipped_playbook_is_as_its_schema_says(playbook, file):
    assert is_valid(published(file), read(FOLDER / playbook / file, file).data)


@pytest.mark.parametrize("file", FILES)
def test_each_key_of_the_language_is_known_and_no_other(tmp_path, file):
    data = read(write_theatre(tmp_path) / file, file).data
    assert is_valid(published(file), data)
    misspelt = 0
    for path in places(data):
        if path[-1] in KEYS and not isinstance(path[-1], int):
            changed = renamed(data, path, f"{path[-1]}_")
            misspelt += 1
            assert not is_valid(published(file), changed), path
    assert misspelt > 5


def test_each_section_describes_the_keys_of_the_loader_and_allows_no_others():
    models = {model.__name__: model for model in sections(BaseModel)}
    for file, root in FILES.items():
        schema = published(file)
        for name, section in [(root.__name__, schema), *schema["$defs"].items()]:
            aliases = [field.alias or key for key, field in models[name].model_fields.items()]
            assert list(section["properties"]) == aliases
            assert section["additionalProperties"] is False
            assert section["description"].endswith(".")
            assert "``" not in section["description"]


def sections(model):
    return {model}.union(*map(sections, model.__subclasses__()))


def places(data, path=()):
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in items:
        yield (*path, step)
        yield from places(value, (*path, step))


def renamed(data, path, name):
    changed = copy.deepcopy(data)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[name] = place.pop(path[-1])
    return changed


def replaced(data, path, value):
    changed = copy.deepcopy(data)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


@pytest.fixture(scope="module")
def theatre(tmp_path_factory):
    folder = write_theatre(tmp_path_factory.mktemp("theatre"))
    return folder, {file: read(folder / file, file).data for file in THEATRE}


WORDS = sorted({row.split(":")[-1].strip(' -"[]') for text in THEATRE.values() for row in text.splitlines()})
VALUES = (
    st.sampled_from(
        [None, True, False, 0, 1, -1, 0.5, 2.0, 1e9, 10**12, [], {}, "", "7d", "99:99", "2025-02-01"]
    )
    | st.sampled_from(WORDS)
    | st.lists(st.sampled_from(WORDS), max_size=2)
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(THEATRE)), VALUES, st.data())
def test_nothing_that_loads_is_refused_by_its_schema(theatre, tmp_path_factory, file, value, data):
    folder, files = theatre
    path = data.draw(st.sampled_from([*places(files[file])]))
    changed = replaced(files[file], path, value)
    folder = write_theatre(
        tmp_path_factory.mktemp("changed"), **{file.removesuffix(".yaml"): json.dumps(changed)}
    )
    try:
        load(folder)
    except PlaybookError:
        return
    assert is_valid(published(file), changed)


WRONG = {
    "playbook.yaml": [
        *((("currency",), value) for value in ("eur", "EURO", 1)),
        *((("threshold",), value) for value in ("cheap", "1.1234567", 1e10, True, None)),
        *((("channels", "email", "delay"), value) for value in ("4 h", "h", 4, "0d")),
        *((("devices", "tablet", "hours", "from"), value) for value in ("24:00", "9:00", 540, "")),
        *((("control_arms",), value) for value in ({"holdout": 0.1}, {"hold_out": 0}, {"hold_out": 0.6})),
        *((("exploration",), value) for value in ({"method": "epsilon"}, {"method": "best"}, "epsilon")),
        (("purposes",), {}),
        (("purposes",), {"two words": {}}),
    ],
    "profile.yaml": [*((("attributes", "age", "type"), value) for value in ("int", None, 5))],
    "events.yaml": [(("events", "visit", "attributes"), {"Seats": {"type": "integer"}})],
    "features.yaml": [
        (("features", "visits", "kind"), "number"),
        (("features", "visits", "where", "genre"), 1.5),
        (("features", "paid", "attribute"), None),
    ],
    "actions.yaml": [
        *((("actions", "tickets", "valid", "from"), value) for value in ("1.1.2026", 20260101)),
        *((("groups", "offers", "outcome", "within"), value) for value in ("ever", 14)),
        (("actions", "tickets", "treatments"), {}),
        (("actions", "tickets", "minimum_propensity"), 1.1),
        (("bundles", "evening", "actions"), ["tickets"]),
    ],
    "policies.yaml": [
        (("levers", 0, "factor"), -1),
        (("eligibility", 0, "applies_to", "actions"), "dinner"),
        (("eligibility", 0, "when"), True),
        (("eligibility", 0, "text"), ""),
        (("applicability", 0, "applies_to", "classes"), ["urgent"]),
    ],
}


@pytest.mark.parametrize(
    ("file", "path", "value"), [(file, *wrong) for file, values in WRONG.items() for wrong in values]
)
def test_the_shapes_of_values_are_described(theatre, file, path, value):
    assert not is_valid(published(file), replaced(theatre[1][file], path, value))
