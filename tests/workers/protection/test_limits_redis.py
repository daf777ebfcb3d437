"""Rate limits where Redis is in trouble, and on a node of a Cluster."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from penstock.producers.queue.scripts import script
from penstock.schemas.errors import Code, UnavailableError
from penstock.workers.protection.connection import connect_gates
from penstock.workers.protection.keys import GATE_STEPS
from penstock.workers.protection.limits import LimitUse, RateLimits
from penstock.workers.protection.limits_control import NewOverride
from tests.recovery.servers import OwnValkey, free_port
from tests.workers.protection.limit_kit import SECOND, LimitKit

USE = LimitUse("k", 1_000, 60 * SECOND)
STEPS = ("take", "block", "unblock", "set_limit", "clear_limit", "limit_states")
#: By then the caller has its decision.
DECISION_SECONDS = 0.5


@pytest.fixture(scope="module")
def server() -> Iterator[OwnValkey]:
    with OwnValkey(appendfsync="no") as running:
        yield running


def decide(limits: RateLimits) -> float:
    """Ask limits that can't be asked; returns the seconds until that was known."""
    begun = time.monotonic()
    with pytest.raises(UnavailableError) as raised:
        limits.take([USE])
    assert raised.value.code is Code.QUEUE_UNAVAILABLE
    return time.monotonic() - begun


def test_nobody_listens() -> None:
    with connect_gates(f"redis://127.0.0.1:{free_port()}/0") as client:
        assert decide(RateLimits(client, "ns")) < DECISION_SECONDS


def test_nobody_answers_on_the_way(server: OwnValkey) -> None:
    """An address that swallows packets (TEST-NET-1); refused at once where there is no such route."""
    with connect_gates("redis://192.0.2.1:6379/0") as client:
        assert decide(RateLimits(client, "ns")) < DECISION_SECONDS


@pytest.mark.parametrize("connected", [True, False], ids=["a known connection", "a new connection"])
def test_a_frozen_server(server: OwnValkey, connected: bool) -> None:
    with connect_gates(server.url) as client:
        limits = RateLimits(client, "frozen")
        if connected:
            assert limits.take([USE]).allowed
        server.freeze()
        try:
            assert decide(limits) < DECISION_SECONDS
            assert decide(limits) < DECISION_SECONDS
        finally:
            server.thaw()
        assert limits.take([USE]).allowed


def test_no_sentinel_answers() -> None:
    hosts = ",".join(f"127.0.0.1:{free_port()}" for _ in range(3))
    with connect_gates(f"redis+sentinel://{hosts}/mymaster/0") as client:
        assert decide(RateLimits(client, "ns")) < DECISION_SECONDS


def test_a_server_that_was_restarted_is_taught_the_steps(server: OwnValkey) -> None:
    client = server.client()
    client.script_flush()
    assert RateLimits(client, "taught").take([USE]).allowed
    assert client.script_exists(script("take", GATE_STEPS).sha) == [True]


def test_a_full_server_still_gives_out_what_runs_its_jobs(server: OwnValkey) -> None:
    client = server.client()
    limits = RateLimits(client, "full")
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.OutOfMemoryError):
            client.set("x", "y")
        assert limits.take([USE]).allowed
        assert limits.block("k", timedelta(seconds=5), "429")
    finally:
        client.config_set("maxmemory", 0)


def test_every_step_keeps_to_the_gates_slot() -> None:
    """On a node in cluster mode, where a step that leaves its slot is refused."""
    with OwnValkey(appendfsync="no", cluster=True) as node:
        client = node.client()
        kit = LimitKit(client, "on-a-cluster")
        kit.control.set_override("a:*", NewOverride(5, 60 * SECOND), "x")
        assert kit.limits.take([LimitUse("a:1", 1, SECOND), LimitUse("b/2", 5_000, SECOND, once=True)], job="j").allowed
        kit.limits.block("b/2", SECOND, "429")
        assert len(kit.view.page(10)[0]) == 3
        assert kit.control.unblock("b/2", "x")
        assert kit.control.clear_override("a:*", "x")
        assert client.script_exists(*(script(name, GATE_STEPS).sha for name in STEPS)) == [True] * len(STEPS)
