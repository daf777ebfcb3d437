"""Full queues: what is refused, what never is, what is told, and that the counters are true."""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from penstock.producers.queue.bounds import Bounds, MemoryWatch, QueueFullError
from penstock.producers.queue.enqueueing import BATCH_JOBS, Enqueuer, NewJob, Offer
from penstock.producers.queue.records import JobState
from penstock.schemas.errors import Code
from penstock.workers.broker.leases import Settlement, Verb
from tests.producers.queue.conftest import QUEUE, Bench, job
from tests.producers.queue.soundness import read_counted
from tests.recovery.servers import OwnValkey

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def refused(enqueuer: Enqueuer, *jobs: NewJob) -> QueueFullError:
    with pytest.raises(QueueFullError) as caught:
        enqueuer.enqueue(QUEUE, jobs)
    return caught.value


def work_off(bench: Bench, count: int) -> None:
    worker = bench.worker()
    # A worker leases its share of what there is, so it may take several leases.
    while count and (leased := worker.lease(count)):
        assert all(worker.settle(one, Verb.ACK) for one in leased)
        count -= len(leased)


def test_a_queue_takes_jobs_in_order_up_to_its_limit(bench: Bench) -> None:
    new = [job() for _ in range(5)]
    full = refused(bench.within(jobs=3), *new)
    assert full.code is Code.QUEUE_FULL
    assert full.details == {"taken": 3, "refused": [3, 4]}
    assert [one and one.offer for one in full.offered] == [Offer.ACCEPTED] * 3 + [None] * 2
    assert bench.ready() == [str(one.job_id) for one in new[:3]]
    assert full.message == "the queue 'submissions' holds 3 jobs, and PENSTOCK_QUEUE_LIMIT_JOBS is 3"
    work_off(bench, 2)
    assert [one.offer for one in bench.within(jobs=3).enqueue(QUEUE, new[3:])] == [Offer.ACCEPTED] * 2


def test_without_a_limit_nothing_is_refused(bench: Bench) -> None:
    assert len(bench.within().enqueue(QUEUE, [job() for _ in range(BATCH_JOBS + 10)])) == BATCH_JOBS + 10


def test_what_comes_after_a_round_trip_that_was_refused_in_part_is_not_offered(bench: Bench) -> None:
    new = [job() for _ in range(2 * BATCH_JOBS)]
    full = refused(bench.within(jobs=BATCH_JOBS - 1), *new)
    assert full.details["taken"] == bench.counts()["accepted"] == BATCH_JOBS - 1
    assert full.details["refused"] == list(range(BATCH_JOBS - 1, 2 * BATCH_JOBS))


def test_bytes_are_limited_and_a_large_job_finds_room_in_a_queue_below_its_limit(bench: Bench) -> None:
    enqueuer = bench.within(bytes=100)
    enqueuer.enqueue(QUEUE, [job(message=b"x" * 99), job(message=b"x" * 1_000)])
    full = refused(enqueuer, job(message=b"x"))
    assert full.message == "the queue 'submissions' holds 1,099 bytes, and PENSTOCK_QUEUE_LIMIT_BYTES is 100"


@pytest.mark.parametrize(
    ("limits", "setting"),
    [({"tenant_jobs": 2}, "PENSTOCK_TENANT_QUEUE_LIMIT_JOBS"), ({"tenant_bytes": 15}, "TENANT_QUEUE_LIMIT_BYTES")],
)
def test_one_tenants_share_is_limited_and_the_others_go_on(bench: Bench, limits: dict[str, int], setting: str) -> None:
    enqueuer = bench.within(**limits)
    full = refused(enqueuer, *(job("loud") for _ in range(2)), job("calm"), job("loud"), job("calm"))
    assert setting in full.message
    assert full.details == {"taken": 4, "refused": [3]}
    assert (len(bench.ready("loud")), len(bench.ready("calm"))) == (2, 2)


@pytest.mark.parametrize("place", ["ready", "scheduled", "leased", "parked", "dead"])
def test_whatever_a_queue_holds_counts_wherever_it_stands(bench: Bench, place: str) -> None:
    bench.put(due=timedelta(days=400) if place == "scheduled" else None)
    worker = bench.worker()
    leased = [] if place in {"ready", "scheduled"} else worker.lease()
    for one in leased:
        if place == "parked":
            worker.settle(one, Verb.PARK, key="k", blocked_by="k")
        elif place == "dead":
            worker.settle(one, Verb.BURY, code="C", told="t")
    assert bench.counts()[place] == 1
    refused(bench.within(jobs=1), job())


