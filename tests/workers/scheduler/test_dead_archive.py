"""The archive: every dead letter comes to PostgreSQL once and whole, whoever dies, is away or refuses meanwhile."""

import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import redis

from penstock.producers.queue.enqueueing import NewJob, Offer
from penstock.producers.queue.message import encode_job
from penstock.producers.queue.records import JobRecords, JobState
from penstock.schemas.envelope import EnvelopeHeader
from penstock.schemas.errors import Code, PenstockError
from penstock.schemas.identity import dead_id, job_id
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import DEFAULT_TENANT
from penstock.workers.broker.leases import LeasedJob, Leases, Settlement, Verb, new_boot_id
from penstock.workers.broker.settlements import Settlements
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters import archive as archive_module
from penstock.workers.dead_letters.archive import ROUND_LETTERS, Archive
from penstock.workers.dead_letters.deaths import letter_of
from penstock.workers.dead_letters.unarchived import Death
from penstock.workers.job import Dead, Postpone
from penstock.workers.protection.retry import Failure, Verdict
from penstock.workers.registry import Policy
from penstock.workers.scheduler.dead_archive import DeadArchive
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.metrics import DEAD_LETTERS_REFUSED
from tests.queue_kit import QueueKit, open_kit
from tests.system import Database

TENANT = "acme"


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def archive(kit: QueueKit, transactions: Transactions, clock: Clock) -> Archive:
    return Archive(kit.client, kit.namespace, transactions, clock)


def new_job(payload: bytes = b'{"a":1}', **facts: Any) -> NewJob:
    identity = uuid.uuid4()
    encoded = EncodedPayload("test.plain", QueueKit.queue, 1, payload, None)
    made = encode_job(encoded, identity, TENANT, datetime.now(UTC), keep=timedelta(hours=1))
    return replace(made, **facts)


def put(kit: QueueKit, *jobs: NewJob) -> list[uuid.UUID]:
    kit.enqueuer.enqueue(kit.queue, jobs)
    return [job.job_id for job in jobs]


def kill(kit: QueueKit, *jobs: NewJob, **detail: Any) -> list[uuid.UUID]:
    """Enqueue jobs and bury them."""
    ids = put(kit, *jobs)
    told = {"code": "INTERNAL_ERROR", "told": "the actor raised KeyError"} | detail
    kit.settle(kit.lease(len(jobs)), Verb.BURY, **told)
    return ids


def letters(database: Database, ids: list[uuid.UUID], columns: str = "job_id") -> list[Any]:
    return database.query(
        f"SELECT {columns} FROM penstock.dead_letters WHERE job_id = ANY(%s) ORDER BY died_at, dead_id", ids
    )


def test_a_letter_has_the_key_that_its_producer_gave(kit: QueueKit, archive: Archive, database: Database) -> None:
    keyed, unkeyed = (
        encode_job(
            EncodedPayload("test.plain", QueueKit.queue, 1, b"{}", key),
            uuid.uuid4(),
            TENANT,
            datetime.now(UTC),
            keep=timedelta(hours=1),
        )
        for key in ("order-7", None)
    )
    kill(kit, keyed, unkeyed)
    archive.run_round(kit.queue)
    found = dict(letters(database, [keyed.job_id, unkeyed.job_id], "job_id, idempotency_key"))
    assert found == {keyed.job_id: "order-7", unkeyed.job_id: None}


def dead_in_redis(kit: QueueKit) -> int:
    return int(kit.client.zcard(kit.keys.key("dead")))


