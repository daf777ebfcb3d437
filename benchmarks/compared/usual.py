"""A batch as most people write it: a pydantic model made of the form, `model_dump`, and `executemany`."""

import json
import os
from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import uuid4

from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, create_model

from benchmarks.compared.work import COLUMNS, FORM_KEY, LEDGER, connection, ledger_row
from penstock.workers.demo import FORM_FILE, FORM_ID

_INSERT = (
    f"INSERT INTO penstock.submissions ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, NULL, %s) ON CONFLICT DO NOTHING"
)


def _model() -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for question in json.loads(FORM_FILE.read_bytes())["questions"]:
        kind, rule = _question(question)
        required = question["required"]
        fields[question["id"]] = (kind, Field(..., **rule)) if required else (kind | None, Field(None, **rule))
    return create_model("Answers", __config__=ConfigDict(extra="forbid"), **fields)


def _question(question: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    match question["type"]:
        case "text":
            return str, {"min_length": 1, "max_length": 1_000}
        case "date":
            return date, {}
        case "number":
            return float, {"ge": question["min"]}
        case _:
            return Literal[tuple(question["options"])], {}


_Answers = _model()


def batch_of_dicts(batch_id: str, rows: list[dict[str, Any]]) -> None:
    """Check a batch and store it, once."""
    form_key = int(os.environ[FORM_KEY])
    answers = [_Answers.model_validate(row["answers"]).model_dump(mode="json", exclude_none=True) for row in rows]
    own, now = connection(), datetime.now(UTC)
    with own.transaction(), own.cursor() as cursor:
        if cursor.execute(LEDGER, ledger_row(batch_id, len(rows), form_key)).rowcount:
            values = [(now, now, uuid4(), form_key, batch_id, FORM_ID, Jsonb(one)) for one in answers]
            cursor.executemany(_INSERT, values)
