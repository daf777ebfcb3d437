"""The loops that seal and let go, and which of them the settings ask for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from penstock.schemas.errors import InvalidInputError, UnavailableError
from penstock.workers.audit.keys import AuditKeys
from penstock.workers.database.transaction import Transactions
from penstock.workers.scheduler.audit_sealing import AuditSealing
from penstock.workers.scheduler.retention import OldReplays, retention_loops
from penstock.workers.settings import WorkerSettings
from tests.system import Database

_REPLAY = """
INSERT INTO penstock.replays
       (replay_id, created_by, reason, selection, canary, pace_per_second, stop_share, status, ended_at)
VALUES (gen_random_uuid(), 'ada', %s, '{}', 0, 1, 0.5,
        CASE WHEN %s::timestamptz IS NULL THEN 'running' ELSE 'done' END, %s)
RETURNING replay_id
"""


def test_how_long_postgresql_was_away_is_recorded_once_it_is_back(
    transactions: Transactions, settings: WorkerSettings, database: Database
) -> None:
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    with ConnectionPool("postgresql://127.0.0.1:9/none", min_size=0, max_size=1, timeout=0.2) as nowhere:
        away = Transactions(nowhere, settings, tries=1)
        loop = AuditSealing(away, AuditKeys(), lambda: now)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                loop.run_once()
            now += timedelta(minutes=2)
        loop._transactions = transactions
        assert loop.run_once() is False
    ((target, details),) = database.query(
        "SELECT target, details FROM penstock.operator_actions WHERE action = 'database.outage'"
    )
    assert (target, details["seconds"], details["since"]) == ("postgresql", 240.0, "2026-11-21T12:00:00+00:00")
    # It is sealed with the others, and told once.
    loop.run_once()
    assert database.value("SELECT count(*) FROM penstock.audit_unsealed") == 0
    assert database.value("SELECT count(*) FROM penstock.operator_actions WHERE action = 'database.outage'") == 1


def test_replays_that_ended_long_ago_leave(transactions: Transactions, database: Database) -> None:
    now = datetime.now(UTC)
    for reason, ended_at in (("old", now - timedelta(days=800)), ("young", now - timedelta(days=700)), ("on", None)):
        database.query(_REPLAY, reason, ended_at, ended_at)
    with_items = database.value(_REPLAY, "old, with letters", now - timedelta(days=800), now - timedelta(days=800))
    database.query("INSERT INTO penstock.replay_items VALUES (%s, gen_random_uuid(), 1)", with_items)
    assert OldReplays(transactions, timedelta(days=730)).run_once() is False
    left = {reason for (reason,) in database.query("SELECT reason FROM penstock.replays")}
    assert left == {"young", "on", "old, with letters"}


def names(settings: WorkerSettings, pool: Any, transactions: Transactions, **changes: Any) -> list[str]:
    return [loop.name for loop in retention_loops(settings.model_copy(update=changes), pool, transactions)]


def test_the_settings_say_what_leaves(
    settings: WorkerSettings, pool: Any, transactions: Transactions, tmp_path: Path
) -> None:
    usual = ["audit_seals", "audit_retention", "replays_retention"]
    assert names(settings, pool, transactions) == usual
    assert names(settings, pool, transactions, archive_dir=tmp_path) == [*usual, "archives"]
    for_ever = {"audit_retention_days": 0, "replays_retention_days": 0}
    assert names(settings, pool, transactions, **for_ever) == ["audit_seals"]
    with pytest.raises(InvalidInputError, match="PENSTOCK_AUDIT_KEYS"):
        names(settings, pool, transactions, audit_keys="none")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PENSTOCK_AUDIT_RETENTION_DAYS", "365"),
        ("PENSTOCK_REPLAYS_RETENTION_DAYS", "29"),
        ("PENSTOCK_SUBMISSIONS_RETENTION_MONTHS", "11"),
        ("PENSTOCK_SUBMISSIONS_RETENTION_MONTHS", "12"),
    ],
)
def test_what_is_too_short_or_has_no_folder_is_refused(environment: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        WorkerSettings.from_environment(environment | {name: value})