def test_a_letter_has_everything_that_is_known_of_its_job(kit: QueueKit, archive: Archive, database: Database) -> None:
    job = new_job(b'{"form_id":"f"}')
    put(kit, job)
    settlements = Settlements(kit.leases.boot, "1.2.3")
    policy = Policy(max_retries=1, backoff_base=timedelta(0))
    failure = Failure(Verdict.RETRY, Code.INTERNAL_ERROR, "the actor raised ZeroDivisionError")
    for _ in range(2):
        (leased,) = kit.lease()
        try:
            _ = 1 / 0
        except ZeroDivisionError as error:
            kit.leases.settle(kit.queue, [settlements.of_failure(leased, failure, policy, 0.5, error)])
    assert archive.run_round(kit.queue) is False
    columns = (
        "dead_id, queue, kind, tenant, code, message, error, attempts, worker, release, history, message_bytes, body,"
        " encoding, header_ok, raw, state, died_at, enqueued_at"
    )
    (row,) = letters(database, [job.job_id], columns)
    found = dict(zip(columns.replace(" ", "").split(","), row, strict=True))
    died_at = found["died_at"]
    assert found["dead_id"] == dead_id(kit.queue, str(job.job_id), round(died_at.timestamp() * 1000))
    told = {name: found[name] for name in ("queue", "kind", "tenant", "code", "message", "error", "attempts", "state")}
    assert told == {
        "queue": "posts",
        "kind": "test.plain",
        "tenant": TENANT,
        "code": "INTERNAL_ERROR",
        "message": "the actor raised ZeroDivisionError",
        "error": "builtins.ZeroDivisionError",
        "attempts": 2,
        "state": "open",
    }
    assert found["worker"].endswith(f" {kit.leases.boot}")
    assert len(found["worker"].split()) == 3
    assert (found["release"], found["message_bytes"], found["raw"]) == ("1.2.3", len(job.message), None)
    assert (found["body"], found["encoding"], found["header_ok"]) == (b'{"form_id":"f"}', None, True)
    assert [(entry["attempt"], entry["outcome"]) for entry in found["history"]] == [(1, "retried"), (2, "dead")]
    frames = found["history"][1]["traceback"]
    assert frames[-1].endswith("in test_a_letter_has_everything_that_is_known_of_its_job")
    assert found["history"][1]["own"] == list(range(len(frames)))


@pytest.mark.parametrize(
    ("message", "header_ok"),
    [
        (b"\xff\xfe\x00", False),
        (b"", False),
        (b'{"v":9}\n{}', False),
        (b"no newline", False),
    ],
)
def test_bytes_that_nobody_can_read_are_kept_as_they_are(
    kit: QueueKit, archive: Archive, database: Database, message: bytes, header_ok: bool
) -> None:
    ids = kill(kit, new_job(message=message), code="JOB_PAYLOAD_INVALID", told="a \x00 in it")
    archive.run_round(kit.queue)
    (row,) = letters(database, ids, "header_ok, raw, body, message")
    assert row == (header_ok, message, b"", "a \ufffd in it")
    assert dead_in_redis(kit) == 0


def test_an_id_that_is_none_and_a_name_that_is_too_long_are_archived(
    kit: QueueKit, archive: Archive, database: Database
) -> None:
    member = b"not a uuid \xff"
    fields = {"state": "dead", "kind": "k" * 100_000, "tenant": "t\x00", "died_at": "1700000000123", "message": b"x"}
    kit.client.hset(kit.keys.base.encode() + b":job:" + member, mapping=fields)
    kit.client.zadd(kit.keys.key("dead"), {member: 1700000000123})
    archive.run_round(kit.queue)
    identity = job_id(DEFAULT_TENANT, str(kit.queue), member.hex())
    assert letters(database, [identity], "length(kind), tenant") == [(200, "t\ufffd")]
    assert dead_in_redis(kit) == 0


