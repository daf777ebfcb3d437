"""Flags: who is in, that who is in stays in, and that the last known ones hold while Redis is away."""

import secrets
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from penstock.producers.queue.audit import OperatorAction
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.database.pool import open_pool
from penstock.workers.protection.connection import connect_gates
from penstock.workers.protection.flags import FlagControl, Flags, point_of
from penstock.workers.protection.keys import gate_keys
from penstock.workers.run import assemble
from penstock.workers.settings import WorkerSettings
from tests.recovery.servers import OwnValkey
from tests.system import Database, wait_for
from tests.workers.protection.wire import sent_from_here

KEYS = [f"tenant-{number}" for number in range(10_000)]


class Board:
    """The flags of a namespace of its own."""

    def __init__(self, client: "redis.Redis", namespace: str) -> None:
        self.client = client
        self.keys = gate_keys(namespace)
        self.flags = Flags(client, namespace)
        self.control = FlagControl(client, namespace, "ada")

    def put(self, percent: float, name: str = "f", fallback: str | None = None) -> None:
        self.control.set(name, percent, "a reason", fallback)
        self.flags.list()

    def who(self, name: str = "f") -> set[str]:
        return {key for key in KEYS if self.flags.is_on(name, key)}


@pytest.fixture
def board(redis_url: str, namespace: str) -> Iterator[Board]:
    with redis.Redis.from_url(redis_url) as client:
        yield Board(client, f"{namespace}-{secrets.token_hex(4)}")


def test_nobody_is_in_at_0_and_everybody_at_100(board: Board) -> None:
    board.put(0)
    assert board.who() == set()
    board.put(100)
    assert board.who() == set(KEYS)


def test_raising_the_percentage_only_adds(board: Board) -> None:
    before: set[str] = set()
    for percent in (0, 0.5, 1, 7, 25, 50, 75, 99, 100):
        board.put(percent)
        now = board.who()
        assert before <= now
        # 10,000 keys: three standard deviations are 1.5 % at the most.
        assert abs(len(now) / len(KEYS) * 100 - percent) < 1.5
        before = now


def test_another_flag_has_other_first_ones(board: Board) -> None:
    board.put(10, "one")
    board.put(10, "other")
    both = board.who("one") & board.who("other")
    assert 0 < len(both) < 200, "a hundredth of all, and not a tenth"


def test_a_point_is_the_same_for_ever() -> None:
    """Another hash would throw people out of what they were let into."""
    assert point_of("new-writer", "acme") == pytest.approx(POINT, abs=1e-9)
    assert all(0 <= point_of("f", key) < 100 for key in KEYS)


#: SHA-256 of "new-writer\nacme" by another tool, its first 6 bytes as a part of 2**48.
POINT = 49.24131281346469


@pytest.mark.parametrize("default", [True, False])
def test_a_flag_that_nobody_has_set_is_as_the_caller_says(board: Board, default: bool) -> None:
    board.flags.list()
    assert board.flags.is_on("f", "acme", default=default) is default
    assert board.flags.choose("f", "acme", {"on": 1, "off": 2}, default=default) == (1 if default else 2)


def test_a_flag_that_is_off_chooses_its_fallback(board: Board) -> None:
    options = {"on": "api", "off": "nothing", "queue": "later"}
    board.put(0)
    assert board.flags.choose("f", "acme", options) == "nothing"
    board.put(0, fallback="queue")
    assert board.flags.choose("f", "acme", options) == "later"
    board.put(0, fallback="no-such-thing")
    assert board.flags.choose("f", "acme", options) == "nothing", "an operator's slip fails no job"
    board.put(100)
    assert board.flags.choose("f", "acme", options) == "api"


def test_options_are_complete_whatever_the_flag_says(board: Board) -> None:
    """A caller's slip is seen at the first call, and not in the outage that the flag is for."""
    board.put(100)
    with pytest.raises(KeyError):
        board.flags.choose("f", "acme", {"on": 1})


