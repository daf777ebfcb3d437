"""`penstock queue`: what waits, and what an operator does about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import click
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.queue.counts import QueueCounts
from penstock.producers.queue.inspection import LISTED, QueueInspector
from penstock.producers.queue.records import JobState
from penstock.producers.settings import ProducerSettings
from penstock.schemas.names import Queue
from penstock.workers.cli.environment import producer_settings
from penstock.workers.cli.operator import login_name, only_tenant_option, queue_argument, reason_option, yes_option
from penstock.workers.cli.output import emit, emit_list, json_option, table
from penstock.workers.queues.control import Purgeable, QueueControl

_COLUMNS = ("queue", "ready", "scheduled", "leased", "parked", "dead", "workers", "oldest", "paused")


@click.group(epilog="Example: penstock queue pause submissions --reason 'database upgrade'")
def queue() -> None:
    """Queues: what waits where, and pauses."""


@contextmanager
def _redis() -> Iterator[tuple["redis.Redis", ProducerSettings]]:
    settings = producer_settings()
    with connect(settings.redis_url) as client:
        yield client, settings


@queue.command("list", epilog="Example: penstock queue list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the queues: jobs by place, how long the oldest is ready, workers, and who paused it."""
    with _redis() as (client, settings):
        inspector = QueueInspector(client, settings.namespace)
        found = [inspector.counts(name) for name in Queue]
    items = [counts.as_dict() if as_json else _row(counts) for counts in found]
    emit_list(items, None, as_json, _COLUMNS)


def _row(counts: QueueCounts) -> dict[str, Any]:
    paused = counts.paused and f"by {counts.paused.by}: {counts.paused.reason}"
    return counts.as_dict() | {"oldest": _age(counts.oldest_ready_age), "paused": paused}


def _age(age: timedelta | None) -> str | None:
    return None if age is None else str(timedelta(seconds=int(age.total_seconds())))


@queue.command(epilog="Example: penstock queue show submissions --state parked")
@queue_argument
@click.option("--state", type=click.Choice([str(state) for state in LISTED]), help="List the jobs that are so.")
@click.option("--after", help="Continue after this cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
@json_option
def show(queue_name: Queue, state: str | None, after: str | None, limit: int, as_json: bool) -> None:
    """Show a queue's counts and the tenants whose jobs wait, or list its jobs in one state. Never a payload."""
    with _redis() as (client, settings):
        inspector = QueueInspector(client, settings.namespace)
        if state is None:
            counts = inspector.counts(queue_name)
            emit(counts.as_dict(), as_json, lambda: _tell(counts))
            return
        page = inspector.peek(queue_name, JobState(state), limit, after)
    columns = ("job_id", "kind", "tenant", "since", "attempts", "code", "blocked_by", "due")
    emit_list([job.as_dict() for job in page.jobs], page.following, as_json, columns)


def _tell(counts: QueueCounts) -> str:
    tenants = [{"tenant": tenant, "ready": ready} for tenant, ready in counts.ready_by_tenant.items()]
    since = f"accepted {counts.accepted:,}  done {counts.done:,}  purged {counts.purged:,}"
    lines = [table([_row(counts)], _COLUMNS), "", f"since it began: {since}  discarded {counts.discarded:,}"]
    if counts.unaccounted:
        lines.append(f"{counts.unaccounted:,} job(s) unaccounted for; see: penstock reconcile")
    if counts.next_due is not None:
        lines.append(f"the next scheduled job is due at {counts.next_due.isoformat(timespec='seconds')}")
    return "\n".join([*lines, "", table(tenants, ("tenant", "ready"))] if tenants else lines)


@queue.command(epilog="Example: penstock queue pause submissions --reason 'database upgrade' --yes")
@queue_argument
@reason_option
@yes_option
@json_option
def pause(queue_name: Queue, reason: str, yes: bool, as_json: bool) -> None:
    """Stop taking jobs from a queue, on all workers at once. Jobs are still accepted, and running ones end."""
    _confirm(f"Pause the queue {queue_name}?", yes)
    with _redis() as (client, settings):
        changed = QueueControl(client, settings.namespace, login_name()).pause(queue_name, reason)
        paused = QueueInspector(client, settings.namespace).counts(queue_name).paused
    value = {"queue": queue_name, "changed": changed, "paused": paused and paused.as_dict()}
    before = f" by {paused.by}: {paused.reason}" if paused else ""
    told = f"{queue_name} is paused" if changed else f"{queue_name} was paused already{before}; nothing changed"
    emit(value, as_json, lambda: told)


@queue.command(epilog="Example: penstock queue resume submissions --reason 'the upgrade is done' --yes")
@queue_argument
@reason_option
@yes_option
@json_option
def resume(queue_name: Queue, reason: str, yes: bool, as_json: bool) -> None:
    """Take jobs from a paused queue again."""
    _confirm(f"Resume the queue {queue_name}?", yes)
    with _redis() as (client, settings):
        changed = QueueControl(client, settings.namespace, login_name()).resume(queue_name, reason)
    told = f"{queue_name} is resumed" if changed else f"{queue_name} was not paused; nothing changed"
    emit({"queue": queue_name, "changed": changed, "paused": None}, as_json, lambda: told)


@queue.command(epilog="Example: penstock queue purge submissions --state parked --reason 'sent by mistake' --yes")
@queue_argument
@click.option("--state", type=click.Choice([str(state) for state in Purgeable]), help="Only jobs that are so.")
@only_tenant_option
@reason_option
@yes_option
@json_option
def purge(queue_name: Queue, state: str | None, tenant: str | None, reason: str, yes: bool, as_json: bool) -> None:
    """Remove waiting jobs for good. Never dead letters, and never jobs that a worker holds."""
    whose = f" of the tenant {tenant}" if tenant else " of ALL tenants"
    _confirm(f"Remove the {state or 'waiting'} jobs{whose} from {queue_name}, for good?", yes)
    with _redis() as (client, settings):
        control = QueueControl(client, settings.namespace, login_name())
        removed = control.purge(queue_name, reason, Purgeable(state) if state else None, tenant)
    value = {"queue": queue_name, "removed": removed, "state": state, "tenant": tenant}
    emit(value, as_json, lambda: f"{removed:,} job(s) removed from {queue_name}")


def _confirm(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)
