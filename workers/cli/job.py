"""`penstock job`: one job."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from penstock.producers.queue.connection import connect
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.job_view import JobView
from penstock.schemas.errors import Code, NotFoundError, PenstockError
from penstock.workers.cli.environment import environment, producer_settings, worker_settings
from penstock.workers.cli.output import emit, json_option
from penstock.workers.database.pool import open_pool
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import LetterDetail
from penstock.workers.dead_letters.search import LetterSearch

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
    """Show a job: its state, its place, what blocks it, when it can run, its attempts. Never its payload.

    What Redis does not have any more of a dead one is read from PostgreSQL, where DATABASE_URL is set.
    """
    settings = producer_settings()
    with connect(settings.redis_url) as client:
        view = QueueInspector(client, settings.namespace).find(job_id)
    letter = _latest_letter(job_id, view)
    if view is None and letter is None:
        raise NotFoundError(Code.JOB_NOT_FOUND, f"no queue knows the job {job_id}: it never was, or is done long ago")
    shown = {} if view is None else view.as_dict()
    if letter is not None:
        shown |= {"dead_letter": letter.as_dict()}
    told = [*([] if view is None else [_tell(view)]), *([] if letter is None else [_tell_letter(letter)])]
    emit(shown, as_json, lambda: "\n".join(told))


def _latest_letter(job_id: uuid.UUID, view: JobView | None) -> LetterDetail | None:
    if view is not None and not view.archived:
        return None
    try:
        with _search() as search:
            found = search.list(LetterFilter(state=None, job_id=job_id), limit=1).items if search is not None else ()
            return search.show(found[0].dead_id) if search is not None and found else None
    except PenstockError:
        # What Redis has of it is better than nothing.
        if view is None:
            raise
        return None


@contextmanager
def _search() -> Iterator[LetterSearch | None]:
    found = environment()
    if not (found.get("DATABASE_URL") or found.get("DATABASE_URL_FILE")):
        yield None
        return
    settings = worker_settings().model_copy(update={"pool_min": 1, "pool_max": 1})
    with open_pool(settings, "penstock-cli") as pool:
        yield LetterSearch(pool)


def _tell_letter(detail: LetterDetail) -> str:
    letter = detail.letter
    lines = [
        f"dead letter {letter.dead_id}: {letter.state} in {letter.queue}{_moment(', died', letter.died_at)}",
        f"  {letter.kind}, tenant {letter.tenant}, failed attempts {letter.attempts}",
        f"  {letter.code}: {letter.message}",
        f"  {detail.remedy or ''}",
        *("", "history"),
        *(f"  {_entry(entry)}" for entry in detail.history[-_HISTORY_SHOWN:]),
    ]
    return "\n".join(line.rstrip() for line in lines)


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


def _entry(entry: Mapping[str, Any]) -> str:
    said = {name: value for name, value in entry.items() if name not in _TOLD_APART and value is not None}
    if entry.get("traceback"):
        # A person wants the place; `--json` has all the frames.
        said["raised at"] = entry["traceback"][-1]
    rest = [f"{name} {value}" for name, value in said.items()]
    return f"{entry.get('at', '')}  {entry.get('outcome', '')}  {', '.join(rest)}"
