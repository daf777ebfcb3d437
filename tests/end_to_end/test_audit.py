"""The audit as its users have it: sealed by schedulers that may be killed, verified, listed, reported on."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from penstock.migrations.grants import require_granted
from penstock.producers.queue.audit import OperatorAction, audit_entry
from penstock.workers.database.operator_actions import record_actions
from tests import forked
from tests.system import Database, Penstock, wait_for

KEYS = "2026a:" + "k" * 32
WRITERS, EACH = 8, 12

Begin = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def begin(environment: dict[str, str], tmp_path: Path) -> Iterator[Begin]:
    """Starts schedulers, which are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []
    with (tmp_path / "scheduler.log").open("wb") as log:

        def run(**env: str) -> "subprocess.Popen[bytes]":
            made = forked.start(["scheduler"], environment | {"PENSTOCK_AUDIT_KEYS": KEYS} | env, stderr=log)
            started.append(made)
            return made

        yield run
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait(30)


def record(database: Database, *actions: OperatorAction) -> None:
    with psycopg.connect(database.url) as connection:
        record_actions(connection, actions)


def action(what: str, target: str = "posts", at: datetime | None = None, **details: Any) -> OperatorAction:
    made = audit_entry("ada", what, target, "why", details)
    return made if at is None else OperatorAction(made.action_id, at, "ada", what, target, "why", details)


def waiting(database: Database) -> int:
    return int(database.value("SELECT count(*) FROM penstock.audit_unsealed"))


@contextmanager
def as_intruder(database: Database) -> Iterator[None]:
    """Within the block a superuser may change what operators did."""
    trigger = "TRIGGER operator_actions_are_for_ever"
    database.query(f"ALTER TABLE penstock.operator_actions DISABLE {trigger}")
    yield
    database.query(f"ALTER TABLE penstock.operator_actions ENABLE ALWAYS {trigger}")


def test_schedulers_seal_whoever_is_killed_and_whoever_records_meanwhile(
    begin: Begin, database: Database, penstock: Penstock, tmp_path: Path
) -> None:
    keyed = {"PENSTOCK_AUDIT_KEYS": KEYS}
    assert penstock("audit", "anchor", "--json").error["code"] == "REQUEST_NOT_FOUND"
    record(database, action("queue.pause"))
    with psycopg.connect(database.admin_url) as holding:
        # A seal can't be written while this is held, and can while others only read.
        holding.execute("LOCK TABLE penstock.audit_seals IN SHARE MODE")
        first = begin()
        held = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'penstock.audit_seals'::regclass"
        wait_for(lambda: database.value(held) > 0, "a seal that waits to be written")
        first.send_signal(signal.SIGKILL)
        first.wait(30)
    assert waiting(database) == 1
    threads = [
        threading.Thread(target=lambda: [record(database, action("queue.resume")) for _ in range(EACH)])
        for _ in range(WRITERS)
    ]
    for thread in threads:
        thread.start()
    second = begin()
    for thread in threads:
        thread.join()
    second.kill()
    second.wait(30)
    begin()
    wait_for(lambda: waiting(database) == 0, "the seals")
    found = penstock("audit", "verify", "--keyed-from", "1", "--json", env=keyed)
    assert (found.code, found.json["whole"], found.json["problems"]) == (0, True, [])
    assert found.json["actions"] == 1 + WRITERS * EACH
    anchor = penstock("audit", "anchor").out.strip()
    assert anchor == found.json["anchor"]
    (tmp_path / "anchors").write_text(f"{anchor}\n\n")
    assert penstock("audit", "verify", "--anchors", tmp_path / "anchors", env=keyed).code == 0
    health = penstock("health", "--json").json
    (check,) = [one for one in health["checks"] if one["name"] == "audit"]
    assert anchor in check["message"]


