"""The contract as JSON Schema (draft 2020-12), for producers in other languages."""

from typing import Any

from pydantic import BaseModel

from penstock.schemas.envelope import EnvelopeHeader
from penstock.schemas.forms import Form
from penstock.schemas.job import job_kinds


def json_schemas() -> dict[str, dict[str, Any]]:
    """Each schema by name: every job kind's payload, `form` and `envelope`."""
    models: dict[str, type[BaseModel]] = {**job_kinds(), "form": Form, "envelope": EnvelopeHeader}
    return {name: _schema(name, model) for name, model in sorted(models.items())}


def _schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:penstock:{name}:1",
        **model.model_json_schema(mode="validation"),
    }
