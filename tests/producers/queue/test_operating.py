"""What operators and processes do to a queue: pause, purge, come, leave; and a queue of a later release."""

import itertools
import json
from collections.abc import Callable
from datetime import timedelta
from importlib import resources
from typing import Any

import pytest
import redis

from penstock.producers.queue.enqueueing import Enqueuer
from penstock.producers.queue.layout import LAYOUT
from penstock.producers.queue.scripts import Scripts, require_layout, script
from penstock.schemas.errors import Code, ConflictError
from penstock.workers.broker.leases import Verb
from penstock.workers.protection.changes import announce_change
from tests.producers.queue.conftest import QUEUE, Bench, job


def audit(bench: Bench) -> list[Any]:
    return [json.loads(entry) for entry in bench.client.lrange(bench.keys.key("audit"), 0, -1)]


def pause(bench: Bench, entry: int) -> int:
    return int(bench.scripts.run("pause", bench.keys, "me", 'a "reason"', json.dumps(entry)))


def resume(bench: Bench, entry: int) -> int:
    return int(bench.scripts.run("resume", bench.keys, json.dumps(entry)))


def test_a_pause_tells_who_why_and_when_and_is_audited_once(bench: Bench) -> None:
    assert (pause(bench, 1), pause(bench, 2)) == (1, 0)
    noted = json.loads(bench.client.hget(bench.keys.key("meta"), "paused"))
    assert abs(noted.pop("at") - bench.now()) < 10_000
    assert noted == {"by": "me", "reason": 'a "reason"'}
    assert audit(bench) == [1]


def test_a_paused_queue_takes_jobs_in_and_lets_running_ones_end(bench: Bench) -> None:
    bench.put()
    worker = bench.worker()
    (leased,) = worker.lease()
    pause(bench, 1)
    bench.put()
    assert worker.settle(leased, Verb.ACK)
    assert worker.lease() == []
    assert (resume(bench, 2), resume(bench, 3)) == (1, 0)
    assert bench.wake_up(), "whoever sleeps hears of it"
    assert len(worker.lease()) == 1
    assert audit(bench) == [1, 2]


def purge(bench: Bench, place: str, tenant: str = "", limit: int = 1_000, entry: str = "") -> list[int]:
    """Purge to the end; returns how many each call removed."""
    removed, position, seen = [], 0, limit
    while seen >= limit:
        count, seen, position = bench.scripts.run("purge", bench.keys, place, tenant, limit, entry, position)
        removed.append(count)
        entry = ""
        assert len(removed) < 1_000
    return removed


@pytest.mark.parametrize("limit", [1, 2, 1_000])
@pytest.mark.parametrize("tenant", ["", "a"])
@pytest.mark.parametrize("place", ["ready", "scheduled", "parked:p"])
def test_a_purge_removes_what_waits_in_one_place(bench: Bench, place: str, tenant: str, limit: int) -> None:
    ids = {
        (where, whose): bench.put(3, whose, due=timedelta(hours=1) if where == "scheduled" else None)
        for where, whose in itertools.product(("parked:p", "scheduled"), "ab")
    }
    worker = bench.worker()
    for leased in worker.lease(6):
        assert worker.settle(leased, Verb.PARK, key="p", blocked_by="p")
    ids |= {("ready", whose): bench.put(3, whose) for whose in "ab"}
    gone = {one for (where, whose), those in ids.items() for one in those if where == place and tenant in {"", whose}}
    assert sum(purge(bench, place, tenant, limit, entry='"why"')) == len(gone) == (3 if tenant else 6)
    assert set(bench.places().ids()) == {one for those in ids.values() for one in those} - gone
    assert bench.counts()["purged"] == len(gone)
    assert audit(bench) == ["why"]


def test_a_purge_of_ready_jobs_takes_suspects_too(bench: Bench) -> None:
    bench.suspects(3)
    bench.put(2)
    assert purge(bench, "ready", "somebody else's") == [0]
    assert purge(bench, "ready", limit=2) == [2, 2, 1]
    assert bench.counts() == {"accepted": 5, "purged": 5}


@pytest.mark.parametrize("place", ["ready", "scheduled", "parked:p"])
def test_a_purge_leaves_running_jobs_and_dead_letters(bench: Bench, place: str) -> None:
    bench.put(2)
    worker = bench.worker()
    first, _ = worker.lease(2)
    assert worker.settle(first, Verb.BURY, code="C", told="t")
    assert purge(bench, place) == [0]
    assert bench.counts() == {"accepted": 2, "leased": 1, "dead": 1}


def test_a_purged_job_can_be_enqueued_again(bench: Bench) -> None:
    new = job()
    bench.offer(new)
    purge(bench, "ready")
    bench.offer(new)
    assert bench.counts() == {"accepted": 2, "purged": 1, "ready": 1}


def test_a_worker_says_who_it_is_and_is_forgotten_when_it_leaves(bench: Bench) -> None:
    worker = bench.worker()
    worker.join()
    worker.tick()
    facts = {name.decode() for name in bench.client.hgetall(bench.keys.key(f"worker:{worker.boot}"))}
    assert facts == {"host", "pid", "release", "started_at"}
    assert worker.leave() == 0
    assert bench.client.exists(bench.keys.key(f"worker:{worker.boot}"), bench.keys.key("workers")) == 0


