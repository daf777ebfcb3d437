"""`penstock queue` and `penstock job`, as an operator runs them."""

import getpass
import json
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from penstock.workers.broker.leases import Verb
from tests.queue_kit import QueueKit
from tests.system import Penstock, Run


@pytest.fixture
def kit(redis_url: str, namespace: str) -> Iterator[QueueKit]:
    """The queue `posts` of the commands' namespace, empty before and after."""
    with redis.Redis.from_url(redis_url) as client:
        yield QueueKit(client, namespace)
        for key in client.scan_iter(match=f"{namespace}:*", count=10_000):
            client.delete(key)


def refused(run: Run, code: str, exit_code: int = 1) -> str:
    assert (run.code, run.out) == (exit_code, ""), run.err
    assert run.error["code"] == code
    return str(run.error["message"])


def test_list_tells_each_queue(kit: QueueKit, penstock: Penstock) -> None:
    kit.one_of_each()
    listed = penstock("queue", "list", "--json").json
    assert listed["next"] is None
    queues = {item["queue"]: item for item in listed["items"]}
    assert list(queues) == ["submissions", "posts", "publishing"]
    posts = queues["posts"]
    assert [posts[place] for place in ("ready", "scheduled", "leased", "parked", "dead")] == [1] * 5
    assert (posts["workers"], posts["unaccounted"], posts["paused"]) == (1, 0, None)
    assert posts["oldest_ready_seconds"] >= 0
    assert queues["submissions"]["oldest_ready_seconds"] is None


def test_a_person_sees_who_paused_a_queue_and_why(kit: QueueKit, penstock: Penstock) -> None:
    assert penstock("queue", "pause", "posts", "--reason", "database upgrade", "--yes").code == 0
    lines = {line.split()[0]: line for line in penstock("queue", "list").out.splitlines()}
    assert f"by {getpass.getuser()}: database upgrade" in lines["posts"]
    assert "database" not in lines["submissions"]


def test_show_tells_one_queue_and_its_jobs(kit: QueueKit, penstock: Penstock) -> None:
    made = kit.one_of_each()
    assert penstock("queue", "show", "posts", "--json").json["ready_by_tenant"] == {"acme": 1}
    assert "acme" in penstock("queue", "show", "posts").out
    page = penstock("queue", "show", "posts", "--state", "parked", "--json").json
    assert [(item["job_id"], item["blocked_by"]) for item in page["items"]] == [(str(made["parked"]), "kind:x")]
    assert page["next"] is None


def test_show_goes_on_after_a_cursor(kit: QueueKit, penstock: Penstock) -> None:
    made = [str(job) for job in kit.put(5)]
    first = penstock("queue", "show", "posts", "--state", "ready", "--limit", "3", "--json").json
    rest = penstock("queue", "show", "posts", "--state", "ready", "--after", first["next"], "--json").json
    assert [item["job_id"] for item in first["items"] + rest["items"]] == made
    refused(penstock("queue", "show", "posts", "--state", "ready", "--after", "x", "--json"), "REQUEST_USAGE", 2)


def test_pause_and_resume(kit: QueueKit, penstock: Penstock) -> None:
    kit.put()
    first = penstock("queue", "pause", "posts", "--reason", "upgrade", "--yes", "--json").json
    assert (first["changed"], first["paused"]["reason"]) == (True, "upgrade")
    assert kit.lease() == []
    second = penstock("queue", "pause", "posts", "--reason", "again", "--yes")
    assert (second.code, "was paused already" in second.out, "upgrade" in second.out) == (0, True, True)
    assert penstock("queue", "resume", "posts", "--reason", "done", "--yes", "--json").json["changed"] is True
    assert "was not paused" in penstock("queue", "resume", "posts", "--reason", "done", "--yes").out
    assert len(kit.lease()) == 1
    entries = [json.loads(entry) for entry in kit.client.lrange(kit.keys.key("audit"), 0, -1)]
    assert [(entry["action"], entry["target"], entry["reason"], entry["actor"]) for entry in entries] == [
        ("queue.pause", "posts", "upgrade", getpass.getuser()),
        ("queue.resume", "posts", "done", getpass.getuser()),
    ]


def test_what_changes_a_queue_asks_first(kit: QueueKit, penstock: Penstock) -> None:
    kit.put()
    refusal = penstock("queue", "purge", "posts", "--reason", "mistake", stdin=b"n\n")
    assert (refusal.code, refusal.out) == (130, "")
    assert "ALL tenants" in refusal.err
    assert penstock("queue", "pause", "posts", "--reason", "x", stdin=b"").code == 130
    counts = kit.inspector.counts(kit.queue)
    assert (counts.ready, counts.paused) == (1, None)
    agreed = penstock("queue", "purge", "posts", "--reason", "mistake", "--json", stdin=b"y\n")
    assert agreed.json["removed"] == 1


