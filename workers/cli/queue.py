"""`penstock queue`: what waits, and what an operator does about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import click
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.queue.counts import Pause, QueueCounts
from penstock.producers.queue.inspection import LISTED, PeekedJob, QueueInspector
from penstock.producers.queue.records import JobState
from penstock.producers.settings import ProducerSettings
from penstock.schemas.names import Queue
from penstock.workers.cli.environment import producer_settings
from penstock.workers.cli.operator import (
    login_name,
    only_tenant_option,
    optional_queue_argument,
    queue_argument,
    reason_option,
    require_tenant,
    yes_option,
)
from penstock.workers.cli.output import emit, emit_list, json_option, table, to_the_second
from penstock.workers.cli.pausing import emit_paused, emit_resumed, pausable_options, paused_thing, told_pauses
from penstock.workers.protection.pauses import PauseControl, PausedKey, Pauses
from penstock.workers.queues.control import WEIGHT_LIMIT, Purgeable, QueueControl

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
    """List the queues: jobs by place, how long the oldest is ready, workers, pauses; and what else is paused."""
    with _redis() as (client, settings):
        inspector = QueueInspector(client, settings.namespace)
        found = [inspector.counts(name) for name in Queue]
        pauses = [one.as_dict() for one in Pauses(client, settings.namespace).list()]
    items = [counts.as_dict() if as_json else _row(counts) for counts in found]
    value = {"items": items, "next": None, "pauses": pauses}
    emit(value, as_json, lambda: "\n".join([table(items, _COLUMNS), *told_pauses(pauses)]))


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
            weights = QueueControl(client, settings.namespace, login_name()).weights(queue_name)
            emit(counts.as_dict() | {"weights": weights}, as_json, lambda: _tell(counts, weights))
            return
        page = inspector.peek(queue_name, JobState(state), limit, after)
    columns = ("job_id", "kind", "tenant", "since", "attempts", "code", "blocked_by", "due")
    emit_list([job.as_dict() if as_json else _job_row(job) for job in page.jobs], page.following, as_json, columns)


def _job_row(job: PeekedJob) -> dict[str, Any]:
    return job.as_dict() | {"since": to_the_second(job.since), "due": to_the_second(job.due)}


def _tell(counts: QueueCounts, weights: dict[str, int]) -> str:
    ready = counts.ready_by_tenant
    tenants = [
        {"tenant": tenant, "ready": ready.get(tenant, 0), "weight": weights.get(tenant, 1)}
        for tenant in dict.fromkeys([*ready, *weights])
    ]
    since = f"accepted {counts.accepted:,}  done {counts.done:,}  purged {counts.purged:,}"
    lines = [table([_row(counts)], _COLUMNS), "", f"since it began: {since}  discarded {counts.discarded:,}"]
    if counts.unaccounted:
        lines.append(f"{counts.unaccounted:,} job(s) unaccounted for; see: penstock reconcile")
    if counts.next_due is not None:
        lines.append(f"the next scheduled job is due at {counts.next_due.isoformat(timespec='seconds')}")
    return "\n".join([*lines, "", table(tenants, ("tenant", "ready", "weight"))] if tenants else lines)


@queue.command(epilog="Example: penstock queue pause --platform instagram --reason 'they are down' --yes")
@optional_queue_argument
@pausable_options
@reason_option
@yes_option
@json_option
def pause(queue_name: Queue | None, reason: str, yes: bool, as_json: bool, **names: str | None) -> None:
    """Let no job of a queue run, or of a kind, platform, account or tenant, on all workers at once.

    Jobs are still accepted, and running ones end.
    """
    key = paused_thing(queue_name, names)
    _confirm(f"Pause the queue {queue_name}?" if queue_name else f"Pause {key} in all queues?", yes)
    with _redis() as (client, settings):
        paused: PausedKey | Pause | None
        if queue_name:
            changed = QueueControl(client, settings.namespace, login_name()).pause(queue_name, reason)
            paused = QueueInspector(client, settings.namespace).counts(queue_name).paused
        else:
            changed = PauseControl(client, settings.namespace, login_name()).pause(key, reason)
            paused = next((one for one in Pauses(client, settings.namespace).list() if one.key == key), None)
    emit_paused(key, queue_name, changed, paused, as_json)


@queue.command(epilog="Example: penstock queue resume submissions --reason 'the upgrade is done' --yes")
@optional_queue_argument
@pausable_options
@reason_option
@yes_option
@json_option
def resume(queue_name: Queue | None, reason: str, yes: bool, as_json: bool, **names: str | None) -> None:
    """Let jobs of what was paused run again. Those that wait for a kind and the like go in order, 200 a second."""
    key, waiting = paused_thing(queue_name, names), 0
    _confirm(f"Resume the queue {queue_name}?" if queue_name else f"Resume {key} in all queues?", yes)
    with _redis() as (client, settings):
        if queue_name:
            changed = QueueControl(client, settings.namespace, login_name()).resume(queue_name, reason)
        else:
            changed, waiting = PauseControl(client, settings.namespace, login_name()).resume(key, reason)
    emit_resumed(key, queue_name, changed, waiting, as_json)


@queue.command(epilog="Example: penstock queue weight submissions acme 5 --reason 'their campaign' --yes")
@queue_argument
@click.argument("tenant", metavar="TENANT", callback=require_tenant)
@click.argument("weight", metavar="N", type=click.IntRange(1, WEIGHT_LIMIT))
@reason_option
@yes_option
@json_option
def weight(queue_name: Queue, tenant: str, weight: int, reason: str, yes: bool, as_json: bool) -> None:
    """Give a tenant N jobs in each of its turns while there is a backlog; 1 is what everybody has."""
    _confirm(f"Give {tenant} {weight} job(s) a turn in {queue_name}?", yes)
    with _redis() as (client, settings):
        control = QueueControl(client, settings.namespace, login_name())
        before = control.weigh(queue_name, tenant, weight, reason)
        weights = control.weights(queue_name)
    value = {"queue": queue_name, "tenant": tenant, "weight": weight, "changed": before != weight, "weights": weights}
    emit(value, as_json, lambda: f"{tenant} has {weight} job(s) a turn in {queue_name}; before: {before}")


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