@pytest.mark.parametrize("stopping", [True, False])
def test_what_a_leaving_worker_still_holds_is_recovered_by_the_next_tick(bench: Bench, stopping: bool) -> None:
    put = bench.put(2)
    worker = bench.worker()
    worker.lease(2)
    worker.tick(stopping=stopping)
    assert worker.leave() == 2
    assert bench.worker().tick().recovered == 2
    assert bench.places().places == ({"ready:acme": put} if stopping else {"alone": put})
    assert worker.leave() == 0


#: What the steps share; no steps themselves.
LIBRARIES = {"archive", "deaths", "held", "history", "lanes", "moves", "prelude", "room"}

STEPS: dict[str, Callable[[Bench, Scripts], Any]] = {
    "enqueue": lambda bench, _: Enqueuer(bench.client, bench.namespace).enqueue(QUEUE, [job()]),
    "lease": lambda bench, _: bench.worker().lease(),
    "join": lambda bench, _: bench.worker().join(),
    "leave": lambda bench, _: bench.worker().leave(),
    "announce": lambda bench, _: announce_change(bench.client, bench.namespace),
    "tick": lambda bench, _: bench.worker().tick(),
    "release": lambda bench, _: bench.worker().release("p", 1),
    "hasten": lambda bench, scripts: scripts.run("hasten", bench.keys, 0, 1, "x", "limit:k"),
    "start": lambda bench, scripts: scripts.run("start", bench.keys, "x", "t"),
    "settle": lambda bench, scripts: scripts.run("settle", bench.keys, "boot", 0, "t", "ack", 1, "x"),
    "pause": lambda bench, scripts: scripts.run("pause", bench.keys, "me", "r", "{}"),
    "resume": lambda bench, scripts: scripts.run("resume", bench.keys, "{}"),
    "weigh": lambda bench, scripts: scripts.run("weigh", bench.keys, "acme", 2, "{}"),
    "purge": lambda bench, scripts: scripts.run("purge", bench.keys, "ready", "", 10, "", 0),
    "counts": lambda bench, _: bench.inspector.counts(QUEUE),
    "peek": lambda bench, scripts: scripts.run("peek", bench.keys, "ready", 0, 1),
    "locate": lambda bench, scripts: scripts.run("locate", bench.keys, "x", 1),
    "dead": lambda bench, scripts: scripts.run("dead", bench.keys, 1, "x"),
    "archived": lambda bench, scripts: scripts.run("archived", bench.keys, 1, "", "", "x", 1),
    "revived": lambda bench, scripts: scripts.run("revived", bench.keys, "x", 1),
    "records": lambda bench, scripts: scripts.run("records", bench.keys, "x"),
    "runnable": lambda bench, scripts: scripts.run("runnable", bench.keys, 1_000, 10, 10),
    "require_layout": lambda bench, _: require_layout(bench.client, bench.keys),
}


def test_every_step_is_asked_below() -> None:
    files = {file.name.removesuffix(".lua") for file in (resources.files("penstock.producers.queue") / "lua").iterdir()}
    assert files - LIBRARIES == STEPS.keys() - {"require_layout"}


@pytest.mark.parametrize("step", STEPS)
def test_a_queue_of_a_later_layout_is_left_alone(bench: Bench, step: str) -> None:
    bench.put()
    bench.client.hset(bench.keys.key("meta"), "layout", LAYOUT + 1)
    before = {key: bench.client.dump(key) for key in bench.client.scan_iter(f"{bench.namespace}:*")}
    with pytest.raises(ConflictError) as caught:
        STEPS[step](bench, bench.scripts)
    assert caught.value.code is Code.QUEUE_LAYOUT_NEWER
    assert f"layout {LAYOUT + 1}" in caught.value.message
    assert {key: bench.client.dump(key) for key in bench.client.scan_iter(f"{bench.namespace}:*")} == before
    bench.client.hset(bench.keys.key("meta"), "layout", LAYOUT)


@pytest.mark.parametrize("step", STEPS)
def test_a_queue_of_this_layout_is_not(bench: Bench, step: str) -> None:
    bench.client.hset(bench.keys.key("meta"), "layout", LAYOUT)
    STEPS[step](bench, bench.scripts)


def test_a_server_that_knows_no_script_is_taught(bench: Bench) -> None:
    bench.client.script_flush()
    bench.put()
    assert bench.client.script_exists(script("enqueue").sha) == [True]


def test_only_enqueueing_is_refused_when_memory_is_short() -> None:
    for step in STEPS.keys() - {"require_layout"}:
        first = script(step).source.splitlines()[0]
        assert first.startswith("#!lua")
        assert ("allow-oom" in first or "no-writes" in first) is (step != "enqueue"), step


def test_a_step_that_only_looks_can_not_write(bench: Bench) -> None:
    """Redis holds a script to its flags."""
    source = script("counts").source + "\nredis.call('SET', key('x'), 1)"
    changed = source.replace("return {counts, largest()}", "local _ = {counts, largest()}")
    with pytest.raises(redis.ResponseError, match="Write commands are not allowed"):
        bench.client.eval(changed, 1, bench.keys.base, 1)