def test_purge_removes_what_waits(kit: QueueKit, penstock: Penstock) -> None:
    kit.one_of_each()
    kit.put(2, "other")
    some = penstock(
        *("queue", "purge", "posts", "--state", "ready", "--tenant", "other", "--reason", "mistake", "--yes", "--json")
    )
    assert some.json == {"queue": "posts", "removed": 2, "state": "ready", "tenant": "other"}
    assert penstock("queue", "purge", "posts", "--reason", "mistake", "--yes").out == "3 job(s) removed from posts\n"
    counts = kit.inspector.counts(kit.queue)
    assert (counts.waiting, counts.leased, counts.dead, counts.purged) == (1, 1, 1, 5)
    refused(penstock("queue", "purge", "posts", "--state", "dead", "--reason", "x", "--json"), "REQUEST_USAGE", 2)


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "two\nlines"])
def test_a_reason_is_needed(kit: QueueKit, penstock: Penstock, reason: str) -> None:
    refused(penstock("queue", "pause", "posts", "--reason", reason, "--yes", "--json"), "REQUEST_USAGE", 2)
    assert kit.inspector.counts(kit.queue).paused is None


def test_names_that_are_not_there(penstock: Penstock) -> None:
    message = refused(penstock("queue", "pause", "nope", "--reason", "x", "--yes", "--json"), "QUEUE_NOT_FOUND")
    assert "submissions" in message
    refused(penstock("queue", "show", "nope", "--json"), "QUEUE_NOT_FOUND")
    unknown = str(uuid.uuid4())
    assert unknown in refused(penstock("job", "show", unknown, "--json"), "JOB_NOT_FOUND")
    refused(penstock("job", "show", "nope", "--json"), "REQUEST_USAGE", 2)
    refused(penstock("queue", "pause", "posts", "--json"), "REQUEST_USAGE", 2)


def test_queues_need_no_database(kit: QueueKit, penstock: Penstock) -> None:
    kit.put()
    without: dict[str, str | None] = {"DATABASE_URL": None, "PENSTOCK_MIGRATION_DATABASE_URL": None}
    assert penstock("queue", "list", "--json", env=without).code == 0


def test_job_show_tells_where_a_job_stands(kit: QueueKit, penstock: Penstock) -> None:
    kit.put(2, "other")
    job = kit.put(2)[1]
    shown = penstock("job", "show", str(job), "--json").json
    assert (shown["job_id"], shown["queue"], shown["state"], shown["tenant"]) == (str(job), "posts", "ready", "acme")
    assert (shown["place"], shown["ahead"], shown["blocked_by"], shown["eligible_at"]) == (2, 3, None, None)
    told = penstock("job", "show", str(job)).out
    assert "can run now" in told
    assert "place 2, about 3 jobs" in told
    penstock("queue", "pause", "posts", "--reason", "x", "--yes")
    told = penstock("job", "show", str(job)).out
    assert "blocked by paused:posts" in told
    assert "can run now" not in told


def test_job_show_tells_what_happened_to_a_job(kit: QueueKit, penstock: Penstock) -> None:
    kit.leases.join(kit.queue)
    (job,) = kit.put()
    failed = {"at": 1795261234567, "outcome": "retry", "code": "STORAGE_TIMEOUT", "attempt": 1}
    entry = json.dumps(failed | {"traceback": ["a.py:1 in outer", "b.py:2 in inner"]})
    kit.settle(kit.lease(), Verb.RETRY, delay=0, code="STORAGE_TIMEOUT", told="it took too long", entry=entry)
    kit.leases.tick(kit.queue)
    kit.lease()
    shown = penstock("job", "show", str(job), "--json").json
    assert (shown["state"], shown["attempts"], shown["worker"]["boot"]) == ("leased", 1, kit.leases.boot)
    assert (shown["code"], shown["message"]) == ("STORAGE_TIMEOUT", "it took too long")
    assert shown["remedy"]
    assert [(one["outcome"], one["attempt"]) for one in shown["history"]] == [("retry", 1)]
    assert shown["history"][0]["traceback"] == ["a.py:1 in outer", "b.py:2 in inner"]
    told = penstock("job", "show", str(job)).out
    assert "raised at b.py:2 in inner" in told
    assert "outer" not in told
    assert re.search(rf"held by the worker {kit.leases.boot} \(process \d+ on ", told)
    assert "last failure: STORAGE_TIMEOUT: it took too long" in told
    assert "2026-11-21T11:40:34" in told


def test_job_show_tells_when_a_scheduled_job_can_run(kit: QueueKit, penstock: Penstock) -> None:
    (job,) = kit.put(due=timedelta(hours=1))
    shown = penstock("job", "show", str(job), "--json").json
    assert shown["state"] == "scheduled"
    assert f"can run at {shown['eligible_at'][:19]}" in penstock("job", "show", str(job)).out


def test_redis_down(penstock: Penstock) -> None:
    away: dict[str, str | None] = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    for arguments in (("queue", "list"), ("job", "show", str(uuid.uuid4())), ("reconcile", "--redis-only")):
        refused(penstock(*arguments, "--json", env=away), "QUEUE_UNAVAILABLE")
