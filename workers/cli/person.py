"""`penstock person`: one person's data exported, corrected and erased."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from penstock.schemas.errors import Code, InvalidInputError, UnavailableError
from penstock.workers.cli.environment import worker_settings
from penstock.workers.cli.operator import login_name, reason_option, yes_option
from penstock.workers.cli.options import tenant_option
from penstock.workers.cli.output import emit, emit_list, json_option, to_the_second
from penstock.workers.cli.person_correct import correct
from penstock.workers.cli.person_options import as_owner, person_options, subject_of
from penstock.workers.cli.transactions import Store, open_store
from penstock.workers.compliance.carrying_out import write_export
from penstock.workers.compliance.person import find_person
from penstock.workers.compliance.requests import Asked, Kind, PersonRequest, ask, find_request, list_requests
from penstock.workers.database.pages import read_cursor, write_cursor
from penstock.workers.erasures.digests import SubjectKeys
from penstock.workers.erasures.subjects import Subject

_COLUMNS = ("request_id", "kind", "subject_kind", "state", "phase", "asked_at", "asked_by", "ended_at")
_ORDER = "requests newest first"
_LOOK_EVERY_SECONDS = 0.2


@click.group(epilog="Example: penstock person export --email ada@example.org --output ada.zip --reason 'request 17'")
def person() -> None:
    """One person's data: export, correct and erase it. See docs/compliance.md."""


person.add_command(correct)


@person.command(epilog="Example: penstock person export --email - --output ada.zip --reason 'request 17' < address.txt")
@person_options
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A new file, which only you may read.")
@click.option("--as-job", is_flag=True, help="Have a worker write it into its PENSTOCK_PERSON_EXPORT_DIR.")
@reason_option
@tenant_option
@json_option
def export(
    output: Path | None, as_job: bool, reason: str, tenant: str | None, as_json: bool, **given: str | None
) -> None:
    """Write all that is stored of a person into a zip archive."""
    if (output is None) != as_job:
        raise InvalidInputError(Code.REQUEST_USAGE, "an export needs either --output FILE or --as-job")
    if output is not None and output.exists():
        raise InvalidInputError(Code.REQUEST_USAGE, f"{output} is there already", remedy="Name a new file.")
    request, subject = _ask("export", tenant, reason, given, by_job=as_job)
    if output is None:
        emit(request.as_dict(), as_json, lambda: _tell_asked(request))
        return
    with open_store(request.tenant) as store:
        found = store.read(lambda connection: find_person(connection, request.tenant, subject))
        manifest = write_export(store.transactions, request, found, output)
    emit({"output": str(output), **manifest}, as_json, lambda: _tell_exported(output, manifest))


@person.command(epilog="Example: penstock person erase --email ada@example.org --reason 'request 18' --yes --wait")
@person_options
@click.option("--wait", is_flag=True, help="Wait until it has ended.")
@click.option("--wait-seconds", type=click.FloatRange(0, min_open=True), help="Wait no longer than this.")
@reason_option
@yes_option
@tenant_option
@json_option
def erase(
    wait: bool,
    wait_seconds: float | None,
    reason: str,
    yes: bool,
    tenant: str | None,
    as_json: bool,
    **given: str | None,
) -> None:
    """Erase a person's data everywhere; what was enqueued before now is not stored either. It can't be undone."""
    if not yes:
        click.confirm("Erase all of this person's data for ever?", abort=True, err=True)
    request, _ = _ask("erase", tenant, reason, given, by_job=True)
    if wait or wait_seconds is not None:
        with open_store(request.tenant) as store:
            request = _await(store, request.request_id, wait_seconds)
    emit(request.as_dict(), as_json, lambda: _tell(request) if request.ended_at else _tell_asked(request))


@person.command(epilog="Example: penstock person status 0b1c…-… --json")
@click.argument("request_id", type=click.UUID)
@json_option
def status(request_id: UUID, as_json: bool) -> None:
    """How far a request is, and its receipt."""
    with open_store(None) as store:
        request = store.read(lambda connection: find_request(connection, request_id))
    emit(request.as_dict(), as_json, lambda: _tell(request))


@person.command("list", epilog="Example: penstock person list --tenant acme")
@click.option("--after", help="Continue after this cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
@tenant_option
@json_option
def list_(after: str | None, limit: int, tenant: str | None, as_json: bool) -> None:
    """List a tenant's requests, the newest first."""
    place: tuple[datetime, UUID] | None = None
    if after is not None:
        at, request_id = read_cursor(after, _ORDER, datetime, UUID)
        place = (at, request_id)
    with open_store(tenant) as store:
        found = store.read(lambda connection: list_requests(connection, store.tenant, place, limit + 1))
    last = found[limit - 1] if len(found) > limit else None
    following = None if last is None else write_cursor(_ORDER, last.asked_at, last.request_id)
    items = [request.as_dict() if as_json else _row(request) for request in found[:limit]]
    emit_list(items, following, as_json, _COLUMNS)


def _ask(
    kind: Kind, tenant: str | None, reason: str, given: dict[str, str | None], *, by_job: bool
) -> tuple[PersonRequest, Subject]:
    keys = SubjectKeys.from_setting(worker_settings().token_keys)
    with as_owner() as (connection, settings):
        of_tenant = tenant or settings.tenant
        subject = subject_of(connection, of_tenant, given)
        return ask(connection, keys, Asked(kind, of_tenant, subject, login_name(), reason, by_job)), subject


def _await(store: Store, request_id: UUID, limit_seconds: float | None) -> PersonRequest:
    ends_at = None if limit_seconds is None else time.monotonic() + limit_seconds
    while (request := store.read(lambda found: find_request(found, request_id))).ended_at is None:
        if ends_at is not None and time.monotonic() >= ends_at:
            raise UnavailableError(
                Code.REQUEST_TIMEOUT,
                f"the request {request_id} has not ended yet; it is at {request.as_dict()['phase']}",
            )
        time.sleep(_LOOK_EVERY_SECONDS)
    return request


def _tell_asked(request: PersonRequest) -> str:
    return f"asked as {request.request_id}\n  see how far it is: penstock person status {request.request_id}"


def _tell_exported(output: Path, manifest: dict[str, Any]) -> str:
    counts = ", ".join(f"{name.removesuffix('.jsonl')} {told['records']:,}" for name, told in manifest["files"].items())
    return f"{output}: {counts}"


def _tell(request: PersonRequest) -> str:
    found = request.as_dict()
    lines = [f"{request.request_id}: {request.kind} by {request.subject_kind}, {request.state}"]
    lines += [f"  asked by {request.asked_by} at {to_the_second(found['asked_at'])}: {request.reason}"]
    if request.ended_at is None:
        lines += [f"  at {found['phase']}, {found['waiting_jobs']} job(s) in queues are awaited"]
    counts = ", ".join(f"{name} {count:,}" for name, count in found["counts"].items() if count)
    lines += [f"  {counts or 'nothing was found'}"] if request.kind == "erase" else []
    mentions = (request.receipt or {}).get("mentions")
    lines += [f"  others' submissions mention the person: {', '.join(mentions)}"] if mentions else []
    return "\n".join(lines)


def _row(request: PersonRequest) -> dict[str, Any]:
    found = request.as_dict()
    return found | {name: to_the_second(found[name]) for name in ("asked_at", "ended_at")}
