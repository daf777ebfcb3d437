"""Jobs that fail in seven ways, half of them while PostgreSQL is away: each a dead letter with its last traceback."""

import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.middleware import CurrentMessage, Retries

from penstock.producers.queue.connection import connect
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.schemas.names import Queue
from penstock.workers.broker.broker import PenstockBroker
from penstock.workers.broker.leases import Verb
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.archive import Archive
from penstock.workers.settings import WorkerSettings
from tests.queue_kit import QueueKit, open_kit
from tests.recovery.servers import OwnPostgres
from tests.system import BIN, Penstock, Run, wait_for

QUEUE = Queue.POSTS
LETTERS = 1_000
PATIENCE = 90.0


def reach(found: dict[str, int]) -> int:
    return found["what is not there"]


def lacks_a_member() -> None:
    reach({})


def divides_by_nothing() -> None:
    print(1 / len([]))


def is_refused_by_a_rule() -> None:
    raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "the form has no such question")


def is_refused_by_the_other_side() -> None:
    raise PenstockError(Code.STORAGE_REFUSED, "PostgreSQL refused a statement")


def meets_a_full_disk() -> None:
    raise OSError("no space on a device whose name nobody must read")


def fails_on_its_way() -> None:
    try:
        lacks_a_member()
    except KeyError as error:
        raise RuntimeError("an answer that nobody must read") from error


def never_ends() -> None:
    never_ends()