def test_a_letter_that_postgresql_has_counts_no_more(bench: Bench) -> None:
    (job_id,) = bench.put()
    worker = bench.worker()
    (leased,) = worker.lease()
    worker.settle(leased, Verb.BURY, code="C", told="t")
    bench.scripts.run("archived", bench.keys, 60_000, "", "", job_id, bench.record(job_id)["died_at"])
    assert bench.within(jobs=1, bytes=1).enqueue(QUEUE, [job()])[0].offer is Offer.ACCEPTED


def test_a_known_job_is_known_and_a_conflict_is_one_however_full_the_queue(bench: Bench) -> None:
    known = job()
    bench.offer(known)
    full = refused(bench.within(jobs=1), known, replace(known, digest="other"), job())
    assert [one and one.offer for one in full.offered] == [Offer.KNOWN, Offer.CONFLICT, None]


def test_what_was_accepted_before_is_never_refused(bench: Bench) -> None:
    """A relay's, which has no limits; and by anybody what an operator or its producer calls back from the dead."""
    dead, again = job(), job()
    bench.offer(dead, again)
    worker = bench.worker()
    for leased in worker.lease(2):
        worker.settle(leased, Verb.BURY, code="C", told="t")
    enqueuer = bench.within(jobs=1)
    died = EPOCH + timedelta(milliseconds=int(bench.record(str(dead.job_id))["died_at"]))
    assert enqueuer.enqueue(QUEUE, [replace(dead, revives=died)])[0].offer is Offer.REVIVED
    assert enqueuer.enqueue(QUEUE, [again], revive=[JobState.DEAD])[0].offer is Offer.REVIVED
    assert bench.offer(job())[0].offer is Offer.ACCEPTED


def test_a_new_life_of_other_size_is_counted_as_it_is(bench: Bench) -> None:
    dead = job(message=b"x" * 100)
    bench.offer(dead)
    worker = bench.worker()
    worker.settle(worker.lease()[0], Verb.BURY, code="C", told="t")
    bench.offer(replace(dead, message=b"x" * 10), revive=[JobState.DEAD])
    assert read_counted(bench.client, bench.keys) == {"jobs": 1, "bytes": 10, "jobs:acme": 1, "bytes:acme": 10}


@pytest.fixture
def uncounted(bench: Bench) -> Bench:
    """A queue at which nobody has had a limit."""
    return Bench(bench.client, f"{bench.namespace}-uncounted", counted=False)


def counting_of(bench: Bench) -> dict[str, str]:
    """What a queue notes of what it counts, for limits of bytes and of tenants."""
    meta = bench.client.hgetall(bench.keys.key("meta"))
    return {name.decode(): value.decode() for name, value in meta.items() if name.startswith(b"held")}


def test_nothing_is_counted_where_nobody_has_a_limit_of_it(uncounted: Bench) -> None:
    uncounted.put()
    uncounted.within(jobs=5).enqueue(QUEUE, [job()])
    work_off(uncounted, 1)
    assert counting_of(uncounted) == {}
    assert "held" not in uncounted.record(uncounted.ready()[0])
    assert not uncounted.client.exists(uncounted.keys.key("held"))


def test_bytes_count_from_the_first_limit_of_bytes_on(uncounted: Bench) -> None:
    (before,) = uncounted.put(message=b"x" * 100)
    limited = uncounted.within(bytes=100)
    limited.enqueue(QUEUE, [job(message=b"x" * 60)])
    # By a producer without limits, too.
    (after,) = uncounted.put(message=b"x" * 50)
    assert [uncounted.record(one).get("held") for one in (before, after)] == [None, "0/50"]
    assert counting_of(uncounted) == {"held_generation": "0", "held_jobs": "2", "held_bytes": "110"}
    refused(limited, job())
    work_off(uncounted, 1)
    assert read_counted(uncounted.client, uncounted.keys) == {"jobs": 2, "bytes": 110}
    work_off(uncounted, 1)
    assert read_counted(uncounted.client, uncounted.keys) == {"jobs": 1, "bytes": 50}
    assert not uncounted.client.exists(uncounted.keys.key("held"))
    uncounted.require_sound()