def test_poison_tells_which_worker_died_of_it(kit: QueueKit, archive: Archive, database: Database) -> None:
    ids = put(kit, new_job())
    lost = Leases(kit.client, kit.namespace, new_boot_id(), timedelta(milliseconds=1), poison_limit=1)
    lost.join(kit.queue)
    (job,) = lost.lease(kit.queue, 1, 1).jobs
    assert lost.start(job)
    lost.leave(kit.queue)
    assert lost.tick(kit.queue, member=False).buried == 1
    archive.run_round(kit.queue)
    (row,) = letters(database, ids, "code, crashes, worker, release, history")
    code, crashes, worker, release, history = row
    assert (code, crashes, worker.split()[2]) == ("JOB_POISON", 1, lost.boot)
    assert release
    assert [(entry["outcome"], entry["pid"]) for entry in history] == [("recovered", int(worker.split()[1]))]


ENDS_WITHOUT_EXCEPTION: dict[str, Callable[[Settlements, LeasedJob], Settlement]] = {
    "JOB_DEADLINE_EXCEEDED": lambda settlements, job: settlements.of_outcome(
        msgspec.structs.replace(job, postponed_at=1), Postpone(timedelta(seconds=1), "a gate"), Policy(), 0.1
    ),
    "JOB_UNKNOWN_KIND": lambda settlements, job: settlements.unreadable(job, Code.JOB_UNKNOWN_KIND, "nobody knew it"),
    "JOB_PAYLOAD_INVALID": lambda settlements, job: settlements.of_outcome(
        job, Dead(Code.JOB_PAYLOAD_INVALID, "no such form"), Policy(), 0.1
    ),
}


@pytest.mark.parametrize("code", ENDS_WITHOUT_EXCEPTION)
def test_each_way_to_die_names_code_worker_and_release(
    kit: QueueKit, archive: Archive, database: Database, code: str
) -> None:
    ids = put(kit, new_job())
    (leased,) = kit.lease()
    settlement = ENDS_WITHOUT_EXCEPTION[code](Settlements(kit.leases.boot, "1.2.3"), leased)
    assert kit.leases.settle(kit.queue, [settlement]) == [True]
    archive.run_round(kit.queue)
    (row,) = letters(database, ids, "code, message, error, worker, release, history, body")
    assert row[:3] == (code, settlement.detail["told"], None)
    assert row[3] == f"{platform.node()} {os.getpid()} {kit.leases.boot}"
    (entry,) = row[5]
    assert (row[4], entry["outcome"], entry["code"], row[6]) == ("1.2.3", "dead", code, b'{"a":1}')


def test_ids_of_trace_and_sentry_are_taken_over() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    header, _, payload = new_job().message.partition(b"\n")
    message = json.dumps(json.loads(header) | {"trace": trace}).encode() + b"\n" + payload
    history = json.dumps([{"outcome": "retried", "sentry": "0" * 32}, {"outcome": "dead", "sentry": "a" * 32}]).encode()
    letter = letter_of(Death("posts", b"x", b"1700000000123", message, {"history": history}))
    assert letter.sentry == "a" * 32
    if "trace" in EnvelopeHeader.model_fields:
        assert letter.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_history_that_is_full_still_has_the_last_attempt(kit: QueueKit, archive: Archive, database: Database) -> None:
    ids = put(kit, new_job())
    for number in range(12):
        entry = json.dumps({"outcome": "retried", "number": number, "filler": "x" * 40_000})
        kit.settle(kit.lease(), Verb.RETRY, delay=0, entry=entry)
        kit.leases.tick(kit.queue)
    kit.settle(kit.lease(), Verb.BURY, code="C", told="t", entry='{"outcome":"dead","traceback":["f:1 in g"]}')
    archive.run_round(kit.queue)
    ((history,),) = letters(database, ids, "history")
    numbers = [entry["number"] for entry in history if "number" in entry]
    assert numbers == list(range(len(numbers)))
    assert history[-2:] == [
        {"outcome": "left out", "entries": 12 - len(numbers)},
        {"outcome": "dead", "traceback": ["f:1 in g"]},
    ]


