"""Groups of more jobs than may run alone: who is at fault is found by halves, and what was committed before stays."""

import threading
from collections.abc import Mapping
from datetime import timedelta

import pytest
from dramatiq.middleware import Interrupt

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.broker.broker import PenstockBroker
from penstock.workers.broker.delivery import OpenedJob, Work
from penstock.workers.broker.leases import Verb
from penstock.workers.broker.opening import open_envelope
from penstock.workers.broker.time_limits import ShutdownError, TimeLimitExceededError
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Policy
from tests.system import PATIENCE_SECONDS, wait_for
from tests.workers.broker.conftest import QUEUE, Behaviour, Chore, Floor, Shop, failing

SIZE = 40
LARGE = Policy(max_retries=1, group_limit=SIZE)
NAMES = [f"g{number:02}" for number in range(SIZE)]


def leased_group(floor: Floor, behaviours: Mapping[int, Behaviour], policy: Policy = LARGE) -> tuple[Shop, Work]:
    """Jobs `g00` and on as one delivery, held by a worker whose threads do nothing: how it is cut hangs on no clock."""
    for number, name in enumerate(NAMES):
        floor.put(name, behaviours.get(number))
    shop = floor.prepare(policy=policy)
    leased = shop.broker.tools.leases.lease(QUEUE, SIZE, 1).jobs
    assert len(leased) == SIZE
    return shop, Work([OpenedJob(job, *open_envelope(job.message)) for job in leased])


def perform(broker: PenstockBroker, work: Work) -> None:
    """Run a delivery as a worker thread does."""
    broker.get_actor(Chore.kind).fn(work)


def verbs(work: Work) -> dict[str, tuple[Verb, bool]]:
    """How each lease is to end, and whether the job is to run alone then."""
    names = {job.leased.job_id: name for job, name in zip(work.jobs, NAMES, strict=True)}
    assert len(work.settlements) == SIZE
    return {names[one.job.job_id]: (one.verb, bool(one.detail.get("alone"))) for one in work.settlements}


def stored(floor: Floor) -> list[str]:
    """The names of the jobs whose effects are committed, each as often as it is."""
    rows = floor.database.query("SELECT name FROM public.chores WHERE name = ANY(%s) ORDER BY name", NAMES)
    return [name for (name,) in rows]


def test_the_halves_of_a_group_that_fails_run_again_until_few_are_left_to_run_alone(floor: Floor) -> None:
    error = PenstockError(Code.STORAGE_REFUSED, "told")
    floor.database.query("TRUNCATE public.chores")
    shop, work = leased_group(floor, {17: failing(1_000, error)})
    perform(shop.broker, work)
    found = verbs(work)
    alone = [name for name, end in found.items() if end == (Verb.RELEASE, True)]
    assert alone == ["g15", "g16", "g17", "g18", "g19"], "the half of the half of the half"
    assert {end for name, end in found.items() if name not in alone} == {(Verb.ACK, False)}
    assert stored(floor) == [name for name in NAMES if name not in alone]
    assert [len(names) for names in floor.actor.deliveries] == [40, 20, 10, 10, 5, 5, 20]
    shop.broker.tools.settler.settle(work.settlements)
    floor.open(policy=LARGE, threads=1)
    wait_for(lambda: floor.counts() == {"accepted": SIZE, "done": SIZE - 1, "dead": 1}, "the rest to be over")
    assert stored(floor) == [name for name in NAMES if name != "g17"]
    assert set(floor.actor.attempts["g17"]) == {1}, "its failures in a group were no attempts"


def test_a_group_whose_transaction_dies_runs_again_whole(floor: Floor) -> None:
    cut = """
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE state = 'idle in transaction' AND datname = current_database()
    """
    cuts = iter([cut])

    def lose_the_connection(_: Job) -> Outcome:
        for statement in cuts:
            assert floor.database.value(statement) >= 1
        return Done()

    floor.database.query("TRUNCATE public.chores")
    shop, work = leased_group(floor, {SIZE - 1: lose_the_connection})
    perform(shop.broker, work)
    assert set(verbs(work).values()) == {(Verb.ACK, False)}
    assert [len(names) for names in floor.actor.deliveries] == [SIZE, SIZE]
    assert stored(floor) == NAMES
    shop.broker.tools.settler.settle(work.settlements)
    wait_for(lambda: floor.counts() == {"accepted": SIZE, "done": SIZE}, "the leases to be ended")


@pytest.mark.parametrize(
    ("error", "end"),
    [
        pytest.param(TimeLimitExceededError, (Verb.RELEASE, True), id="an overrun is dissolved"),
        pytest.param(ShutdownError, (Verb.RELEASE, False), id="a deploy is nobody's fault"),
    ],
)
def test_an_interrupt_leaves_what_its_group_has_committed(
    floor: Floor, error: type[Interrupt], end: tuple[Verb, bool]
) -> None:
    entered, ended = threading.Event(), threading.Event()

    def endless(_: Job) -> Outcome:
        entered.set()
        while not ended.wait(0.01):
            pass
        return Done()

    # The whole fails at its first job, so that the half that begins with it is parted, and then the other one hangs.
    bad = failing(1_000, PenstockError(Code.STORAGE_REFUSED, "told"))
    floor.database.query("TRUNCATE public.chores")
    shop, work = leased_group(floor, {0: bad, 20: endless}, Policy(group_limit=SIZE, time_limit=timedelta(hours=1)))
    thread = threading.Thread(target=perform, args=(shop.broker, work))
    thread.start()
    assert entered.wait(PATIENCE_SECONDS)
    assert shop.limits.interrupt_all(error) == 1
    thread.join(PATIENCE_SECONDS)
    ended.set()
    found = verbs(work)
    assert [found[name] for name in NAMES[:5]] == [(Verb.RELEASE, True)] * 5
    assert [found[name] for name in NAMES[5:20]] == [(Verb.ACK, False)] * 15
    assert [found[name] for name in NAMES[20:]] == [end] * 20
    assert stored(floor) == NAMES[5:20]
    shop.broker.tools.settler.settle(work.settlements)
    wait_for(lambda: floor.held_by_redis(shop) == 0, "the leases to be ended")