def test_tenants_count_from_the_first_limit_of_tenants_on_and_bytes_go_on(uncounted: Bench) -> None:
    uncounted.within(bytes=1_000).enqueue(QUEUE, [job(message=b"x" * 10)])
    limited = uncounted.within(bytes=1_000, tenant_jobs=1)
    limited.enqueue(QUEUE, [job(message=b"x" * 20)])
    refused(limited, job())
    assert read_counted(uncounted.client, uncounted.keys) == {"jobs": 2, "bytes": 30, "jobs:acme": 1, "bytes:acme": 20}
    # The one that was there before goes, and its tenant's count has no place less.
    work_off(uncounted, 1)
    refused(limited, job())
    work_off(uncounted, 1)
    assert read_counted(uncounted.client, uncounted.keys) == {}
    limited.enqueue(QUEUE, [job()])
    uncounted.require_sound()


def test_a_message_that_changes_counts_from_then_on(uncounted: Bench) -> None:
    uncounted.put(message=b"x" * 10)
    worker = uncounted.worker()
    (leased,) = worker.lease()
    uncounted.within(bytes=1_000).enqueue(QUEUE, [job(message=b"x" * 3)])
    worker.settle_many([Settlement(leased, Verb.RELEASE, {}, b"longer" * 10)])
    assert read_counted(uncounted.client, uncounted.keys) == {"jobs": 2, "bytes": 63}
    uncounted.require_sound()


@pytest.mark.parametrize(
    ("limits", "closed", "argument"),
    [
        pytest.param(Bounds(0, 0, 0, 0), False, "", id="no limit"),
        pytest.param(Bounds(5, 6, 0, 0), False, "5,6", id="of the queue alone"),
        pytest.param(Bounds(0, 0, 0, 7), False, "0,0,0,7,0", id="of a tenant"),
        pytest.param(Bounds(0, 0, 0, 0), True, "0,0,0,0,1", id="no memory"),
    ],
)
def test_limits_are_told_as_short_as_they_can_be(limits: Bounds, closed: bool, argument: str) -> None:
    assert limits.as_argument(closed=closed) == argument


def forget_counting(bench: Bench, *ids: str) -> None:
    """These jobs are as an earlier release takes them in and takes them out: it knows no counters."""
    for job_id in ids:
        bench.client.hdel(bench.keys.job(job_id), "held")


def test_an_earlier_release_on_the_same_queue_makes_no_lasting_difference(bench: Bench) -> None:
    bench.put(6, "loud")
    forget_counting(bench, *bench.ready("loud"))
    work_off(bench, 6)
    # Six jobs too many are counted, of a tenant that has none.
    assert read_counted(bench.client, bench.keys)["jobs"] == 6
    assert bench.within(tenant_jobs=2).enqueue(QUEUE, [job("loud")])[0].offer is Offer.ACCEPTED
    assert read_counted(bench.client, bench.keys)["jobs"] == 1


def test_what_was_counted_before_counting_began_anew_is_not_taken_off(bench: Bench) -> None:
    forget_counting(bench, *bench.put(3)[:2])
    work_off(bench, 2)
    bench.within(tenant_jobs=9).enqueue(QUEUE, [job(message=b"x")])
    work_off(bench, 1)
    assert read_counted(bench.client, bench.keys) == {"jobs": 1, "bytes": 1, "jobs:acme": 1, "bytes:acme": 1}


def test_counting_is_true_again_once_an_earlier_releases_jobs_are_gone(bench: Bench) -> None:
    bench.put(4, "loud")
    uncounted = bench.put(4, "calm")
    bench.client.hincrby(bench.keys.key("meta"), "held_jobs", -4)
    bench.client.hdel(bench.keys.key("held"), "jobs:calm", "bytes:calm")
    forget_counting(bench, *uncounted, *bench.ready("loud")[:2])
    # Two that were counted go without it, and nobody can tell as long as four are there that were not.
    work_off(bench, 4)
    limited = bench.within(tenant_jobs=100)
    limited.enqueue(QUEUE, [job("loud")])
    work_off(bench, 5)
    limited.enqueue(QUEUE, [job("loud")])
    work_off(bench, 10)
    limited.enqueue(QUEUE, [job("loud")])
    bench.require_sound()


def test_a_queue_that_seems_to_have_fewer_jobs_than_none_takes_jobs(uncounted: Bench) -> None:
    """An earlier release gives archived jobs a new life without counting it, so more may have left than came."""
    uncounted.client.hset(uncounted.keys.key("meta"), "done", 2)
    for limits in ({"jobs": 1}, {"bytes": 1}):
        assert uncounted.within(**limits).enqueue(QUEUE, [job()])[0].offer is Offer.ACCEPTED


def set_drain(bench: Bench, *, seconds_ago: float, jobs: int) -> None:
    """Have the queue remember that so many jobs left it in this time."""
    now = bench.now()
    gone = bench.counts().get("done", 0)
    then = round(now - seconds_ago * 1_000)
    bench.client.hset(bench.keys.key("meta"), "drain", f"{then},{gone - jobs},{now},{gone}")