WAYS: dict[Callable[[], None], tuple[str, str, str]] = {
    lacks_a_member: ("INTERNAL_ERROR", "builtins.KeyError", "reach"),
    divides_by_nothing: ("INTERNAL_ERROR", "builtins.ZeroDivisionError", "divides_by_nothing"),
    is_refused_by_a_rule: (
        "JOB_PAYLOAD_INVALID",
        "penstock.schemas.errors.InvalidInputError",
        "is_refused_by_a_rule",
    ),
    is_refused_by_the_other_side: (
        "STORAGE_REFUSED",
        "penstock.schemas.errors.PenstockError",
        "is_refused_by_the_other_side",
    ),
    meets_a_full_disk: ("INTERNAL_ERROR", "builtins.OSError", "meets_a_full_disk"),
    fails_on_its_way: ("INTERNAL_ERROR", "builtins.RuntimeError", "fails_on_its_way"),
    never_ends: ("INTERNAL_ERROR", "builtins.RecursionError", "never_ends"),
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    """A PostgreSQL that may be killed."""
    with OwnPostgres() as server:
        yield server


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[dict[str, "dramatiq.Actor[[], None]"]]:
    """A dramatiq worker of this process with an actor for each way; gives the actors."""
    broker = PenstockBroker(
        client=connect(environment["REDIS_URL"], replays=0),
        waiting=connect(environment["REDIS_URL"], replays=0),
        namespace=environment["PENSTOCK_NAMESPACE"],
        middleware=[CurrentMessage(), Retries(max_retries=1, min_backoff=1, max_backoff=10)],
    )
    actors = {
        way.__name__: dramatiq.actor(way, broker=broker, queue_name=QUEUE, actor_name=way.__name__) for way in WAYS
    }
    running = dramatiq.Worker(broker, worker_threads=4, worker_timeout=100)
    running.start()
    try:
        yield actors
    finally:
        running.stop()
        broker.close()


@pytest.fixture
def scheduler(environment: dict[str, str], postgres: OwnPostgres) -> Iterator["subprocess.Popen[bytes]"]:
    way = {"DATABASE_URL": postgres.database.url}
    process = subprocess.Popen([BIN / "penstock", "scheduler"], env=environment | way, stderr=subprocess.DEVNULL)
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def fail(actors: dict[str, "dramatiq.Actor[[], None]"], first: int, last: int) -> None:
    names = sorted(actors)
    for number in range(first, last):
        actors[names[number % len(names)]].send()


def test_every_letter_is_there_with_the_traceback_of_its_last_attempt(
    environment: dict[str, str],
    postgres: OwnPostgres,
    scheduler: "subprocess.Popen[bytes]",
    client: "redis.Redis",
) -> None:
    inspector = QueueInspector(client, environment["PENSTOCK_NAMESPACE"])

    def archived() -> int:
        return inspector.counts(QUEUE).archived

    with worker(environment) as actors:
        fail(actors, 0, LETTERS // 2)
        wait_for(lambda: archived() == LETTERS // 2, "the first half in PostgreSQL", PATIENCE)
        took = postgres.database.query("SELECT extract(epoch FROM archived_at - died_at) FROM penstock.dead_letters")
        seconds = sorted(float(second) for (second,) in took)
        print(
            f"from death to PostgreSQL: half within {seconds[len(seconds) // 2]:.2f} s, all within {seconds[-1]:.2f} s"
        )
        assert seconds[len(seconds) // 2] < 5
        postgres.kill9()
        fail(actors, LETTERS // 2, LETTERS)
        wait_for(lambda: inspector.counts(QUEUE).waiting == 0, "the other half to die", PATIENCE)
    counts = inspector.counts(QUEUE)
    assert (counts.unarchived, counts.archived, counts.dead, counts.unaccounted) == (500, 500, LETTERS, 0)
    assert_nothing_expires(client, QueueKeys(environment["PENSTOCK_NAMESPACE"], QUEUE))
    postgres.start()
    wait_for(lambda: archived() == LETTERS, "all letters in PostgreSQL", PATIENCE)
    assert inspector.counts(QUEUE).unaccounted == 0
    assert_letters(postgres.database.query)


def assert_nothing_expires(client: "redis.Redis", keys: QueueKeys) -> None:
    dead: Any = client.zrange(keys.key("dead"), 0, -1)
    assert len(dead) == LETTERS // 2
    with client.pipeline(transaction=False) as pipeline:
        for member in dead:
            pipeline.pttl(keys.job(member.decode()))
        pipeline.pttl(keys.key("dead"))
        assert set(pipeline.execute()) == {-1}


def assert_letters(query: Callable[..., list[tuple[Any, ...]]]) -> None:
    rows = query(
        "SELECT kind, code, error, attempts, fingerprint, history, worker, release, message, body"
        " FROM penstock.dead_letters WHERE state = 'open'"
    )
    assert len(rows) == LETTERS
    groups = query("SELECT kind, open, total FROM penstock.dead_letter_groups")
    assert {kind: count for kind, count, _ in groups} == Counter(row[0] for row in rows)
    assert len(groups) == len({row[4] for row in rows}) == len(WAYS)
    told = {way.__name__: facts for way, facts in WAYS.items()}
    for kind, code, error, attempts, _, history, boot, release, message, body in rows:
        wanted_code, wanted_error, function = told[kind]
        assert (code, error, attempts) == (wanted_code, wanted_error, 2)
        assert [entry["outcome"] for entry in history] == ["retried", "dead"]
        last = history[-1]
        frames = last["traceback"]
        file, _, where = frames[-1].rpartition(":")
        assert Path(file).name == "test_dead_letters.py"
        assert where.endswith(f" in {function}")
        assert len(frames) - 1 in last["own"]
        # dramatiq's own frames are no frames of ours.
        assert kind == "never_ends" or 0 not in last["own"]
        assert len(boot.split()) == 3
        assert release
        assert kind.encode() in body
        assert "nobody must read" not in f"{message} {history}"
    assert {row[2] for row in rows if row[0] == "fails_on_its_way"} == {"builtins.RuntimeError"}


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as opened:
        yield opened


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


def test_job_show_reads_what_redis_let_go(kit: QueueKit, settings: WorkerSettings, penstock: Penstock) -> None:
    (job,) = kit.put()
    kit.settle(kit.lease(), Verb.BURY, code="JOB_PAYLOAD_INVALID", told="it does not fit", entry='{"outcome":"dead"}')

    def show(**env: str | None) -> Run:
        return penstock("job", "show", str(job), "--json", env={"PENSTOCK_NAMESPACE": kit.namespace, **env})

    before = show().json
    assert (before["state"], before["archived"], len(before["history"])) == ("dead", False, 1)
    assert "dead_letter" not in before
    with open_pool(settings, "penstock-test") as pool:
        Archive(kit.client, kit.namespace, Transactions(pool, settings)).run_round(kit.queue)
    shown = show().json
    assert (shown["state"], shown["archived"], shown["history"]) == ("dead", True, [])
    assert (shown["dead_letter"]["job_id"], shown["dead_letter"]["code"]) == (str(job), "JOB_PAYLOAD_INVALID")
    assert shown["dead_letter"]["history"] == [{"outcome": "dead"}]
    told = penstock("job", "show", str(job), env={"PENSTOCK_NAMESPACE": kit.namespace}).out
    assert f"{job}: dead in posts" in told
    assert "JOB_PAYLOAD_INVALID: it does not fit" in told
    # Redis has the best of it also where PostgreSQL can't be asked.
    for database in (None, "postgresql://127.0.0.1:9/none"):
        alone = show(DATABASE_URL=database, PENSTOCK_POOL_WAIT_SECONDS="0.5").json
        assert (alone["archived"], alone["message"]) == (True, "it does not fit")
        assert "dead_letter" not in alone
    kit.client.delete(kit.keys.job(job))
    assert show().json["dead_letter"]["job_id"] == str(job)
    assert show(DATABASE_URL=None).error["code"] == "JOB_NOT_FOUND"
