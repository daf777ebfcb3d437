"""The schemas of bodies. Requests' come from the models that check them."""

from typing import Any

from pydantic import BaseModel

from penstock.schemas.forms import Form
from penstock.schemas.scheduled_post import PostState, SchedulePost
from penstock.schemas.submission_batch import Submission

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_UUID: Schema = {"type": "string", "format": "uuid"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None, told: str = "") -> Schema:
    made: Schema = {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}
    return made | ({"description": told} if told else {})


_PART = _object({"batch_id": _TEXT, "first_position": _COUNT, "rows": _COUNT, "job_id": _UUID})
_ACCEPTED = _object(
    {
        "form_id": _TEXT,
        "idempotency_key": {**_TEXT, "description": "the one that was sent, or a new one: send again with it"},
        "base_batch_id": _TEXT,
        "durability": {"enum": ["redis", "postgres"]},
        "rows": _COUNT,
        "batch_count": _COUNT,
        "batches": {"type": "array", "items": _PART, "description": "the first 1,000; `BASE-0001`, `BASE-0002`…"},
        "status_url": _or_null(_TEXT),
    },
    told="What was accepted: it is queued, and is stored or rejected row by row.",
)
_FAULT = _object({"code": _TEXT, "message": _TEXT}, {"at": _TEXT, "line": _COUNT, "row": _COUNT})
_PROBLEM = _object(
    {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "code": {**_TEXT, "description": "stable; docs/errors.md tells each one's cause and remedy"},
        "errors": {"type": "array", "items": _FAULT},
    },
    {
        "remedy": _TEXT,
        "instance": _TEXT,
        "request_id": _TEXT,
        "details": {"type": "object"},
        "accepted": {"$ref": "#/components/schemas/Accepted"},
        "idempotency_key": {**_TEXT, "description": "to send the same again with, where it may have been accepted"},
    },
    told="RFC 9457.",
)
_STATES = ["ready", "scheduled", "parked", "running", "done", "dead"]
_BATCH = _object(
    {"batch_id": _TEXT, "tenant": _TEXT, "state": {"enum": _STATES}},
    {
        "form_id": _or_null(_TEXT),
        "rows": _COUNT,
        "stored": _COUNT,
        "rejected": _COUNT,
        "duplicates": _COUNT,
        "erased": _COUNT,
        "faults": {"type": "object", "additionalProperties": _COUNT},
        "job_id": _UUID,
        "code": _or_null(_TEXT),
        "message": _or_null(_TEXT),
        "batches": _or_null(_COUNT),
        "batches_by_state": {"type": "object", "additionalProperties": _COUNT},
        "rows_accepted": _or_null(_COUNT),
    },
)
_REJECTION = _object({"batch_id": _TEXT, "position": _COUNT, "faults": {"type": "array", "items": {"type": "object"}}})
_POST = _object(
    {"post_id": _UUID, "tenant": _TEXT, "state": {"enum": ["accepted", *(str(state) for state in PostState)]}}
)
_CHANGED = _object({"post_id": _UUID, "state": _TEXT, "version": _COUNT, "due_at": _INSTANT})
_JOB = _object(
    {"job_id": _UUID, "queue": _TEXT, "state": {"enum": _STATES}},
    {"blocked_by": _or_null(_TEXT), "eligible_at": _or_null(_INSTANT), "attempts": _COUNT, "code": _or_null(_TEXT)},
)
_FORM = _object({"form_id": _TEXT, "version": _COUNT, "latest_version": _COUNT, "definition": {"type": "object"}})


def _page(name: str) -> Schema:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return _object({"items": items, "next": _or_null({**_TEXT, "description": "the cursor of the next page"})})


def components() -> dict[str, Schema]:
    """Every schema by name."""
    found: dict[str, Schema] = {}
    for name, model in (("FormDefinition", Form), ("Submission", Submission), ("NewPost", SchedulePost)):
        found |= _of_model(name, model)
    found["Submissions"] = _object(
        {"submissions": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Submission"}}}
    )
    found["PostChange"] = _object(
        {"due_at": _INSTANT}, {"version": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}}
    )
    for change in (found["Submissions"], found["PostChange"]):
        change["additionalProperties"] = False
    found["AppliedForm"] = _object({"form_id": _TEXT, "version": _COUNT, "created": {"type": "boolean"}})
    found["AcceptedPost"] = _object(
        {"post_id": _UUID, "job_id": _UUID, "durability": _TEXT, "status_url": _TEXT},
        {"idempotency_key": _or_null(_TEXT)},
    )
    found["Health"] = _object({"status": _TEXT}, {"checks": {"type": "array", "items": {"type": "object"}}})
    return found | {
        "Accepted": _ACCEPTED,
        "Problem": _PROBLEM,
        "Batch": _BATCH,
        "Rejection": _REJECTION,
        "Rejections": _page("Rejection"),
        "Post": _POST,
        "Posts": _page("Post"),
        "ChangedPost": _CHANGED,
        "Job": _JOB,
        "Form": _FORM,
    }


def _of_model(name: str, model: type[BaseModel]) -> dict[str, Schema]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    inner: dict[str, Schema] = schema.pop("$defs", {})
    return {**inner, name: schema}