def test_a_fallback_stays_until_another_one_is_named(board: Board) -> None:
    board.put(50, fallback="queue")
    board.put(0)
    assert [one.fallback for one in board.flags.list()] == ["queue"]
    board.put(0, fallback="")
    assert [one.fallback for one in board.flags.list()] == [None]


def test_a_change_tells_who_why_and_when_and_is_audited(board: Board) -> None:
    made = board.control.set("f", 12.5, "a first look", "queue")
    assert (made.name, made.percent, made.fallback, made.by, made.reason) == ("f", 12.5, "queue", "ada", "a first look")
    assert made.at is not None
    assert board.flags.list() == [made]
    (entry,) = board.client.lrange(board.keys.key("audit"), 0, -1)  # type: ignore[misc]
    action = OperatorAction.decode(entry)
    assert (action.actor, action.action, action.target, action.reason) == ("ada", "flag.set", "f", "a first look")
    assert dict(action.details) == {"percent": 12.5, "fallback": "queue"}


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan"), float("inf")])
def test_a_percentage_out_of_bounds_changes_nothing(board: Board, percent: float) -> None:
    with pytest.raises(InvalidInputError) as caught:
        board.control.set("f", percent, "x")
    assert caught.value.code is Code.REQUEST_USAGE
    assert board.flags.list() == []
    assert board.client.exists(board.keys.key("audit")) == 0


def test_what_is_not_readable_is_passed_over(board: Board) -> None:
    board.put(0, "sound")
    board.client.hset(board.keys.key("flags"), mapping={"a": "{", "b": "[]", "c": '{"percent":"50"}'})
    assert [one.name for one in board.flags.list()] == ["sound"]
    assert board.flags.is_on("a", "acme")
    # It can be set anew.
    board.put(0, "a")
    assert not board.flags.is_on("a", "acme")


def test_the_hot_path_costs_no_round_trip(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.put(50)
    sent = sent_from_here(monkeypatch)
    started = time.perf_counter()
    board.who()
    took = time.perf_counter() - started
    print(f"{took / len(KEYS) * 1e6:.1f} us a question")
    # The copy in memory may be read anew meanwhile.
    assert len(sent) < len(KEYS) / 100


def test_the_last_known_flags_outlive_redis() -> None:
    with OwnValkey() as server, connect_gates(server.url) as client:
        flags, control = Flags(client, "n"), FlagControl(client, "n", "ada")
        assert flags.age is None
        control.set("f", 0, "x")
        flags.start()
        try:
            assert not flags.is_on("f", "acme"), "known from the start on"
            server.kill9()
            wait_for(lambda: (flags.age or timedelta(0)) > timedelta(seconds=1.5), "the copy to age")
            assert not flags.is_on("f", "acme")
            server.start()
            control.set("f", 100, "y")
            # As the pulse does that hears of the change.
            flags.refresh()
            wait_for(lambda: flags.is_on("f", "acme"), "the change to be known")
            assert flags.age is not None
            assert flags.age < timedelta(seconds=30)
        finally:
            flags.stop()


def test_a_process_that_starts_while_redis_is_away_begins_with_no_flag() -> None:
    with connect_gates("redis://127.0.0.1:1/0") as client:
        flags = Flags(client, "n")
        started = time.monotonic()
        flags.start()
        try:
            assert flags.is_on("f", "acme")
            assert flags.age is None
            assert time.monotonic() - started < 10
        finally:
            flags.stop()


def test_actors_are_built_with_the_flags_of_their_process(settings: WorkerSettings, database: Database) -> None:
    with open_pool(settings, "test") as pool, connect_gates(settings.redis_url) as client:
        flags = assemble(settings, pool).flags
        FlagControl(client, settings.namespace, "ada").set("f", 0, "x")
        flags.start()
        try:
            assert not flags.is_on("f", "acme")
        finally:
            flags.stop()