def test_an_archived_job_leaves_a_small_record_that_is_known(kit: QueueKit, archive: Archive) -> None:
    job = new_job(b'"' + b"x" * 100_000 + b'"')
    kill(kit, job, entry='{"outcome":"dead"}')
    archive.run_round(kit.queue)
    record = kit.client.hgetall(kit.keys.job(job.job_id))
    assert not {b"message", b"history"} & record.keys()
    assert sum(map(len, record.values())) < 400
    assert JobRecords(kit.client, kit.namespace).read([job.job_id])[job.job_id].state is JobState.DEAD
    (told,) = kit.enqueuer.enqueue(kit.queue, [job])
    assert (told.offer, told.state) == (Offer.KNOWN, JobState.DEAD)
    view = kit.inspector.find(job.job_id)
    assert view is not None
    assert (view.state, view.archived, view.message) == ("dead", True, "the actor raised KeyError")
    counts = kit.inspector.counts(kit.queue)
    assert (counts.dead, counts.unarchived, counts.archived, counts.unaccounted) == (1, 0, 1, 0)


def test_a_record_goes_when_its_time_has_passed(kit: QueueKit, archive: Archive) -> None:
    short, long = new_job(keep=timedelta(milliseconds=1)), new_job(keep=timedelta(0))
    kill(kit, short, long)
    archive.run_round(kit.queue)
    for _ in range(100):
        archive.count_open([kit.queue])
        if not kit.client.exists(kit.keys.job(short.job_id)):
            break
    assert kit.client.exists(kit.keys.job(short.job_id), kit.keys.job(long.job_id)) == 1
    due = kit.client.zscore(kit.keys.key("archived"), str(long.job_id))
    assert due - time.time() * 1000 > 23 * 3_600_000
    assert kit.inspector.counts(kit.queue).unaccounted == 0


def test_what_only_redis_has_never_expires(kit: QueueKit, transactions: Transactions, settings: WorkerSettings) -> None:
    """Eight days pass for the archive, with PostgreSQL away."""
    ids = kill(kit, *(new_job(keep=timedelta(milliseconds=1)) for _ in range(20)))
    clock = Clock()
    away = settings.model_copy(update={"database_url": "postgresql://127.0.0.1:9/none", "pool_wait_seconds": 0.1})
    with open_pool(away, "penstock-test-away") as pool:
        loop = DeadArchive(Archive(kit.client, kit.namespace, Transactions(pool, away, tries=1), clock), clock)
        for _ in range(4):
            clock.now += timedelta(days=2).total_seconds()
            with pytest.raises(PenstockError):
                loop.run_once()
    assert dead_in_redis(kit) == 20
    assert {kit.client.pttl(kit.keys.job(one)) for one in ids} == {-1}
    assert Archive(kit.client, kit.namespace, transactions).run_round(kit.queue) is False
    assert dead_in_redis(kit) == 0


def test_1000_letters_take_few_rounds(kit: QueueKit, archive: Archive, database: Database) -> None:
    entry = json.dumps({"outcome": "dead", "error": "a.B", "traceback": [f"/x/{n}.py:{n} in f" for n in range(25)]})
    ids = []
    for _ in range(2):
        ids += kill(kit, *(new_job(b'{"form_id":"f","rows":[%d]}' % n) for n in range(500)), entry=entry)
    began, rounds = time.perf_counter(), 1
    while archive.run_round(kit.queue):
        rounds += 1
    print(f"archived 1,000 letters in {rounds} rounds, {time.perf_counter() - began:.2f} s")
    assert len(letters(database, ids)) == 1_000
    assert rounds <= 1_000 // ROUND_LETTERS + 1


def test_any_number_of_archives_at_once_archive_each_letter_once(
    kit: QueueKit, transactions: Transactions, database: Database
) -> None:
    ids = kill(kit, *(new_job() for _ in range(400)))
    archives = [Archive(kit.client, kit.namespace, transactions) for _ in range(4)]
    with ThreadPoolExecutor() as threads:
        for _ in range(3):
            list(threads.map(lambda one: one.run_round(kit.queue), archives))
    assert sorted(row[0] for row in letters(database, ids)) == sorted(ids)
    counts = kit.inspector.counts(kit.queue)
    assert (counts.unarchived, counts.archived, counts.dead, counts.unaccounted) == (0, 400, 400, 0)