def test_what_was_changed_is_named_with_exit_code_1(begin: Begin, database: Database, penstock: Penstock) -> None:
    wanted = action("dead_letter.discard", "some letter")
    record(database, wanted)
    begin()
    wait_for(lambda: waiting(database) == 0, "the seal")
    with as_intruder(database):
        database.query("UPDATE penstock.operator_actions SET reason = 'else' WHERE action_id = %s", wanted.action_id)
    try:
        found = penstock("audit", "verify", "--json", env={"PENSTOCK_AUDIT_KEYS": KEYS})
        assert found.code == 1
        assert (found.json["first"]["problem"], found.json["first"]["action"]) == (
            "action-changed",
            str(wanted.action_id),
        )
        told = penstock("audit", "verify", env={"PENSTOCK_AUDIT_KEYS": KEYS})
        assert told.code == 1
        assert f"the action {wanted.action_id} of the seal" in told.out
    finally:
        with as_intruder(database):
            database.query("UPDATE penstock.operator_actions SET reason = 'why' WHERE action_id = %s", wanted.action_id)
    ends = f"{found.json['seals'] + 9}:{'a' * 64}"
    cut = penstock("audit", "verify", "--anchor", ends, "--json", env={"PENSTOCK_AUDIT_KEYS": KEYS})
    assert (cut.code, cut.json["first"]["problem"]) == (1, "anchor-missing")
    assert penstock("audit", "verify", "--anchor", "nonsense").code == 2
    # Who lacks the key can't verify, and is not told that all is well.
    assert penstock("audit", "verify", "--json").json["first"]["problem"] == "seal-key-unknown"


def test_a_report_tells_of_a_period_as_a_reader_may_ask(database: Database, penstock: Penstock) -> None:
    day = datetime(2025, 3, 1, tzinfo=UTC)

    def at(minutes: float) -> datetime:
        return day + timedelta(minutes=minutes)

    def outage(begins: float, ends: float) -> OperatorAction:
        instants = {"since": at(begins).isoformat(), "until": at(ends).isoformat()}
        return action("database.outage", "postgresql", at(ends), **instants)

    record(
        database,
        action("access.log-in", "203.0.113.0/24", at(1)),
        action("access.log-in-refused", "203.0.113.0/24", at(2)),
        action("access.log-in-refused", "203.0.113.0/24", at(3), count=41),
        action("dead_letter.reveal", "x", at(4)),
        action("queue.pause", "posts", at(5)),
        action("queue.resume", "posts", at(7)),
        action("queue.pause", "publishing", at(8)),
        action("circuit.closed", "platform:youtube", at(9)),
        action("circuit.opened", "platform:instagram", at(10)),
        action("circuit.opened", "platform:instagram", at(11)),
        action("circuit.closed", "platform:instagram", at(15)),
        outage(20, 30),
        outage(25, 32),
        outage(100, 101),
        action("queue.pause", "submissions", at(24 * 60)),
    )
    database.query("CREATE ROLE auditor LOGIN PASSWORD 'p' IN ROLE penstock_reader")
    try:
        parts = urlsplit(database.url)
        url = parts._replace(netloc=f"auditor:p@{parts.netloc.rpartition('@')[2]}").geturl()
        asked = ("audit", "report", "--from", "2025-03-01", "--to", "2025-03-02")
        found = penstock(*asked, "--json", env={"DATABASE_URL": url, "PENSTOCK_AUDIT_KEYS": KEYS})
        assert found.code == 0, found.err
        told = penstock(*asked, env={"DATABASE_URL": url, "PENSTOCK_AUDIT_KEYS": KEYS})
    finally:
        database.query("DROP ROLE auditor")
    report = found.json
    assert report["access"]["log_ins"] == 1
    assert report["access"]["refusals"]["access.log-in-refused"] == 42
    assert report["access"]["by_person"] == [{"person": "ada", "log_ins": 1, "reveals": 1, "refused": 42}]
    assert report["actions"]["by_kind"]["queue.pause"] == 2
    incidents = report["incidents"]
    assert [(one["what"], one["seconds_to_recovery"]) for one in incidents["pauses"]] == [
        ("posts", 120.0),
        ("publishing", None),
    ]
    assert [(one["what"], one["seconds_to_recovery"]) for one in incidents["circuits"]] == [
        ("platform:youtube", None),
        ("platform:instagram", 300.0),
    ]
    assert [one["seconds_to_recovery"] for one in incidents["database_outages"]] == [720.0, 60.0]
    assert incidents["database_up_share"] == round(1 - 780 / 86_400, 6)
    assert incidents["dead_letters"]["opened"] == 0
    assert (report["chain"]["whole"], report["backups"]) == (True, None)
    assert told.code == 0
    for text in ("platform:instagram", "access.log-in-refused 42", "whole"):
        assert text in told.out
    assert penstock("audit", "report", "--from", "2025-03-02", "--to", "2025-03-01").code == 2
    assert penstock("audit", "report", "--from", "yesterday", "--to", "2025-03-01").code == 2


