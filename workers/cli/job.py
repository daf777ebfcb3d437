"""`penstock job`: one job."""

import uuid
from datetime import datetime
from typing import Any

import click

from penstock.producers.queue.connection import connect
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.job_view import JobView
from penstock.schemas.errors import Code, NotFoundError
from penstock.workers.cli.environment import producer_settings
from penstock.workers.cli.output import emit, json_option

#: Entries of the history that a person is shown.
_HISTORY_SHOWN = 20
_TOLD_APART = frozenset({"at", "outcome", "traceback"})


@click.group(epilog="Example: penstock job show 0198c3f2-5f0e-7c5e-9d0e-6f5b8f0c4a11")
def job() -> None:
    """Jobs: where one stands, and why."""


@job.command(epilog="Example: penstock job show 0198c3f2-5f0e-7c5e-9d0e-6f5b8f0c4a11 --json")
@click.argument("job_id", metavar="ID", type=click.UUID)
@json_option
def show(job_id: uuid.UUID, as_json: bool) -> None:
    """Show a job: its state, its place, what blocks it, when it can run, its attempts. Never its payload."""
    settings = producer_settings()
    with connect(settings.redis_url) as client:
        view = QueueInspector(client, settings.namespace).find(job_id)
    if view is None:
        raise NotFoundError(Code.JOB_NOT_FOUND, f"no queue knows the job {job_id}: it never was, or is done long ago")
    emit(view.as_dict(), as_json, lambda: _tell(view))


def _tell(view: JobView) -> str:
    lines = [f"{view.job_id}: {view.state} in {view.queue}{_moment(' since', view.since)}"]
    lines.append(f"  {view.kind}, tenant {view.tenant}{_moment(', enqueued', view.enqueued_at)}")
    lines += [f"  {line}" for line in (*_waiting(view), *_held(view), _counted(view)) if line]
    if view.code is not None:
        lines += [f"  last failure: {view.code}: {view.message or ''}", f"    {view.remedy or ''}"]
    if view.history:
        lines += ["", "history", *(f"  {_entry(entry)}" for entry in view.history[-_HISTORY_SHOWN:])]
    return "\n".join(line.rstrip() for line in lines)


def _moment(words: str, moment: datetime | None) -> str:
    return "" if moment is None else f"{words} {moment.isoformat(timespec='seconds')}"


def _waiting(view: JobView) -> list[str]:
    told = []
    if view.place is not None and view.state != "dead":
        ahead = "" if view.ahead is None else f", about {view.ahead:,} jobs of all tenants go before it"
        told.append(f"place {view.place:,}{ahead}")
    if view.blocked_by is not None:
        told.append(f"blocked by {view.blocked_by}")
    if view.eligible_at is not None:
        told.append(_moment("can run at", view.eligible_at))
    elif view.state == "ready" and view.blocked_by is None:
        told.append("can run now")
    return told


def _held(view: JobView) -> list[str]:
    worker = view.worker
    if worker is None:
        return []
    where = f" (process {worker.pid} on {worker.host}, release {worker.release})" if worker.host else ""
    return [f"held by the worker {worker.boot}{where}", _moment("which is believed alive until", worker.lives_until)]


def _counted(view: JobView) -> str:
    told = [f"failed attempts {view.attempts}"]
    if view.recoveries:
        told.append(f"lost with a worker {view.recoveries} ({view.crashes} while it ran), last: {view.cause}")
    if view.postpones:
        told.append(f"postponed {view.postpones}{_moment(', first', view.postponed_at)}")
    if view.parked_at is not None:
        told.append(_moment("first parked", view.parked_at))
    return "; ".join(told)


def _entry(entry: dict[str, Any]) -> str:
    said = {name: value for name, value in entry.items() if name not in _TOLD_APART and value is not None}
    if entry.get("traceback"):
        # A person wants the place; `--json` has all the frames.
        said["raised at"] = entry["traceback"][-1]
    rest = [f"{name} {value}" for name, value in said.items()]
    return f"{entry.get('at', '')}  {entry.get('outcome', '')}  {', '.join(rest)}"
