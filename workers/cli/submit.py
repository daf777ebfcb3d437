"""`penstock submit`: hand over a file of submissions."""

import os
import uuid
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import click
import psycopg

from penstock.producers import Producer
from penstock.producers.batches import SubmitOptions
from penstock.producers.patience import Patience, Waiting
from penstock.producers.spans import Parent, start_span
from penstock.schemas.errors import Code, UnavailableError
from penstock.workers.cli.environment import (
    environment,
    open_database,
    open_producer,
    producer_settings,
    worker_settings,
)
from penstock.workers.cli.options import tenant_option
from penstock.workers.cli.output import emit, json_option
from penstock.workers.cli.progress import Bar
from penstock.workers.handover.outcome import Tally, require_none_dead
from penstock.workers.handover.plan import Plan
from penstock.workers.handover.submit import Handover, Order, Reports, Stopwatch
from penstock.workers.telemetry.exporting import exporting_traces


@click.command(epilog="Example: penstock submit wildlife-strikes strikes.jsonl.gz --batch-id strikes-1 --wait")
@click.argument("form")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--batch-id", help="Names the work: the same file with the same id is the same work. Made up if absent.")
@click.option("--batch-size", type=click.IntRange(1), help="Rows of each batch; PENSTOCK_BATCH_SIZE_LIMIT by default.")
@click.option("--form-version", type=click.IntRange(1), help="Judge by this version instead of the latest.")
@click.option("--in-flight", type=click.IntRange(1, 64), default=3, show_default=True, help="Batches sent at once.")
@click.option("--wait", is_flag=True, help="Wait until every row is stored or rejected, and say how many.")
@click.option("--wait-seconds", type=click.FloatRange(0, min_open=True), help="Wait no longer than this.")
@click.option(
    "--room-seconds",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    help="Where the queue is full, wait for room so long for each batch, then give up.",
)
@tenant_option
@json_option
def submit(
    form: str,
    file: Path,
    batch_id: str | None,
    batch_size: int | None,
    form_version: int | None,
    in_flight: int,
    wait: bool,
    wait_seconds: float | None,
    room_seconds: float,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Send the rows of FILE (one JSON object a line, plain or gzip; - is standard input) as answers to FORM.

    The whole file is checked before anything is sent. An interrupted run is continued by the same command.
    """
    order = Order(
        form_id=form,
        path=file,
        batch_id=batch_id or f"batch-{uuid.uuid4()}",
        options=SubmitOptions(
            batch_size=batch_size,
            in_flight=in_flight,
            form_version=form_version,
            on_full=Patience(timedelta(seconds=room_seconds)),
        ),
        limit=None if wait_seconds is None else timedelta(seconds=wait_seconds),
    )
    with ExitStack() as stack:
        stack.enter_context(exporting_traces(os.environ, "submit"))
        stack.enter_context(start_span("penstock submit", parent=Parent.NONE))
        producer = stack.enter_context(open_producer(producer_settings(), tenant))
        hand_over(stack, producer, order, wait=wait or wait_seconds is not None, as_json=as_json)


def _connection(stack: ExitStack, *, needed: bool) -> psycopg.Connection | None:
    """The database, where there is one: without it a file can be sent all the same, but not compared or awaited."""
    url = worker_settings().database_url if needed else environment().get("DATABASE_URL")
    if url is None:
        return None
    try:
        return stack.enter_context(open_database(url))
    except UnavailableError as error:
        if needed or error.code is not Code.STORAGE_UNAVAILABLE:
            raise
        click.echo("PostgreSQL does not answer: sending without comparing with what is stored", err=True)
        return None


def hand_over(stack: ExitStack, producer: Producer, order: Order, *, wait: bool, as_json: bool) -> None:
    """Submit, show how it goes, and print the result.

    Raises:
        PenstockError: as `Handover.send` and `Handover.wait`; and where a batch is dead, with its code.
    """
    watch = Stopwatch()
    bar = stack.enter_context(Bar(as_json=as_json))
    reports = Reports(
        planned=lambda made: bar.begin("sending", made.rows),
        sent=lambda progress: bar.move(progress.rows),
        settled=lambda tally: bar.move(tally.settled_rows),
        waiting=lambda waiting: bar.note(_tell_waiting(waiting)),
    )
    connection = _connection(stack, needed=wait)
    handover = Handover(producer, connection)
    made, known = handover.send(order, reports)
    if not wait:
        bar.end()
        value = {"batch_id": order.batch_id, "batches": len(made.parts), "rows": made.rows, "durability": "redis"}
        emit(value, as_json, lambda: _tell_sent(order, made))
        return
    bar.begin("storing", made.rows)
    tally = handover.wait(made, known, order, reports)
    bar.end()
    emit(tally.as_dict(watch.seconds), as_json, lambda: _tell_outcome(order, tally, watch.seconds))
    require_none_dead(tally)


def _tell_waiting(waiting: Waiting) -> str:
    return f"{waiting.error.message}: waiting for room, next try in {waiting.pause.total_seconds():.0f} s"


def _tell_sent(order: Order, made: Plan) -> str:
    return (
        f"{made.rows:,} rows are queued in {len(made.parts)} batches as {order.batch_id}\n"
        f"  see what becomes of them: penstock batch show {order.batch_id}"
    )


def _tell_outcome(order: Order, tally: Tally, seconds: float) -> str:
    lines = [
        f"{order.batch_id}: {tally.stored:,} stored, {tally.rejected:,} rejected, {tally.duplicates:,} duplicates"
        f" in {tally.batches} batches, {seconds:.1f} s"
    ]
    if tally.rejected:
        lines.append(f"  see why: penstock batch show {order.batch_id} --rejections")
    return "\n".join(lines)
