"""Dead letters: lists, groups, one of them, and what operators decide."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.dead_letters.editing import propose
from penstock.workers.dead_letters.exporting import export
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.group_filters import GroupFilter
from penstock.workers.dead_letters.groups import GroupOrder, Keep
from penstock.workers.dead_letters.letters import LetterState
from penstock.workers.dead_letters.payloads import Payloads, read_json
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.access.require import AsOperator, AsViewer, require
from penstock.workers.sidecar.api.bodies import Reason
from penstock.workers.sidecar.api.letter_bodies import (
    Annotation,
    Discarded,
    DiscardMany,
    GroupOf,
    GroupsPage,
    GroupWhole,
    LettersPage,
    LetterWhole,
    Requeue,
    Requeued,
    Revealed,
)
from penstock.workers.sidecar.services import Services, ServicesOf

router = APIRouter(prefix="/api/v1", tags=["dead letters"])

#: Who may see what is redacted, with a reason that is recorded, and write contents anew.
REVEALS = Role.ADMIN

Word = Annotated[str | None, Query(max_length=500)]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=1_000)]
Fingerprint = Annotated[str, Path(pattern="^[0-9a-f]{16}$", examples=["3f9a6f0c2b7d1e84"])]


def letter_filter(
    request: Request,
    _kind: Annotated[str | None, Query(alias="kind", max_length=500)] = None,
    _code: Annotated[str | None, Query(alias="code", max_length=500)] = None,
    _queue: Annotated[str | None, Query(alias="queue", max_length=500)] = None,
    _platform: Annotated[str | None, Query(alias="platform", max_length=500)] = None,
    _form: Annotated[str | None, Query(alias="form", max_length=500)] = None,
    _account: Annotated[str | None, Query(alias="account", max_length=500)] = None,
    _tenant: Annotated[str | None, Query(alias="tenant", max_length=500)] = None,
    _group: Annotated[str | None, Query(alias="group", max_length=500)] = None,
    _state: Annotated[str | None, Query(alias="state", description="open, requeued, discarded or any")] = None,
    _became: Annotated[str | None, Query(alias="became", description="waiting, done or died")] = None,
    _since: Annotated[str | None, Query(alias="since", description="RFC 3339, or 30m, 6h, 7d for so long ago")] = None,
    _until: Annotated[str | None, Query(alias="until", description="as since")] = None,
    _job: Annotated[str | None, Query(alias="job_id")] = None,
    _payload: Annotated[list[str] | None, Query(alias="payload", description="form_id=poll, several times")] = None,
    _text: Annotated[str | None, Query(alias="text", description="words in code, message, ids and subjects")] = None,
) -> LetterFilter:
    """The filter of the address; its parameters stand here for whoever reads the description of the API."""
    query = request.query_params
    return LetterFilter.parse({name: query.getlist(name) for name in query})


Chosen = Annotated[LetterFilter, Depends(letter_filter)]


@router.get("/dead-letters", response_model=LettersPage)
def list_letters(
    services: ServicesOf, _viewer: AsViewer, chosen: Chosen, limit: Limit = 50, cursor: Cursor = None
) -> dict[str, object]:
    """Dead letters, the newest first; open ones unless `state` says otherwise."""
    name = ("dead letters", chosen, limit, cursor)
    answer = services.known.read(name, lambda: services.letters.list(chosen, limit=limit, cursor=cursor))
    return {"items": [one.as_dict() for one in answer.value.items], "next": answer.value.next, **answer.as_dict()}


@router.get("/dead-letters/groups", response_model=GroupsPage)
def list_groups(
    request: Request,
    services: ServicesOf,
    _viewer: AsViewer,
    limit: Limit = 50,
    cursor: Cursor = None,
    order: GroupOrder = GroupOrder.OPEN,
) -> dict[str, object]:
    """Groups, those with most open letters first; filters are kind, code, state, form, account, platform, tenant."""
    query = request.query_params
    chosen = GroupFilter.parse({name: query.getlist(name) for name in query})
    name = ("dead letter groups", chosen, limit, cursor, order)
    answer = services.known.read(name, lambda: services.groups.list(chosen, limit=limit, cursor=cursor, order=order))
    return {"items": [one.as_dict() for one in answer.value.items], "next": answer.value.next, **answer.as_dict()}


@router.get("/dead-letters/groups/{fingerprint}", response_model=GroupWhole)
def show_group(fingerprint: Fingerprint, services: ServicesOf, _viewer: AsViewer) -> dict[str, object]:
    """A group: whom it hurts, since when, and by which release."""
    answer = services.known.read(("dead letter group", fingerprint), lambda: services.groups.show(fingerprint))
    return {**answer.value.as_dict(), **answer.as_dict()}


@router.post("/dead-letters/groups/{fingerprint}/note", response_model=GroupOf)
def annotate(
    fingerprint: Fingerprint, body: Annotation, services: ServicesOf, operator: AsOperator
) -> dict[str, object]:
    """Note something on a group, or put it off for a while. What is not given stays as it is."""
    told = body.model_fields_set
    note = body.note if "note" in told else Keep.AS_IT_IS
    snoozed = body.snoozed_until if "snoozed_until" in told else Keep.AS_IT_IS
    found = services.groups.annotate(fingerprint, operator.name, body.reason, note=note, snoozed_until=snoozed)
    return found.as_dict()


@router.get(
    "/dead-letters/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "one letter a line, oldest first"}},
)
def export_letters(services: ServicesOf, _viewer: AsViewer, chosen: Chosen) -> StreamingResponse:
    """All letters that the filter means as JSON lines, oldest first, payloads redacted."""
    found = export(services.letters, services.transactions, chosen)
    # The first one before the answer begins, so that what can't be answered is refused.
    first = [letter for letter in [next(found, None)] if letter is not None]
    headers = {"Content-Disposition": 'attachment; filename="dead-letters.jsonl"'}
    return StreamingResponse(_lines(chain(first, found)), media_type="application/x-ndjson", headers=headers)


def _lines(letters: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    # A payload can hold an unpaired surrogate, which only an escape can tell.
    return (json.dumps(letter).encode() + b"\n" for letter in letters)


@router.post("/dead-letters/discard", response_model=Discarded)
def discard_many(body: DiscardMany, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Close open letters without giving their jobs a new life; with `dry_run` tell how many it would be."""
    if (body.ids is None) == (body.filter is None):
        raise InvalidInputError(Code.REQUEST_INVALID, "give ids or a filter, one of the two")
    chosen = None if body.filter is None else LetterFilter.parse(body.filter, also=())
    if chosen is not None and chosen.state is not LetterState.OPEN:
        raise InvalidInputError(Code.REQUEST_INVALID, "only open letters can be discarded; leave the state out")
    if body.dry_run:
        return _would_discard(services, body.ids or [], chosen)
    count = services.decisions.discard(body.ids or [] if chosen is None else chosen, operator.name, body.reason)
    return {"count": count, "dry_run": False}


