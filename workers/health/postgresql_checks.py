"""What is asked of PostgreSQL: itself, its schema, the dead letters, the outbox."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from penstock.migrations.runner import require_current
from penstock.schemas.errors import PenstockError
from penstock.workers.database.failures import storage_errors
from penstock.workers.database.outbox_backlog import count_backlog
from penstock.workers.dead_letters.totals import count_letters
from penstock.workers.health.audit_checks import check_audit
from penstock.workers.health.report import Check, Status
from penstock.workers.health.sources import Sources
from penstock.workers.health.words import spoken

_HOUR = timedelta(hours=1)


def look_at_postgresql(sources: Sources) -> Iterator[Check]:
    """Whether it answers and how fast, and whether the schema is ours.

    Raises:
        PenstockError: of the `STORAGE_` family, before the first check.
    """
    limit = sources.settings.health_query_ms
    with storage_errors(), sources.connection() as connection:
        started = time.perf_counter()
        row = connection.execute("SELECT current_setting('server_version'), current_user").fetchone()
        took = time.perf_counter() - started
        version, role = row or ("", "")
        slow = took * 1_000 > limit
        yield Check(
            "postgresql",
            Status.WARNING if slow else Status.HEALTHY,
            f"PostgreSQL {version}, as {role}",
            seconds=took,
            value=took * 1_000,
            threshold=limit,
            unit="ms",
            sentence=f"PostgreSQL takes {took:.1f} s for the smallest question" if slow else None,
            step="See what keeps it busy",
        )
        started = time.perf_counter()
        yield _schema(lambda: require_current(connection), started)


def _schema(ask: Callable[[], None], started: float) -> Check:
    try:
        ask()
    except PenstockError as error:
        return Check(
            "schema",
            Status.CRITICAL,
            error.message,
            seconds=time.perf_counter() - started,
            code=str(error.code),
            remedy=error.remedy,
            sentence="The database's schema is not the one that this release needs",
            step="Run penstock migrate up",
        )
    told = "the schema is the one that this release needs"
    return Check("schema", Status.HEALTHY, told, seconds=time.perf_counter() - started)


def look_at_dead_letters(sources: Sources) -> Iterator[Check]:
    """Open dead letters and those of the last hour, what waits in the outbox, and what waits for its seal.

    Raises:
        PenstockError: of the `STORAGE_` family.
    """
    with storage_errors(), sources.connection() as connection:
        started = time.perf_counter()
        letters = count_letters(connection, _HOUR)
        took = time.perf_counter() - started
        limit = sources.settings.health_dead_per_hour
        grows = letters.lately > limit
        yield Check(
            "dead_letters",
            Status.WARNING if grows else Status.HEALTHY,
            f"{letters.open:,} open, {letters.lately:,} of the last hour",
            seconds=took,
            value=letters.lately,
            threshold=limit,
            unit="an hour",
            sentence=f"{letters.lately:,} jobs have died within an hour" if grows else None,
            step="See what they died of",
            path="/dead-letters",
            facts={"open": letters.open, "lately": letters.lately},
        )
        started = time.perf_counter()
        backlog = count_backlog(connection)
        late = backlog.oldest.total_seconds()
        limit_seconds = sources.settings.health_outbox_seconds
        is_late = late > limit_seconds
        yield Check(
            "outbox",
            Status.WARNING if is_late else Status.HEALTHY,
            f"{backlog.waiting:,} wait, the oldest for {late:,.0f} s",
            seconds=time.perf_counter() - started,
            value=late,
            threshold=limit_seconds,
            unit="s",
            sentence=f"{backlog.waiting:,} jobs wait in the outbox, the oldest for {spoken(late)}" if is_late else None,
            step="See that a scheduler runs and reaches Redis",
            path="/queues",
            facts={"waiting": backlog.waiting},
        )
        yield check_audit(connection, sources.settings.health_scheduler_lag_seconds)
