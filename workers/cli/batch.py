"""`penstock batch`: what became of a batch, and its rejected rows once more."""

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import psycopg

from penstock.producers import Producer
from penstock.producers.queue.records import JobRecord
from penstock.producers.storage.batches import (
    StoredBatch,
    batches_of_base,
    count_faults,
    find_batches,
    list_rejections,
)
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.schemas.identity import job_id
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.cli.environment import open_database, open_producer, worker_settings
from penstock.workers.cli.options import tenant_option
from penstock.workers.cli.output import emit, json_option, table
from penstock.workers.handover.files import open_submissions
from penstock.workers.handover.outcome import Tally, Waiter, require_none_dead
from penstock.workers.handover.replay import plan_replay
from penstock.workers.handover.submit import Stopwatch

#: Parts of a file that a person is shown.
_PARTS_SHOWN = 20


@click.group(epilog="Example: penstock batch show strikes-1 --rejections")
def batch() -> None:
    """Batches: what became of them, and their rejected rows once more."""


@batch.command(epilog="Example: penstock batch show strikes-1 --rejections --json")
@click.argument("batch_id", metavar="ID")
@click.option("--rejections", is_flag=True, help="Show the rejected rows, each with all its faults.")
@click.option("--after", default="", help="Continue the rejections after this cursor.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Rejections of a page.")
@tenant_option
@json_option
def show(batch_id: str, rejections: bool, after: str, limit: int, tenant: str | None, as_json: bool) -> None:
    """Show a batch, or all batches of a file where ID is what `submit --batch-id` was given."""
    settings = worker_settings()
    with ExitStack() as stack:
        producer = stack.enter_context(open_producer(settings, tenant))
        connection = stack.enter_context(open_database(settings.database_url))
        found = _find(connection, producer.tenant, batch_id)
        if not found:
            record = _record_or_raise(producer, batch_id)
            emit(_of_record(batch_id, record), as_json, lambda: _tell_record(batch_id, record))
            return
        value = _summary(connection, batch_id, found)
        if rejections:
            value["rejections"] = _page(connection, producer.tenant, found, after, limit)
    emit(value, as_json, lambda: _tell(value))


def _find(connection: psycopg.Connection, tenant: str, batch_id: str) -> list[StoredBatch]:
    exact = find_batches(connection, tenant, [batch_id])
    return list(exact.values()) or batches_of_base(connection, tenant, batch_id)


def _record_or_raise(producer: Producer, batch_id: str) -> JobRecord:
    # The first part stands for a file of which nothing is committed yet.
    ids = [job_id(producer.tenant, WriteSubmissionBatch.kind, name) for name in (batch_id, f"{batch_id}-0001")]
    records = producer.jobs(ids)
    for identity in ids:
        if identity in records:
            return records[identity]
    raise NotFoundError(Code.BATCH_NOT_FOUND, f"the tenant {producer.tenant!r} has no batch {batch_id!r}")


def _of_record(batch_id: str, record: JobRecord) -> dict[str, Any]:
    value: dict[str, Any] = {
        "batch_id": batch_id,
        "tenant": record.tenant,
        "state": str(record.state),
        "job_id": str(record.job_id),
        "changed_at": record.changed_at.isoformat(),
    }
    return value | ({"code": record.code, "message": record.message} if record.code else {})


def _tell_record(batch_id: str, record: JobRecord) -> str:
    told = f"{batch_id}: {record.state} since {record.changed_at.isoformat(timespec='seconds')}"
    return f"{told}\n  {record.code}: {record.message}" if record.code else told


def _summary(connection: psycopg.Connection, batch_id: str, found: list[StoredBatch]) -> dict[str, Any]:
    tenant = found[0].tenant
    faults = count_faults(connection, tenant, [part.batch_id for part in found])
    if len(found) == 1 and found[0].batch_id == batch_id:
        return found[0].as_dict() | {"faults": faults}
    rows = sum(part.rows for part in found)
    rejected = sum(part.rejected for part in found)
    erased = sum(part.erased for part in found)
    return {
        "batch_id": batch_id,
        "tenant": tenant,
        "form_id": found[0].form_id,
        "state": "done" if all(part.status == "done" for part in found) else "running",
        "batches": len(found),
        "rows": rows,
        "stored": sum(part.stored for part in found),
        "rejected": rejected,
        "duplicates": sum(part.duplicates for part in found),
        **({"erased": erased} if erased else {}),
        "success_rate": round((rows - rejected) / rows, 6) if rows else None,
        "rejected_unresolved": sum(part.unresolved for part in found),
        "faults": faults,
        "parts": [part.as_dict() for part in found],
    }


