"""Dry runs: how many, of what, and which gates would hold them, with nothing sent."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg_pool import ConnectionPool

from penstock.producers.queue.connection import connect
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters import replay_plan
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.replay import ReplayPlan
from penstock.workers.dead_letters.replay_gates import HoldingGates
from penstock.workers.dead_letters.replay_plan import DryRun
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.job import Job
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_view import CircuitState
from penstock.workers.protection.gates import JobGates
from penstock.workers.protection.limits import LimitUse, RateLimits
from penstock.workers.protection.pauses import PauseControl
from penstock.workers.queues.control import QueueControl
from penstock.workers.registry import Registration
from penstock.workers.settings import WorkerSettings
from tests.system import Database
from tests.workers.dead_letters.replay_kit import ReplayKit, a_letter

MINUTE = timedelta(minutes=1)


class Renamed(Payload, kind="test.renamed", queue=Queue.POSTS):
    """A kind whose second version calls `old` by another name."""

    payload_version = 2
    new: int

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        if version != 1 or "old" not in data:
            raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "there is no old")
        return {"new": data["old"]}


class Gated(Payload, kind="test.gated", queue=Queue.POSTS):
    """A kind whose jobs have gates of their own, by the platform in their payload."""

    platform: str


def gates_of(job: Job) -> JobGates:
    name = json.loads(job.payload)["platform"]
    use = LimitUse(f"platform:{name}", 2, MINUTE)
    return JobGates((f"platform:{name}",), (f"platform:{name}",), (use,))


GATED = Registration(Gated, lambda _: lambda *_: [], gates=gates_of)


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with connect(redis_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def replay_pool(settings: WorkerSettings) -> Iterator["ConnectionPool[psycopg.Connection]"]:
    with open_pool(settings, "penstock-test") as opened:
        opened.wait(60)
        yield opened


@pytest.fixture
def kit(
    database: Database,
    replay_pool: "ConnectionPool[psycopg.Connection]",
    settings: WorkerSettings,
    client: "redis.Redis",
    namespace: str,
) -> Iterator[ReplayKit]:
    made = ReplayKit(database, Transactions(replay_pool, settings), LetterSearch(replay_pool))
    made.replays = made.with_gates(HoldingGates(client, namespace, {"test.gated": GATED}, (0, MINUTE)))
    yield made
    made.clear()
    for key in client.scan_iter(match=f"{namespace}*", count=10_000):
        client.delete(key)


def dry_run(kit: ReplayKit, **changed: Any) -> DryRun:
    facts = {} if "ids" in changed else {"filter": LetterFilter()}
    return kit.replays.dry_run(ReplayPlan(by="mara", reason="", **{**facts, **changed}))


def test_it_tells_how_many_of_what(kit: ReplayKit) -> None:
    ids = kit.die([*(a_letter(number) for number in range(7)), a_letter(8, code="JOB_POISON", kind="test.odd")])
    found = dry_run(kit)
    assert (found.count, found.exact, found.gates_known, found.held) == (8, True, True, ())
    assert list(found.by_code.items()) == [("FORM_NOT_FOUND", 7), ("JOB_POISON", 1)]
    assert found.by_kind == {"test.plain": 7, "test.odd": 1}
    assert found.oldest == kit.search.show(ids[0]).letter.died_at
    assert [letter.dead_id for letter in found.sample] == ids[:-6:-1]
    assert kit.outbox() == []
    assert json.loads(json.dumps(found.as_dict()))["count"] == 8


def test_it_says_where_it_stopped_counting(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_plan, "CEILING", 5)
    ids = kit.die(8)
    found = dry_run(kit)
    assert (found.count, found.exact, found.oldest) == (5, False, kit.search.show(ids[0]).letter.died_at)


def test_it_says_what_can_not_be_requeued(kit: ReplayKit) -> None:
    ids = kit.die([a_letter(0), a_letter(1), a_letter(2, header_ok=False, raw=b"?")])
    kit.decisions.discard(ids[:1], "jon", "old")
    found = dry_run(kit, ids=tuple(ids))
    assert (found.count, [letter.dead_id for letter in found.sample]) == (1, [ids[2], ids[1]])
    assert found.refused == {"they were resolved already": 1, "their messages can't be read": 1}


def test_it_tells_old_versions_and_whether_they_can_be_brought_up_to_date(kit: ReplayKit) -> None:
    kit.die([a_letter(number, kind="test.renamed", payload={"old": 1}) for number in range(2)])
    (told,) = dry_run(kit).upcasts
    assert (told.kind, told.version, told.present, told.letters, told.refused) == ("test.renamed", 1, 2, 2, None)
    kit.clear()
    kit.die([a_letter(0, kind="test.renamed", payload={"other": 1})])
    assert dry_run(kit).upcasts[0].refused == "there is no old"


def test_pauses_hold(kit: ReplayKit, client: "redis.Redis", namespace: str) -> None:
    kit.die([*(a_letter(number, tenant="acme") for number in range(3)), a_letter(5, tenant="b", queue="posts")])
    PauseControl(client, namespace, "jon").pause("tenant:acme", "they asked us to")
    PauseControl(client, namespace, "jon").pause("tenant:nobody", "not of these")
    QueueControl(client, namespace, "jon").pause(Queue.POSTS, "upgrade")
    told = [(held.gate, held.letters, held.reason, held.until) for held in dry_run(kit).held]
    assert told == [
        ("paused:tenant:acme", 3, "paused by jon: they asked us to", None),
        ("queue:posts", 1, "paused by jon: upgrade", None),
    ]


def test_a_kinds_own_gates_hold(kit: ReplayKit, client: "redis.Redis", namespace: str) -> None:
    def letter(number: int, name: str) -> Any:
        return a_letter(number, kind="test.gated", payload={"platform": name}, tenant=name)

    kit.die([*(letter(number, "a") for number in range(3)), *(letter(5 + number, "b") for number in range(2))])
    CircuitControl(client, namespace).force("platform:a", CircuitState.OPEN, "their status page", "jon", MINUTE)
    limits = RateLimits(client, namespace)
    limits.take([LimitUse("platform:b", 2, MINUTE, weight=2)])
    limits.block("platform:a", datetime.now(UTC) + MINUTE, "they said so")
    held = {found.gate: found for found in dry_run(kit).held}
    assert {gate: found.letters for gate, found in held.items()} == {
        "circuit:platform:a": 3,
        "blocked:platform:a": 3,
        "limit:platform:b": 2,
    }
    assert held["limit:platform:b"].reason == "2 of 2 are used"
    for found in held.values():
        assert found.until is not None
        assert timedelta(0) < found.until - datetime.now(UTC) <= MINUTE


def test_a_payload_that_its_kind_can_not_read_stops_nothing(kit: ReplayKit) -> None:
    kit.die([a_letter(0, kind="test.gated", payload={"none": 1})])
    assert (dry_run(kit).count, dry_run(kit).held) == (1, ())


def test_without_redis_the_rest_is_told(kit: ReplayKit, namespace: str) -> None:
    kit.die(2)
    with redis.Redis(port=1) as away:
        found = kit.with_gates(HoldingGates(away, namespace, {}, (0, MINUTE))).dry_run(
            ReplayPlan(by="mara", reason="", filter=LetterFilter())
        )
    assert (found.count, found.gates_known, found.held) == (2, False, ())


def test_ids_that_are_none_choose_nothing(kit: ReplayKit) -> None:
    found = dry_run(kit, ids=(uuid4(),))
    assert (found.count, found.oldest, found.sample) == (0, None, [])