def test_actions_are_listed_by_what_is_asked(database: Database, penstock: Penstock) -> None:
    record(*(database, *(action("limit.set", f"kind:{number}") for number in range(3))))
    first = penstock("audit", "list", "--action", "limit.", "--actor", "ada", "--limit", "2", "--json").json
    rest = penstock("audit", "list", "--action", "limit.", "--after", first["next"], "--json").json
    targets = {item["target"] for item in first["items"] + rest["items"]}
    assert (len(first["items"]), rest["next"], targets) == (2, None, {"kind:0", "kind:1", "kind:2"})
    assert "limit.set" in penstock("audit", "list", "--since", "2026-01-01").out


def test_old_submissions_leave_for_an_archive_and_come_back(
    begin: Begin, database: Database, penstock: Penstock, tmp_path: Path
) -> None:
    put = """
        INSERT INTO penstock.submissions SELECT '2019-05-06', now(), gen_random_uuid(), 1, 'batch', 'form', NULL,
               jsonb_build_object('n', number) FROM generate_series(1, 20) AS number
    """
    database.query("SELECT penstock.ensure_submissions_partition('2019-05-01')")
    database.query(put)
    every = "SELECT to_jsonb(one)::text FROM penstock.submissions AS one ORDER BY submission_id"
    before = database.query(every)
    env = {"PENSTOCK_ARCHIVE_DIR": str(tmp_path / "archives")}
    begin(**env, PENSTOCK_SUBMISSIONS_RETENTION_MONTHS="12")
    there = "SELECT count(*) FROM pg_class WHERE relname LIKE '%%submissions_y2019m05'"
    wait_for(lambda: database.value(there) == 0, "the partition to leave")
    assert database.query(every) == []
    (item,) = penstock("archive", "list", "--json", env=env).json["items"]
    assert (item["source"], item["rows"]) == ("submissions_y2019m05", 20)
    assert penstock("archive", "verify", "--json", env=env).json == {"verified": 1, "rows": 20}
    restore = ("archive", "restore", item["name"], "--reason", "an inquiry", "--yes", "--json")
    apart = penstock(*restore, env=env)
    assert (apart.code, apart.json["restored"]) == (0, 20)
    assert database.query(every.replace("penstock.submissions", apart.json["table"])) == before
    denied = penstock(*restore, env=env | {"PENSTOCK_MIGRATION_DATABASE_URL": None})
    assert denied.error["code"] == "STORAGE_PERMISSION_DENIED"
    with psycopg.connect(database.admin_url) as connection:
        require_granted(connection)
    path = tmp_path / "archives" / f"{item['name']}.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-1])
    assert penstock("archive", "verify", "--json", env=env).error["code"] == "STORAGE_ARCHIVE_DAMAGED"


def test_retention_without_a_folder_for_archives_is_refused(penstock: Penstock) -> None:
    run = penstock("audit", "anchor", "--json", env={"PENSTOCK_SUBMISSIONS_RETENTION_MONTHS": "12"})
    assert run.error["code"] == "CONFIG_INVALID"
    assert "PENSTOCK_ARCHIVE_DIR" in json.dumps(run.error)


def test_a_credential_that_is_made_is_recorded_without_its_token(database: Database, penstock: Penstock) -> None:
    made = penstock("sidecar", "credential", "vera", "--role", "viewer", "--json")
    recorded = database.query(
        "SELECT target, details FROM penstock.operator_actions WHERE action = 'access.credential'"
    )
    ((target, details),) = recorded
    assert (target, details["role"], made.err) == ("vera", "viewer", "")
    assert made.json["token"] not in str(recorded)
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none", "PENSTOCK_MIGRATION_DATABASE_URL": None}
    alone = penstock("sidecar", "credential", "vera", "--role", "viewer", env=nowhere)
    assert alone.code == 0
    assert "not recorded in the audit: STORAGE_UNAVAILABLE" in alone.err