def _page(
    connection: psycopg.Connection, tenant: str, found: list[StoredBatch], after: str, limit: int
) -> dict[str, Any]:
    ids = [part.batch_id for part in found]
    rows = list_rejections(connection, tenant, ids, _cursor(after), limit + 1)
    page = rows[:limit]
    following = f"{page[-1].batch_id}/{page[-1].position}" if len(rows) > limit else None
    return {"items": [row.as_dict() for row in page], "next": following}


def _cursor(text: str) -> tuple[str, int]:
    if not text:
        return "", -1
    batch_id, separator, position = text.rpartition("/")
    if not separator or not position.isdecimal():
        raise InvalidInputError(Code.REQUEST_USAGE, f"{text!r} is no cursor that this command has printed")
    return batch_id, int(position)


def _tell(value: dict[str, Any]) -> str:
    lines = [
        f"{value['batch_id']}: {value['state']}, {value['rows']:,} rows of the form {value['form_id']}",
        f"  stored {value['stored']:,}  rejected {value['rejected']:,}  duplicates {value['duplicates']:,}",
    ]
    if value.get("erased"):
        lines.append(f"  erased at people's demand {value['erased']:,}")
    if value["rejected"]:
        told = ", ".join(f"{code} {count:,}" for code, count in value["faults"].items())
        lines.append(f"  rejected for: {told} ({value['rejected_unresolved']:,} rows not replayed yet)")
    if "parts" in value:
        shown = value["parts"][:_PARTS_SHOWN]
        lines += ["", table(shown, ("batch_id", "state", "rows", "stored", "rejected", "duplicates"))]
        if len(value["parts"]) > len(shown):
            lines.append(f"… and {len(value['parts']) - len(shown):,} more; --json tells all")
    if "rejections" in value:
        lines += ["", *_tell_rejections(value["rejections"])]
    return "\n".join(lines)


def _tell_rejections(page: dict[str, Any]) -> list[str]:
    lines = []
    for row in page["items"]:
        lines.append(f"{row['batch_id']} row {row['position']}")
        for fault in row["faults"]:
            where = fault["question_id"] or "row"
            lines.append(f"  {where}: {fault['code']}: {fault['message']}")
    return [*lines, f"more: --after {page['next']}"] if page["next"] else lines


@batch.command(
    "replay-rejections", epilog="Example: penstock batch replay-rejections strikes-1-0004 fixed.jsonl --wait"
)
@click.argument("batch_id", metavar="ID")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--wait", is_flag=True, help="Wait until every row is stored or rejected again.")
@click.option("--wait-seconds", type=click.FloatRange(0, min_open=True), help="Wait no longer than this.")
@tenant_option
@json_option
def replay_rejections(
    batch_id: str, file: Path, wait: bool, wait_seconds: float | None, tenant: str | None, as_json: bool
) -> None:
    """Send the corrected rows of FILE in the place of rejected rows of the batch ID.

    Each line is {"position": n, "answers": {…}}, with "batch_id" where ID names a whole file. A row whose
    rejection is resolved already is a duplicate and changes nothing.
    """
    settings = worker_settings()
    watch = Stopwatch()
    with ExitStack() as stack:
        producer = stack.enter_context(open_producer(settings, tenant))
        connection = stack.enter_context(open_database(settings.database_url))
        rows = stack.enter_context(open_submissions(file, settings.limits)).rows()
        replays = plan_replay(connection, producer.tenant, batch_id, rows, settings.limits)
        known = find_batches(connection, producer.tenant, [replay.part.batch_id for replay in replays])
        producer.enqueue_many(replay.payload for replay in replays if replay.part.batch_id not in known)
        tally = Tally(batches=len(replays))
        if wait or wait_seconds is not None:
            for replay in replays:
                if replay.part.batch_id in known:
                    tally.count_known(replay.part)
            waiting = [replay.part for replay in replays if replay.part.batch_id not in known]
            limit = None if wait_seconds is None else timedelta(seconds=wait_seconds)
            Waiter(connection, producer).wait(waiting, tally, limit, lambda _: None)
            emit(tally.as_dict(watch.seconds), as_json, lambda: _tell_tally(batch_id, tally))
            require_none_dead(tally)
            return
    names = [replay.part.batch_id for replay in replays]
    count = sum(replay.part.rows for replay in replays)
    emit({"batches": names, "rows": count}, as_json, lambda: f"{count:,} rows are queued as {', '.join(names)}")


def _tell_tally(batch_id: str, tally: Tally) -> str:
    return (
        f"{batch_id}: of the corrected rows {tally.stored:,} stored, {tally.rejected:,} rejected again,"
        f" {tally.duplicates:,} resolved before"
    )
