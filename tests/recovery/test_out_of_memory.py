"""Redis at its memory limit: it takes no new job and says so, and what is queued is worked off without a restart."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from penstock.producers.queue.scripts import script
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.queues.control import QueueControl
from tests.recovery.servers import OwnValkey, full
from tests.recovery.trial import QUEUE, Trial
from tests.system import Database

#: Above what the server itself takes.
LIMIT = "64mb" if full() else "12mb"
#: Digits of chance that a job carries: they can't be compressed away.
DIGITS = 40_000
ENOUGH = 10_000


@pytest.fixture
def own_redis() -> Iterator[OwnValkey]:
    with OwnValkey(maxmemory=LIMIT) as server:
        yield server


@pytest.fixture
def apart(environment: dict[str, str], database: Database, own_redis: OwnValkey, tmp_path: Path) -> Iterator[Trial]:
    """A trial on that Redis."""
    with Trial(environment | {"REDIS_URL": own_redis.url}, database, tmp_path) as made:
        yield made


def fill(trial: Trial) -> tuple[int, PenstockError]:
    """Enqueue until Redis refuses; returns how many it took, and the refusal."""
    for count in range(ENOUGH):
        try:
            # Each job fails once, so that a retry has to be noted at the limit too.
            trial.offer([trial.job({"name": secrets.token_hex(DIGITS // 2), "fail": 1})])
        except PenstockError as refused:
            return count, refused
    raise AssertionError("the limit was never reached")


def test_a_full_redis_refuses_jobs_and_gets_empty(apart: Trial, own_redis: OwnValkey) -> None:
    admin = own_redis.client()
    control = QueueControl(admin, apart.namespace, "tester")
    worker = apart.start()
    assert control.pause(QUEUE, "to fill it")
    count, refused = fill(apart)
    assert refused.code is Code.QUEUE_OUT_OF_MEMORY
    assert apart.counts().ready == apart.counts().accepted == count
    # At the limit to the very end, however much is freed on the way.
    admin.config_set("maxmemory", 1)
    late = apart.start()
    assert control.resume(QUEUE, "it is full")
    seconds = apart.wait_until_over()
    print(f"{count} jobs of {DIGITS} bytes filled {LIMIT} and were worked off in {seconds:.1f} s")
    assert (apart.counts().done, apart.counts().dead, apart.counts().leased) == (count, 0, 0)
    ((rows, jobs),) = apart.database.query("SELECT count(*), count(DISTINCT job_id) FROM effects_seen")
    assert (rows, jobs) == (count, count)
    assert worker.is_running()
    assert late.is_running()
    with pytest.raises(PenstockError) as caught:
        apart.enqueue(name="refused")
    assert caught.value.code is Code.QUEUE_OUT_OF_MEMORY
    admin.config_set("maxmemory", 0)
    again = apart.enqueue(name="taken")
    apart.wait_until_over()
    apart.assert_exactly_once(again)
    apart.assert_clean()


def test_a_worker_that_comes_to_a_full_redis_empties_it(apart: Trial, own_redis: OwnValkey) -> None:
    """As after a deploy in the middle of it."""
    jobs = apart.enqueue(20)
    admin = own_redis.client()
    admin.config_set("maxmemory", 1)
    worker = apart.start()
    apart.wait_until_over()
    apart.assert_exactly_once(jobs)
    assert worker.stop() == 0
    admin.config_set("maxmemory", 0)


def test_a_step_without_its_flag_is_refused_there(own_redis: OwnValkey) -> None:
    """The control: what lets a worker end its leases on a full Redis is a flag of the step, and no luck."""
    admin = own_redis.client()
    admin.config_set("maxmemory", 1)
    settle = script("settle").source
    assert "allow-oom" in settle.partition("\n")[0]
    with pytest.raises(redis.OutOfMemoryError):
        admin.eval("#!lua\n" + settle.partition("\n")[2], 1, "control:{q}", "boot")
    admin.eval(settle, 1, "control:{q}", "boot")
