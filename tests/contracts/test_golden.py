"""Payloads that were sent once must parse for ever; what other languages are told must be what we do."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from docs.generate import pages
from penstock.schemas.envelope import decode_envelope
from penstock.schemas.errors import InvalidInputError
from penstock.schemas.export import json_schemas
from penstock.schemas.forms import parse_form
from penstock.schemas.job import job_kinds
from penstock.workers import actors
from penstock.workers.registry import discover

GOLDEN = Path(__file__).parent / "golden"
GOOD = sorted(GOLDEN.glob("*/good-*"))
BAD = sorted(GOLDEN.glob("*/bad-*"))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def parse(path: Path) -> Any:
    """Read a golden file with the model of its folder."""
    kind = path.parent.name
    if kind == "form":
        return parse_form(path.read_bytes())
    if kind == "envelope":
        header, payload = decode_envelope(path.read_bytes())
        return job_kinds()[header.kind].model_validate_json(payload)
    return job_kinds()[kind].model_validate_json(path.read_bytes())


def described(path: Path) -> Any:
    """The JSON that the folder's schema describes."""
    content = path.read_bytes()
    return json.loads(content.partition(b"\n")[0] if path.parent.name == "envelope" else content)


@pytest.mark.parametrize("path", GOOD, ids=name)
def test_what_was_good_stays_good(path: Path) -> None:
    parse(path)
    jsonschema.validate(described(path), json_schemas()[path.parent.name])


@pytest.mark.parametrize("path", BAD, ids=name)
def test_what_was_bad_stays_bad(path: Path) -> None:
    with pytest.raises((ValueError, InvalidInputError)):
        parse(path)


def test_every_kind_has_golden_payloads_a_schema_and_an_actor() -> None:
    # Other tests' modules, in the same process, may have kinds of their own.
    foreign = {name for name, kind in job_kinds().items() if not kind.__module__.startswith("penstock.")}
    kinds = set(job_kinds()) - foreign
    assert {path.parent.name for path in GOOD} == kinds | {"form", "envelope"} == set(json_schemas()) - foreign
    assert set(discover(actors)) == kinds


@pytest.mark.parametrize("schema", json_schemas().values(), ids=json_schemas())
def test_the_exported_schemas_are_schemas(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_the_generated_pages_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run: make docs"