@pytest.mark.parametrize(
    ("seconds", "jobs", "offered", "expected"),
    [
        pytest.param(10, 10, 1, 1, id="one a second: room for one in one"),
        pytest.param(10, 10, 7, 7, id="and for seven in seven"),
        pytest.param(10, 1_000, 1, 1, id="never less than a second"),
        pytest.param(10, 1, 1_000, 300, id="never more than five minutes"),
        pytest.param(10, 0, 1, 30, id="where nothing leaves, half a minute"),
        pytest.param(0.001, 0, 1, 5, id="where nothing is known, five seconds"),
    ],
)
def test_when_to_come_again_follows_from_how_fast_the_queue_drains(
    bench: Bench, seconds: float, jobs: int, offered: int, expected: int
) -> None:
    bench.put(1_000)
    set_drain(bench, seconds_ago=seconds, jobs=jobs)
    full = refused(bench.within(jobs=1_000), *(job() for _ in range(offered)))
    assert full.retry_after is not None
    assert math.isclose(full.retry_after.total_seconds(), expected, rel_tol=0.2)


def test_a_tenant_among_others_is_told_of_its_share_and_bytes_of_theirs(bench: Bench) -> None:
    bench.put(10, "loud", message=b"x" * 100)
    bench.put(10, "calm", message=b"x" * 100)
    set_drain(bench, seconds_ago=10, jobs=10)
    of_tenant = refused(bench.within(tenant_jobs=10), *(job("loud") for _ in range(5)))
    of_bytes = refused(bench.within(bytes=2_000), job(message=b"x" * 500))
    for full, expected in ((of_tenant, 10), (of_bytes, 5)):
        assert full.retry_after is not None
        assert math.isclose(full.retry_after.total_seconds(), expected, rel_tol=0.2)


def test_the_pace_is_noted_by_whoever_enqueues(bench: Bench) -> None:
    limited = bench.within(jobs=100)
    limited.enqueue(QUEUE, [job()])
    first = bench.client.hget(bench.keys.key("meta"), "drain").decode().split(",")
    assert first[1] == first[3] == "0"
    # As if that had been ten seconds ago.
    earlier = int(first[2]) - 10_000
    bench.client.hset(bench.keys.key("meta"), "drain", f"{earlier},0,{earlier},0")
    work_off(bench, 1)
    limited.enqueue(QUEUE, [job()])
    second = bench.client.hget(bench.keys.key("meta"), "drain").decode().split(",")
    assert (second[0], second[1], second[3]) == (str(earlier), "0", "1")


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[OwnValkey]:
    with OwnValkey(maxmemory="100mb") as server:
        yield server


def test_redis_short_of_memory_takes_nothing_new(own_valkey: OwnValkey) -> None:
    client: Any = own_valkey.client()
    plenty, scarce = (Enqueuer(client, "m", bounds=Bounds(memory_share=share)) for share in (0.9, 0.000_1))
    known = job()
    plenty.enqueue(QUEUE, [known])
    full = refused(scarce, known, job())
    assert (full.code, full.details) == (Code.QUEUE_OUT_OF_MEMORY, {"taken": 1, "refused": [1]})
    assert full.retry_after == timedelta(seconds=10)
    # However full the queue is, too: that is what there is to wait for.
    both = Enqueuer(client, "m", bounds=Bounds(jobs=1, memory_share=0.000_1))
    assert refused(both, job()).code is Code.QUEUE_OUT_OF_MEMORY


def test_memory_is_looked_at_every_few_seconds_and_not_for_each_job(own_valkey: OwnValkey) -> None:
    client: Any = own_valkey.client()
    now = 100.0
    watch = MemoryWatch(client, 0.000_1, clock=lambda: now)
    client.config_set("maxmemory", "0")
    assert not watch.is_short()
    client.config_set("maxmemory", "100mb")
    client.config_resetstat()
    assert not any(watch.is_short() for _ in range(50))
    assert "cmdstat_info" not in client.info("commandstats")
    now += 10
    assert watch.is_short()


def test_a_server_that_does_not_allow_the_look_is_not_short(own_valkey: OwnValkey) -> None:
    admin: Any = own_valkey.client()
    admin.acl_setuser("plain", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"])
    with redis.Redis.from_url(own_valkey.url, username="plain", password="any") as client:
        assert not MemoryWatch(client, 0.000_1).is_short()
