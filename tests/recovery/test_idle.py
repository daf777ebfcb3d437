"""An idle worker leaves Redis in peace, and is awake at once when a job comes."""

import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.names import Queue
from tests.recovery.servers import OwnValkey, full
from tests.recovery.trial import Trial
from tests.system import Database, wait_for

SECONDS = 20 if full() else 6
SAMPLES = 100 if full() else 20
CALLS_A_SECOND = 2
#: At the small size other tests use the machine; a worker that polled would need some tenths of a second.
MEDIAN_SECONDS = 0.05 if full() else 0.3
#: The default: with a lease of few seconds a worker has to be heard of more often.
SETTINGS = {"PENSTOCK_LEASE_SECONDS": 30}


@pytest.fixture
def apart(environment: dict[str, str], database: Database, own_valkey: OwnValkey, tmp_path: Path) -> Iterator[Trial]:
    """A trial on a Redis where nobody else says anything."""
    with Trial(environment | {"REDIS_URL": own_valkey.url}, database, tmp_path) as made:
        yield made


def calls(server: OwnValkey, seconds: float) -> Counter[str]:
    """The commands that clients send in that time, by name. What a script does within Redis is no call of a client."""
    seen: Counter[str] = Counter()
    ended = threading.Event()

    def end() -> None:
        with server.client() as client:
            ended.set()
            client.echo("the end")

    timer = threading.Timer(seconds, end)
    with server.client().monitor() as monitor:
        timer.start()
        # The call that ends it is heard, too, so nobody waits for a silent server.
        while not ended.is_set():
            heard = monitor.next_command()
            if heard["client_type"] != "lua" and not ended.is_set():
                seen[heard["command"].split()[0].upper()] += 1
    timer.join()
    return seen


def queues(trial: Trial) -> int:
    """The queues that the worker consumes."""
    return sum(int(trial.client.zcard(QueueKeys(trial.namespace, queue).key("workers"))) for queue in Queue)


def test_an_idle_worker_calls_twice_a_second_at_the_most_for_each_queue(apart: Trial, own_valkey: OwnValkey) -> None:
    apart.start(**SETTINGS)
    done = apart.enqueue(3)
    wait_for(lambda: apart.states(done) == {"done": 3}, "the worker to be at work, and idle again")
    # What it asks once, after its first jobs.
    time.sleep(1)
    seen = calls(own_valkey, SECONDS)
    rate = seen.total() / SECONDS / queues(apart)
    print(f"{rate:.2f} calls a second for each of {queues(apart)} queue(s): {dict(seen)}")
    assert 0 < rate <= CALLS_A_SECOND


def test_the_same_count_sees_a_worker_that_is_not_idle(apart: Trial, own_valkey: OwnValkey) -> None:
    """The control: a job every twentieth of a second."""
    apart.start(**SETTINGS)
    apart.enqueue(40, name="warm")
    apart.wait_until_over()
    apart.spread(40, timedelta(seconds=2), name="steady")
    assert calls(own_valkey, 2).total() / 2 / queues(apart) > CALLS_A_SECOND


def test_a_job_is_picked_up_at_once(apart: Trial) -> None:
    apart.start()
    apart.enqueue(1, name="warm")
    apart.wait_until_over()
    waits = []
    for number in range(SAMPLES):
        enqueued = time.monotonic()
        (job,) = apart.enqueue(1, name=f"sample-{number}")
        wait_for(lambda job=job: apart.starts_of([job])[job] == 1, "the job to start")
        waits.append(apart.starts()[-1].at - enqueued)
    median = statistics.median(waits)
    print(f"picked up after {median * 1000:.1f} ms (median), {max(waits) * 1000:.1f} ms (longest) of {SAMPLES}")
    assert median < MEDIAN_SECONDS