def _would_discard(services: Services, ids: list[UUID], chosen: LetterFilter | None) -> dict[str, object]:
    if chosen is not None:
        counted = services.letters.count(chosen)
        return {"count": counted.n, "exact": counted.exact, "dry_run": True}
    open_ones = [one for one in set(ids) if services.letters.show(one).letter.state is LetterState.OPEN]
    return {"count": len(open_ones), "dry_run": True}


@router.get("/dead-letters/{dead_id}", response_model=LetterWhole)
def show_letter(dead_id: UUID, services: ServicesOf, _viewer: AsViewer) -> Response:
    """All that is known of one, its payload redacted."""
    detail = services.letters.show(dead_id)
    return _json(detail.as_dict() | {"payload": _payloads(services).redacted(dead_id, detail.letter.kind)})


@router.post("/dead-letters/{dead_id}/requeue", response_model=Requeued)
def requeue(
    dead_id: UUID, body: Requeue, request: Request, services: ServicesOf, operator: AsOperator
) -> dict[str, object]:
    """Give its job a new life, with another payload perhaps (an admin's to give). Twice at once, it runs once."""
    if body.payload is not None:
        require(request, REVEALS)
    detail = services.letters.show(dead_id)
    edit = None
    if body.payload is not None:
        # Escaped, so that an unpaired surrogate is judged and not stumbled over.
        text = body.payload if isinstance(body.payload, str) else json.dumps(body.payload)
        before = services.letters.payload(dead_id)
        edit = propose(detail, before, text.encode(errors="replace"), limits=services.settings.limits)
    difference = None if edit is None else list(edit.difference)
    if body.dry_run:
        return {"id": dead_id, "requeued": False, "skipped": None, "difference": difference}
    decided = services.decisions.requeue([dead_id], operator.name, body.reason, edit=edit)
    skipped = decided.skipped.get(dead_id)
    return {"id": dead_id, "requeued": bool(decided.done), "skipped": skipped, "difference": difference}


@router.post("/dead-letters/{dead_id}/discard", response_model=Discarded)
def discard(dead_id: UUID, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Close it without giving its job a new life; 0 where it was resolved before."""
    services.letters.show(dead_id)
    return {"count": services.decisions.discard([dead_id], operator.name, body.reason), "dry_run": False}


@router.post("/dead-letters/{dead_id}/reveal", response_model=Revealed)
def reveal(dead_id: UUID, body: Reason, request: Request, services: ServicesOf) -> Response:
    """The payload as its producer wrote it; who looked and why is recorded before."""
    operator = require(request, REVEALS)
    found = _payloads(services).reveal(dead_id, operator.name, body.reason)
    payload = read_json(found)
    text = found.decode(errors="replace") if payload is None else None
    return _json({"id": str(dead_id), "payload": payload, "text": text})


def _payloads(services: Services) -> Payloads:
    return Payloads(services.transactions, services.letters)


def _json(value: dict[str, Any]) -> Response:
    # A payload can hold an unpaired surrogate, which only an escape can tell.
    return Response(json.dumps(value), media_type="application/json")