def test_messages_are_read_and_stored_a_bounded_piece_at_a_time(
    kit: QueueKit, archive: Archive, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "ROUND_BYTES", 3_000_000)
    jobs = [new_job(message=b"\xff" * size) for size in (1_000_000, 1_000_000, 9_000_000, 1_000_000)]
    ids = kill(kit, *jobs)
    stored = []
    while archive.run_round(kit.queue):
        stored.append(len(letters(database, ids)))
    assert max(later - earlier for earlier, later in zip([0, *stored], [*stored, 4], strict=True)) <= 3
    assert sorted(row[0] for row in letters(database, ids, "length(raw)")) == [1_000_000] * 3 + [9_000_000]


def test_a_letter_that_postgresql_refuses_is_in_nobodys_way(
    kit: QueueKit, archive: Archive, database: Database, clock: Clock
) -> None:
    good = kill(kit, *(new_job() for _ in range(9)))
    (bad,) = kill(kit, new_job(), code="REFUSED_BY_A_TEST")
    good += kill(kit, *(new_job() for _ in range(9)))
    refused = DEAD_LETTERS_REFUSED.labels(kit.queue)._value.get()
    database.query("ALTER TABLE penstock.dead_letters ADD CONSTRAINT test CHECK (code <> 'REFUSED_BY_A_TEST')")
    try:
        archive.run_round(kit.queue)
        assert sorted(row[0] for row in letters(database, [*good, bad])) == sorted(good)
        assert kit.client.zrange(kit.keys.key("dead"), 0, -1) == [str(bad).encode()]
        assert archive.run_round(kit.queue) is False
        assert DEAD_LETTERS_REFUSED.labels(kit.queue)._value.get() == refused + 1
    finally:
        database.query("ALTER TABLE penstock.dead_letters DROP CONSTRAINT test")
    archive.run_round(kit.queue)
    assert dead_in_redis(kit) == 1, "it is left alone for a while"
    clock.now += archive_module.SET_ASIDE.total_seconds()
    archive.run_round(kit.queue)
    assert (dead_in_redis(kit), len(letters(database, [bad]))) == (0, 1)


def test_a_record_that_is_damaged_is_in_nobodys_way(kit: QueueKit, archive: Archive, database: Database) -> None:
    damaged = kill(kit, *(new_job() for _ in range(4)))
    kit.client.hset(kit.keys.job(damaged[0]), "history", "[1")
    kit.client.delete(kit.keys.job(damaged[1]))
    kit.client.hset(kit.keys.job(damaged[2]), "attempts", "many")
    kit.client.hset(kit.keys.job(damaged[3]), "history", '[{"at":1e400}]')
    good = kill(kit, new_job())
    archive.run_round(kit.queue)
    assert [row[0] for row in letters(database, [*damaged, *good])] == good
    assert dead_in_redis(kit) == 4


def test_without_the_table_nothing_is_let_go(kit: QueueKit, archive: Archive, database: Database) -> None:
    ids = kill(kit, new_job())
    database.query("ALTER TABLE penstock.dead_letters RENAME TO elsewhere")
    try:
        with pytest.raises(PenstockError):
            archive.run_round(kit.queue)
    finally:
        database.query("ALTER TABLE penstock.elsewhere RENAME TO dead_letters")
    assert dead_in_redis(kit) == 1
    archive.run_round(kit.queue)
    assert len(letters(database, ids)) == 1


