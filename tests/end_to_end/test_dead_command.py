"""`penstock dead`, as an operator runs it; what workers and schedulers would do is done by hand."""

import getpass
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.settings import WorkerSettings
from tests.system import Database, Penstock, Run
from tests.workers.dead_letters.replay_kit import ReplayKit, a_letter

SECRET = "what a person answered"
BATCH = {"form_id": "poll", "batch_id": "b-1", "submissions": [{"answers": {"q": SECRET}}]}
WHY = ("--reason", "the form is there now", "--yes")
HISTORY = [
    {
        "at": "2026-11-01T00:00:00Z", "outcome": "retry", "code": "INTERNAL_ERROR", "error": "builtins.KeyError",
        "host": "pod-1", "release": "1.0", "traceback": ["lib/x.py:1 in get", "penstock/y.py:2 in write"], "own": [1],
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def store(database: Database, settings: WorkerSettings) -> Iterator[ReplayKit]:
    with open_pool(settings, "penstock-test") as pool:
        pool.wait(60)
        yield ReplayKit(database, Transactions(pool, settings), LetterSearch(pool))


@pytest.fixture
def kit(store: ReplayKit) -> Iterator[ReplayKit]:
    yield store
    store.clear()


@contextmanager
def working(kit: ReplayKit, became: str) -> Iterator[None]:
    """What schedulers and workers do, and every job becomes so."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.05):
            for replay_id, _ in kit.engine.active():
                kit.engine.step(replay_id)
            kit.end(became, *kit.sent())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def refused(run: Run, code: str, exit_code: int = 1) -> str:
    assert run.code == exit_code, run.out + run.err
    assert run.error["code"] == code
    return str(run.error["message"])


def letters(run: Run) -> list[str]:
    assert run.code == 0, run.err
    return [item["id"] for item in run.json["items"]]


def test_list_has_filters_pages_and_a_table(kit: ReplayKit, penstock: Penstock) -> None:
    batch = a_letter(0, kind="submission_batch.write", payload=BATCH)
    ids = [str(one) for one in kit.die([batch, a_letter(1), a_letter(2, tenant="b", message="a\x1b[31mb")])]
    assert letters(penstock("dead", "list", "--json")) == ids[::-1]
    assert letters(penstock("dead", "list", "--form", "poll", "--payload", "batch_id=b-1", "--json")) == ids[:1]
    first = penstock("dead", "list", "--limit", "2", "--oldest-first", "--json").json
    rest = penstock("dead", "list", "--limit", "2", "--oldest-first", "--after", first["next"], "--json").json
    assert [item["id"] for item in (*first["items"], *rest["items"])] == ids
    assert rest["next"] is None
    table = penstock("dead", "list").out
    assert ids[0] in table
    assert "poll" in table
    assert "a\\u001b[31mb" in table
    assert "since" in refused(penstock("dead", "list", "--since", "x", "--json"), "REQUEST_USAGE", 2)
    assert penstock("dead", "list", "--colour", "x").code == 2


def test_groups(kit: ReplayKit, penstock: Penstock) -> None:
    kit.die([a_letter(0), a_letter(1), a_letter(2, code="JOB_POISON")])
    found = penstock("dead", "groups", "--json").json["items"]
    assert [(item["code"], item["open"]) for item in found] == [("FORM_NOT_FOUND", 2), ("JOB_POISON", 1)]
    assert found[0]["group"] in penstock("dead", "groups", "--code", "FORM_NOT_FOUND").out
    assert len(letters(penstock("dead", "list", "--group", found[0]["group"], "--json"))) == 2
    refused(penstock("dead", "groups", "--state", "x", "--json"), "REQUEST_USAGE", 2)


def test_show_tells_a_person_what_to_do(kit: ReplayKit, penstock: Penstock) -> None:
    (dead_id,) = kit.die([a_letter(0, kind="submission_batch.write", payload=BATCH, history=HISTORY)])
    told = penstock("dead", "show", str(dead_id)).out
    for wanted in ("form poll", "FORM_NOT_FOUND: there is no such form", "what to do", "host pod-1", "(redacted)"):
        assert wanted in told
    assert "  > penstock/y.py:2 in write" in told.splitlines()
    assert "    lib/x.py:1 in get" in told.splitlines()
    assert SECRET not in told
    assert SECRET not in penstock("dead", "show", str(dead_id), "--json").out
    assert penstock("dead", "show", str(dead_id), "--json").json["remedy"]
    refused(penstock("dead", "show", str(uuid4()), "--json"), "JOB_DEAD_LETTER_NOT_FOUND")


def test_reveal_needs_a_reason_and_is_recorded(kit: ReplayKit, penstock: Penstock) -> None:
    (dead_id,) = kit.die([a_letter(0, kind="submission_batch.write", payload=BATCH)])
    refused(penstock("dead", "show", str(dead_id), "--reveal", "--json"), "REQUEST_USAGE", 2)
    shown = penstock("dead", "show", str(dead_id), "--reveal", "--reason", "a complaint", "--json")
    assert shown.json["payload"] == BATCH
    recorded = kit.database.query(
        "SELECT actor, reason FROM penstock.operator_actions WHERE action = 'dead_letter.reveal' AND target = %s",
        str(dead_id),
    )
    assert recorded == [(getpass.getuser(), "a complaint")]


def test_a_few_are_requeued_at_once(kit: ReplayKit, penstock: Penstock) -> None:
    first, second = map(str, kit.die(2))
    refused(penstock("dead", "requeue", first, "--json"), "REQUEST_USAGE", 2)
    assert penstock("dead", "requeue", first, "--reason", "x").code == 130  # asks, and nobody answers
    assert kit.outbox() == []
    assert penstock("dead", "requeue", first, *WHY, "--json").json == {"requeued": [first], "skipped": {}}
    again = penstock("dead", "requeue", first, *WHY, "--json")
    assert (again.code, list(again.json["skipped"])) == (1, [first])
    with working(kit, "died"):
        died = penstock("dead", "requeue", second, "--wait", *WHY, "--json")
    assert (died.code, died.json["became"]) == (1, {second: "died"})
    assert kit.database.value("SELECT count(*) FROM penstock.replays") == 0
    refused(penstock("dead", "requeue", str(uuid4()), *WHY, "--json"), "JOB_DEAD_LETTER_NOT_FOUND")


def test_an_edit_is_shown_judged_and_sent(kit: ReplayKit, penstock: Penstock, tmp_path: Path) -> None:
    dead_id = str(kit.die([a_letter(0, kind="submission_batch.write", payload=BATCH)])[0])
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps({**BATCH, "form_id": 7}))
    refused(penstock("dead", "requeue", dead_id, "--edit", edited, *WHY, "--json"), "JOB_PAYLOAD_INVALID")
    edited.write_text(json.dumps({**BATCH, "form_id": "poll-2"}))
    told = penstock("dead", "requeue", dead_id, "--edit", edited, "--dry-run", "--json").json
    assert [change["path"] for change in told["difference"]] == ["form_id"]
    assert kit.outbox() == []
    refused(penstock("dead", "requeue", "--all", "--edit", edited, *WHY, "--json"), "REQUEST_USAGE", 2)
    assert penstock("dead", "requeue", dead_id, "--edit", edited, *WHY).code == 0
    ((payload,),) = kit.database.query("SELECT payload FROM penstock.outbox")
    assert json.loads(bytes(payload))["form_id"] == "poll-2"


def test_a_filter_becomes_a_replay(kit: ReplayKit, penstock: Penstock) -> None:
    kit.die(30)
    dry = penstock("dead", "requeue", "--kind", "test.plain", "--dry-run", "--json").json
    assert (dry["dry_run"], dry["count"], dry["exact"]) == (True, 30, True)
    assert "30 would be requeued; nothing was sent" in penstock("dead", "requeue", "--all", "--dry-run").out
    how = ("--kind", "test.plain", "--canary", "3", "--pace", "1000", "--wait", *WHY)
    with working(kit, "died"):
        stopped = penstock("dead", "requeue", *how, "--json")
    assert (stopped.code, stopped.json["status"], stopped.json["sent"]) == (1, "stopped", 3)
    assert stopped.error["code"] == "JOB_REPLAY_STOPPED"
    with working(kit, "done"):
        healed = penstock("dead", "requeue", *how)
    assert healed.code == 0
    assert "done. All 27 are done." in healed.out


def test_which_letters_has_to_be_said(kit: ReplayKit, penstock: Penstock) -> None:
    (dead_id,) = map(str, kit.die(1))
    for arguments in [(), (dead_id, "--all"), (dead_id, "--kind", "test.plain"), ("--kind", "x", "--all")]:
        for verb in ("requeue", "discard"):
            refused(penstock("dead", verb, *arguments, *WHY, "--json"), "REQUEST_USAGE", 2)
    refused(penstock("dead", "requeue", "--state", "any", "--became", "done", *WHY, "--json"), "REQUEST_USAGE", 2)
    refused(penstock("dead", "requeue", "--all", "--pace", "0", *WHY, "--json"), "REQUEST_USAGE", 2)


def test_replays_are_listed_paused_resumed_and_cancelled(kit: ReplayKit, penstock: Penstock) -> None:
    kit.die(3)
    replay_id = penstock("dead", "requeue", "--all", *WHY, "--json").json["id"]
    assert [item["id"] for item in penstock("dead", "replay", "list", "--json").json["items"]] == [replay_id]
    for verb, status in (("pause", "paused"), ("resume", "preparing"), ("cancel", "cancelled")):
        assert penstock("dead", "replay", verb, replay_id, *WHY, "--json").json["status"] == status
    shown = penstock("dead", "replay", "show", replay_id).out
    assert f"Cancelled by {getpass.getuser()}: the form is there now." in shown
    refused(penstock("dead", "replay", "pause", replay_id, *WHY, "--json"), "JOB_REPLAY_ENDED")
    refused(penstock("dead", "replay", "show", replay_id, "--wait", "--json"), "JOB_REPLAY_STOPPED")
    refused(penstock("dead", "replay", "show", str(uuid4()), "--json"), "JOB_REPLAY_NOT_FOUND")


def test_discard(kit: ReplayKit, penstock: Penstock) -> None:
    ids = [str(one) for one in kit.die([*(a_letter(at, tenant="b") for at in range(3)), a_letter(9)])]
    assert penstock("dead", "discard", "--tenant", "b", "--dry-run", "--json").json["count"] == 3
    assert penstock("dead", "discard", "--tenant", "b", *WHY, "--json").json["count"] == 3
    assert penstock("dead", "discard", *ids, *WHY, "--json").json["count"] == 1
    assert "0 dead letter(s) discarded" in penstock("dead", "discard", *ids, *WHY).out
    assert len(letters(penstock("dead", "list", "--state", "discarded", "--json"))) == 4


def test_export(kit: ReplayKit, penstock: Penstock, tmp_path: Path) -> None:
    ids = [str(one) for one in kit.die([a_letter(at, kind="submission_batch.write", payload=BATCH) for at in range(5)])]
    run = penstock("dead", "export", "--form", "poll")
    assert [json.loads(line)["id"] for line in run.out.splitlines()] == ids
    assert SECRET not in run.out
    path = tmp_path / "letters.jsonl"
    refused(penstock("dead", "export", "--reveal", "--output", path, "--json"), "REQUEST_USAGE", 2)
    revealed = penstock("dead", "export", "--reveal", "--reason", "a complaint", "--output", path, "--json")
    assert revealed.json == {"letters": 5, "output": str(path)}
    assert [json.loads(line)["payload"] for line in path.read_text().splitlines()] == [BATCH] * 5
    assert path.stat().st_mode & 0o077 == 0
    refused(penstock("dead", "export", "--output", path, "--json"), "REQUEST_USAGE", 2)


def test_without_postgresql_it_says_so(penstock: Penstock) -> None:
    away = penstock("dead", "list", "--json", env={"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"})
    refused(away, "STORAGE_UNAVAILABLE")
