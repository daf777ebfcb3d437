"""Bodies and answers of the API of dead letters."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from penstock.workers.sidecar.api.bodies import Body, Reason, ReasonText, Shown, StorableText


def _plausible(moment: datetime) -> datetime:
    # Beyond, another offset can have no such year.
    if not 2000 <= moment.year <= 3000:
        raise ValueError("the year is not within 2000 and 3000")
    return moment


#: The parameters that a list of letters takes, each once; `payload` may be a list.
FilterBody = dict[str, str | list[str]]

_ID = "6f1f0f6e-3c1b-8a52-9d3e-0d5f0a4e7b11"
_LETTER: dict[str, Any] = {
    "id": _ID,
    "job_id": "0b7e8a52-1f0c-85d4-8c3e-1f4f5b6a7c8d",
    "kind": "submission_batch.write",
    "queue": "submissions",
    "tenant": "default",
    "code": "FORM_NOT_FOUND",
    "message": "there is no form 'wildlife'",
    "error": None,
    "attempts": 1,
    "died_at": "2026-11-21T03:12:07.123000Z",
    "group": "3f9a6f0c2b7d1e84",
    "state": "open",
    "became": None,
    "form": "wildlife",
    "platform": None,
    "account": None,
    "release": "0.1.0",
    "message_bytes": 48_211,
}


class LetterOf(BaseModel):
    """A dead letter: one death of one job."""

    model_config = ConfigDict(json_schema_extra={"example": _LETTER})

    id: UUID
    job_id: UUID
    kind: str
    queue: str
    tenant: str
    code: str
    message: str
    error: str | None
    attempts: int
    died_at: datetime
    group: str
    state: str = Field(description="open, requeued or discarded")
    became: str | None = Field(description="of a requeued one: waiting, done or died")
    form: str | None
    platform: str | None
    account: str | None
    release: str
    message_bytes: int


class LettersPage(Shown):
    """A page of letters, the newest first."""

    items: list[LetterOf]
    next: str | None


class LetterWhole(LetterOf):
    """All that is known of one, its payload redacted."""

    recoveries: int
    crashes: int
    postpones: int
    payload_version: int
    idempotency_key: str | None
    enqueued_at: datetime
    archived_at: datetime
    worker: str
    trace_id: str | None
    history: list[dict[str, Any]]
    resolved_at: datetime | None
    resolved_by: str | None
    resolution_reason: str | None
    replay_id: UUID | None
    edited: list[dict[str, Any]] | None
    sentry_id: str | None
    readable: bool
    other_deaths: list[LetterOf]
    remedy: str | None
    payload: Any = Field(description="without what is sensitive; null where it can't be read")


class GroupOf(BaseModel):
    """Letters that died of the same."""

    group: str
    kind: str
    code: str
    error: str | None
    sample_message: str
    site: str | None
    first_seen: datetime
    last_seen: datetime
    total: int
    open: int
    requeued: int
    healed: int
    discarded: int
    first_release: str
    last_release: str
    note: str | None
    snoozed_until: datetime | None
    snoozed_open: int | None = Field(description="open letters when it was snoozed; twice as many wake it")
    sentry_id: str | None
    remedy: str | None


class GroupsPage(Shown):
    """A page of groups."""

    items: list[GroupOf]
    next: str | None


class AffectedOf(BaseModel):
    """One that a group is about, and its letters."""

    value: str
    total: int
    open: int


class HourOf(BaseModel):
    """Deaths within an hour."""

    hour: datetime
    died: int


class GroupWhole(Shown, GroupOf):
    """A group, who is affected, and when."""

    subjects: Mapping[str, list[AffectedOf]]
    hours: list[HourOf]
    releases: list[AffectedOf]


class Requeue(Reason):
    """Why, and the payload that is to go in the place of the letter's own."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "the form is there now"}})

    payload: dict[str, Any] | str | None = Field(
        default=None, description="of the kind's present version; as a text of JSON numbers stay as they are written"
    )
    dry_run: bool = Field(
        default=False, strict=True, description="judge the payload and tell the difference, and send nothing"
    )


class Requeued(BaseModel):
    """What came of it. `requeued` is false where `skipped` says why not, and in a dry run."""

    model_config = ConfigDict(json_schema_extra={"example": {"id": _ID, "requeued": True, "skipped": None}})

    id: UUID
    requeued: bool
    skipped: str | None
    difference: list[dict[str, str | None]] | None = Field(default=None, description="by path, without values")


class DiscardMany(Reason):
    """Letters by id or by filter: the parameters that the list takes."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"filter": {"code": "FORM_NOT_FOUND"}, "reason": "a test form"}}
    )

    ids: list[UUID] | None = Field(default=None, min_length=1, max_length=1_000)
    filter: FilterBody | None = None
    dry_run: bool = Field(default=False, strict=True)


class Discarded(BaseModel):
    """How many letters were discarded, or would be."""

    count: int
    exact: bool = Field(default=True, description="false where a dry run stopped counting")
    dry_run: bool


class Revealed(BaseModel):
    """A payload as its producer wrote it."""

    id: UUID
    payload: Any
    text: str | None = Field(default=None, description="in the place of a payload that is no JSON")


class Annotation(Body):
    """A note on a group, until when it is put off, or both; null takes away what is there."""

    reason: ReasonText
    note: StorableText | None = Field(default=None, max_length=2_000)
    snoozed_until: Annotated[AwareDatetime, AfterValidator(_plausible)] | None = None