def test_a_job_that_died_again_is_not_let_go_for_its_earlier_death(
    kit: QueueKit, archive: Archive, database: Database
) -> None:
    job = new_job()
    ids = kill(kit, job)
    archive.run_round(kit.queue)
    died_at = letters(database, ids, "died_at")[0][0]
    revived = replace(job, revives=died_at)
    for _ in range(2):
        kit.enqueuer.enqueue(kit.queue, [revived])
    kit.settle(kit.lease(), Verb.BURY, code="C", told="again")
    # Who was killed before it could tell Redis does it now, and so does a relay that offers a second time.
    (told,) = kit.enqueuer.enqueue(kit.queue, [revived])
    assert (told.offer, told.state) == (Offer.KNOWN, JobState.DEAD)
    archive._unarchived.let_go(kit.queue, [_death(kit, job.job_id, died_at)])
    assert dead_in_redis(kit) == 1
    archive.run_round(kit.queue)
    assert len(letters(database, ids)) == 2
    assert kit.inspector.counts(kit.queue).unaccounted == 0


def _death(kit: QueueKit, identity: uuid.UUID, died_at: datetime) -> Any:
    text = str(round(died_at.timestamp() * 1000)).encode()
    return Death(kit.queue, str(identity).encode(), text, b"", {})


def test_the_dead_are_those_that_postgresql_says_wait(kit: QueueKit, archive: Archive, database: Database) -> None:
    ids = kill(kit, *(new_job() for _ in range(5)))
    archive.run_round(kit.queue)
    database.query(
        "UPDATE penstock.dead_letters SET state = 'discarded', resolved_at = now(), resolved_by = 'ada',"
        " resolution_reason = 'a test' WHERE job_id = ANY(%s)",
        ids[:2],
    )
    open_before = database.value(
        "SELECT count(*) FROM penstock.dead_letters WHERE state = 'open' AND queue = %s", str(kit.queue)
    )
    archive.count_open([kit.queue])
    assert kit.inspector.counts(kit.queue).dead == open_before
    kill(kit, new_job())
    assert kit.inspector.counts(kit.queue).dead == open_before + 1
    archive.run_round(kit.queue)
    assert kit.inspector.counts(kit.queue).dead == open_before + 1
    assert kit.inspector.counts(kit.queue).unaccounted == 0


def test_an_earlier_release_may_give_an_archived_job_a_new_life(kit: QueueKit, archive: Archive) -> None:
    """Its step knows no archive: it writes the message and puts the job into its tenant's list."""
    job = new_job(keep=timedelta(milliseconds=1))
    kill(kit, job)
    archive.run_round(kit.queue)
    key = kit.keys.job(job.job_id)
    kit.client.hdel(key, "attempts", "code", "told", "died_at")
    kit.client.hset(key, mapping={"state": "ready", "message": job.message})
    kit.client.rpush(kit.keys.key(f"ready:{TENANT}"), str(job.job_id))
    kit.client.rpush(kit.keys.key("rotation"), TENANT)
    assert kit.client.pttl(key) == -1, "nothing may make it expire"
    time.sleep(0.005)  # its record's time has passed by Redis's clock
    archive.count_open([kit.queue])
    assert [leased.job_id for leased in kit.lease()] == [str(job.job_id)]
    assert kit.inspector.counts(kit.queue).unaccounted == 0


def test_the_loop_archives_all_queues_and_counts_now_and_then(
    kit: QueueKit, transactions: Transactions, clock: Clock
) -> None:
    loop = DeadArchive(Archive(kit.client, kit.namespace, transactions, clock), clock)
    assert loop.run_once() is False
    kit.client.hset(kit.keys.key("meta"), "dead_archived", 77)
    loop.run_once()
    assert kit.inspector.counts(kit.queue).dead == 77
    clock.now += 5
    loop.run_once()
    assert kit.inspector.counts(kit.queue).dead != 77


def test_redis_away_is_told(transactions: Transactions) -> None:
    with redis.Redis.from_url("redis://127.0.0.1:9/0") as client, pytest.raises(PenstockError) as caught:
        Archive(client, "n", transactions).run_round("posts")
    assert caught.value.code is Code.QUEUE_UNAVAILABLE
