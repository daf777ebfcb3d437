"""All gates of some jobs in one round trip: what refuses, what is taken, and what costs nothing."""

import secrets
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
import redis

from penstock.producers.queue.scripts import Scripts
from penstock.workers.protection.connection import connect_gates
from penstock.workers.protection.gates import Gates, JobGates, Question, Refusal
from penstock.workers.protection.keys import GATE_STEPS, gate_keys
from penstock.workers.protection.limits import LimitUse, RateLimits
from penstock.workers.protection.limits_control import LimitControl, NewOverride
from penstock.workers.protection.mirror import Mirror
from penstock.workers.protection.pauses import PauseControl, Pauses
from tests.workers.protection.wire import sent_from_here

WINDOW = timedelta(minutes=1)
NOBODY_LISTENS = "redis://127.0.0.1:1/0"


class Bench:
    """Gates on a namespace of their own, with copies that are read when they are told to."""

    def __init__(self, url: str, when_down: str = "closed") -> None:
        self.namespace = f"gates-{secrets.token_hex(6)}"
        self.client = connect_gates(url)
        self.pauses = Pauses(self.client, self.namespace)
        self.overrides: Mirror[bytes] = Mirror(
            self.client, gate_keys(self.namespace).key("limits"), lambda _key, text: text
        )
        self.gates = Gates(self.client, self.namespace, self.pauses, self.overrides, when_down)  # type: ignore[arg-type]

    def ask(self, *gates: JobGates, lines_up: bool = False) -> list[Refusal | None]:
        """As a delivery's jobs are asked for."""
        questions = [Question(f"holder-{place}", one, lines_up) for place, one in enumerate(gates)]
        free = {place for place, one in enumerate(gates) if self.gates.lets_in(one)}
        answers = iter(self.gates.ask([one for place, one in enumerate(questions) if place not in free]))
        return [None if place in free else next(answers) for place in range(len(gates))]

    def read(self) -> None:
        self.pauses.list()
        self.overrides.read()


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    made = Bench(redis_url)
    yield made
    for key in made.client.scan_iter(match=f"{made.namespace}:*"):
        made.client.delete(key)
    made.client.close()


def use(key: str = "tenant:acme", limit: int | None = 2, weight: int = 1) -> LimitUse:
    return LimitUse(key, limit, WINDOW, weight)


def blocked(refusals: list[Refusal | None]) -> list[str | None]:
    return [refusal and refusal.blocked_by for refusal in refusals]


def test_each_job_is_asked_for_itself_and_takes_for_itself(bench: Bench) -> None:
    wants = JobGates(uses=(use(),))
    other = JobGates(uses=(use("tenant:other"),))
    assert blocked(bench.ask(wants, wants, wants, other)) == [None, None, "limit:tenant:acme", None]


def test_what_a_circuit_refuses_takes_of_no_limit(bench: Bench) -> None:
    steps, keys = Scripts(bench.client, GATE_STEPS), gate_keys(bench.namespace)
    bench.client.hset(keys.key("circuit:platform:x"), mapping={"forced": "open", "forced_until": ""})
    gated = JobGates(circuits=("platform:x",), uses=(use(),))
    (refusal,) = bench.ask(gated)
    assert refusal is not None
    assert refusal.blocked_by == "circuit:platform:x"
    assert refusal.retry_after is not None
    assert refusal.retry_after > timedelta(0)
    bench.client.delete(keys.key("circuit:platform:x"))
    assert RateLimits(bench.client, bench.namespace).take([use()]).remaining == {"tenant:acme": 1}
    assert blocked(bench.ask(gated, gated)) == [None, "limit:tenant:acme"]
    assert steps.run("circuit_ask", keys, "platform:x", "somebody")[0] == -1


def test_a_half_open_circuit_lets_one_of_a_delivery_in(bench: Bench) -> None:
    key = gate_keys(bench.namespace).key("circuit:platform:x")
    bench.client.hset(key, mapping={"state": "open", "open_until": 1, "generation": 1})
    gated = JobGates(circuits=("platform:x",))
    assert blocked(bench.ask(gated, gated, gated)) == [None, "circuit:platform:x", "circuit:platform:x"]


