"""`penstock reconcile`: is every job accounted for?"""

from contextlib import ExitStack
from datetime import timedelta

import click

from penstock.migrations.runner import require_current
from penstock.producers.queue.connection import connect
from penstock.workers.cli.environment import open_database, producer_settings, worker_settings
from penstock.workers.cli.output import emit, json_option, table
from penstock.workers.reconcile.effects import Effects
from penstock.workers.reconcile.reconciliation import OUTBOX_AGE, Reconciliation
from penstock.workers.reconcile.report import Report

#: Faults that a person is shown.
_FAULTS_SHOWN = 20


@click.command(epilog="Example: penstock reconcile --json")
@click.option("--redis-only", is_flag=True, help="Do not ask PostgreSQL for the jobs' effects.")
@json_option
def reconcile(redis_only: bool, as_json: bool) -> None:
    """Check that every job is in exactly one place: done with its effect, waiting, or dead.

    Nothing is changed, and jobs may go on moving meanwhile. The exit code is 1 where a job is unaccounted for.
    """
    with ExitStack() as stack:
        effects, outbox_age = None, OUTBOX_AGE
        if redis_only:
            settings = producer_settings()
        else:
            settings = worker = worker_settings()
            connection = stack.enter_context(open_database(worker.database_url))
            require_current(connection)
            effects = Effects(connection)
            # What the sweep is to notice first is no fault yet.
            outbox_age = max(outbox_age, 2 * timedelta(seconds=worker.outbox_sweep_seconds))
        client = stack.enter_context(connect(settings.redis_url))
        report = Reconciliation(client, settings.namespace, effects, outbox_age).run()
    emit(report.as_dict(), as_json, lambda: _tell(report))
    report.require_clean()


def _tell(report: Report) -> str:
    items = [counts.as_dict() for counts in report.counts]
    columns = (
        "queue",
        "accepted",
        "done",
        "purged",
        "discarded",
        "archived",
        "ready",
        "scheduled",
        "leased",
        "parked",
        "dead",
    )
    lines = [table(items, (*columns, "unaccounted")), ""]
    lines.append(
        f"{report.records:,} job records read, {report.looked_again:,} looked at again, {report.seconds:.1f} s"
    )
    lines.append(
        f"{report.ack_pending:,} job(s) with an effect that wait to be told done"
        if report.database
        else "PostgreSQL was not asked: whether done jobs have their effects is not known"
    )
    lines += [f"{fault.job_id}  {fault.queue or '-'}  {fault.problem}" for fault in report.faults[:_FAULTS_SHOWN]]
    if report.fault_count > _FAULTS_SHOWN:
        lines.append(f"… and {report.fault_count - _FAULTS_SHOWN:,} more; --json tells them")
    return "\n".join([*lines, "every job is accounted for"] if report.clean else lines)