def test_a_pause_comes_first_and_names_its_reason(bench: Bench) -> None:
    PauseControl(bench.client, bench.namespace, "me").pause("kind:k", "too many complaints")
    bench.read()
    gated = JobGates(keys=("tenant:acme", "kind:k"), uses=(use(),))
    assert bench.ask(gated) == [Refusal("paused:kind:k", None, "too many complaints")]
    assert RateLimits(bench.client, bench.namespace).take([use()]).remaining == {"tenant:acme": 1}


def test_what_concerns_none_is_told_apart_from_what_lets_only_one_in(bench: Bench) -> None:
    bench.read()
    free = JobGates(keys=("kind:k",), uses=(use(limit=None),))
    assert bench.gates.concerns_none(free)
    assert not bench.gates.concerns_none(JobGates(uses=(use(),)))
    assert not bench.gates.concerns_none(JobGates(circuits=("platform:x",)))
    PauseControl(bench.client, bench.namespace, "me").pause("kind:k", "")
    bench.read()
    assert not bench.gates.concerns_none(free)
    assert not bench.gates.concerns_none(JobGates(keys=("kind:k",)))


def test_a_job_that_nothing_concerns_costs_no_round_trip(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.read()
    free = JobGates(keys=("kind:k", "tenant:acme"), uses=(use(limit=None),))
    sent = sent_from_here(monkeypatch)
    assert bench.ask(free, free) == [None, None]
    assert sent == []
    bench.client.ping()
    assert len(sent) == 1, "the control"


def test_an_operators_limit_holds_where_the_caller_has_none(bench: Bench) -> None:
    new = NewOverride(1, WINDOW)
    LimitControl(bench.client, bench.namespace, "me").set_override("tenant:acme", new, "they asked for it")
    free = JobGates(uses=(use(limit=None),))
    assert blocked(bench.ask(free)) == [None], "the copy in memory is a second old"
    bench.read()
    assert blocked(bench.ask(free, free)) == [None, "limit:tenant:acme"]


def test_refused_jobs_are_told_turns_of_their_own(bench: Bench) -> None:
    wants = JobGates(uses=(LimitUse("k", 1, timedelta(seconds=2)),))
    _, *refusals = bench.ask(wants, wants, wants, wants, lines_up=True)
    waits = [refusal.retry_after for refusal in refusals if refusal is not None and refusal.retry_after is not None]
    assert len(waits) == 3
    assert all(later - sooner > timedelta(seconds=1.5) for sooner, later in pairwise(waits))


@pytest.mark.parametrize(("when_down", "expected"), [("open", [None]), ("closed", ["redis"])])
def test_without_redis_the_setting_decides(when_down: str, expected: list[str | None]) -> None:
    bench = Bench(NOBODY_LISTENS, when_down)
    assert blocked(bench.ask(JobGates(uses=(use(),)))) == expected
    assert blocked(bench.ask(JobGates(keys=("kind:k",)))) == [None]


def test_many_gates_of_many_jobs_keep_their_places(bench: Bench) -> None:
    bench.client.hset(gate_keys(bench.namespace).key("paused"), "account:7", '{"by":"me","reason":"r","at":1}')
    bench.read()
    questions = [
        JobGates(
            keys=(f"account:{number}", "kind:k"),
            circuits=tuple(f"c{place}" for place in range(number % 3)),
            uses=tuple(use(f"u{number}.{place}", 5) for place in range(number % 4)),
        )
        for number in range(20)
    ]
    expected = ["paused:account:7" if number == 7 else None for number in range(20)]
    assert blocked(bench.ask(*questions)) == expected


def test_a_redis_that_is_asked_in_vain_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(NOBODY_LISTENS)
    for _ in range(3):
        bench.ask(JobGates(circuits=("c",)))
    told = [line for line in caplog.records if "jobs wait until Redis answers" in line.getMessage()]
    assert len(told) == 1
    assert isinstance(bench.client, redis.Redis)
