"""`penstock limit`, as an operator runs it."""

import getpass
import json
from collections.abc import Iterator

import pytest
import redis

from tests.system import Penstock, Run
from tests.workers.protection.limit_kit import SECOND, LimitKit


@pytest.fixture
def kit(redis_url: str, namespace: str) -> Iterator[LimitKit]:
    """The limits of the commands' namespace, empty before and after."""
    with redis.Redis.from_url(redis_url) as client:
        yield LimitKit(client, namespace)
        for key in client.scan_iter(match=f"{namespace}:*", count=10_000):
            client.delete(key)


def refused(run: Run, code: str, exit_code: int) -> None:
    assert (run.code, run.out) == (exit_code, ""), run.err
    assert run.error["code"] == code


def set_limit(penstock: Penstock, key: str, *more: str) -> Run:
    return penstock("limit", "set", key, *more, "--reason", "a test", "--yes", "--json")


def test_list_tells_what_is_used_and_what_holds(kit: LimitKit, penstock: Penstock) -> None:
    kit.take("account:1", 1)
    kit.take("account:2", 5)
    kit.limits.block("account:2", 100 * SECOND, "429 of the provider")
    set_limit(penstock, "account:*", "--limit", "3", "--window", "60", "--for", "2h")
    listed = penstock("limit", "list", "--json").json
    assert listed["next"] is None
    items = {item["key"]: item for item in listed["items"]}
    assert list(items) == ["account:*", "account:1", "account:2"]
    first, second = items["account:1"], items["account:2"]
    wanted = ("key", "limit", "window_seconds", "used", "remaining", "resets_at", "override", "blocked")
    assert tuple(first) == wanted
    assert (first["limit"], first["window_seconds"], first["used"], first["remaining"]) == (3, 60.0, 1, 2)
    assert first["override"]["name"] == "account:*"
    assert first["override"]["expires_at"]
    assert second["blocked"]["reason"] == "429 of the provider"
    table = penstock("limit", "list").out
    assert f"by {getpass.getuser()}: a test (until " in table
    assert "429 of the provider (until " in table


def test_list_goes_on_after_a_cursor(kit: LimitKit, penstock: Penstock) -> None:
    for number in range(5):
        kit.take(f"account:{number}")
    first = penstock("limit", "list", "--limit", "3", "--json").json
    rest = penstock("limit", "list", "--after", first["next"], "--json").json
    assert [item["key"] for item in first["items"] + rest["items"]] == [f"account:{number}" for number in range(5)]


def test_a_limit_is_set_and_taken_back(kit: LimitKit, penstock: Penstock) -> None:
    made = set_limit(penstock, "account:1", "--limit", "2", "--window", "1h").json
    assert (made["changed"], made["override"]["limit"], made["override"]["window_seconds"]) == (True, 2, 3600.0)
    assert [kit.take("account:1", 100).allowed for _ in range(3)] == [True, True, False]
    assert set_limit(penstock, "account:1", "--default").json == {"key": "account:1", "changed": True, "override": None}
    assert kit.take("account:1", 100).allowed
    assert set_limit(penstock, "account:1", "--default").json["changed"] is False
    entries = [json.loads(entry) for entry in kit.client.lrange(kit.keys.key("audit"), 0, -1)]
    assert [(entry["action"], entry["target"], entry["actor"]) for entry in entries] == [
        ("limit.set", "account:1", getpass.getuser()),
        ("limit.default", "account:1", getpass.getuser()),
    ]


def test_a_block_is_lifted(kit: LimitKit, penstock: Penstock) -> None:
    kit.limits.block("account:1", 100 * SECOND, "429")
    assert set_limit(penstock, "account:1", "--unblock").json["changed"] is True
    assert kit.take("account:1").allowed
    told = penstock("limit", "set", "account:1", "--unblock", "--reason", "x", "--yes")
    assert (told.code, "was not blocked" in told.out) == (0, True)


def test_what_changes_a_limit_asks_first(kit: LimitKit, penstock: Penstock) -> None:
    command = ("limit", "set", "account:1", "--limit", "2", "--window", "60", "--reason", "x")
    refusal = penstock(*command, stdin=b"n\n")
    assert (refusal.code, refusal.out) == (130, "")
    assert kit.state("account:1") is None
    agreed = penstock(*command, stdin=b"y\n")
    until = "penstock limit set account:1 --default"
    assert (agreed.code, agreed.out) == (0, f"account:1: 2 in any 1m; until: {until}\n")


@pytest.mark.parametrize(
    ("window", "told"), [("1500ms", "1500ms"), ("90", "90s"), ("3600", "1h"), ("36h", "36h"), ("7d", "7d")]
)
def test_windows_are_told_as_they_are_typed(kit: LimitKit, penstock: Penstock, window: str, told: str) -> None:
    made = ("limit", "set", "account:*", "--limit", "2", "--window", window, "--for", "1h", "--reason", "x", "--yes")
    assert penstock(*made).out.startswith(f"account:*: 2 in any {told} (until 20")
    assert told in penstock("limit", "list").out.split()


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--limit", "2"),
        ("--window", "60"),
        ("--default", "--limit", "2", "--window", "60"),
        ("--default", "--unblock"),
        ("--limit", "-1", "--window", "60"),
        ("--limit", "2", "--window", "soon"),
        ("--limit", "2", "--window", "0"),
        ("--limit", "2", "--window", "60", "--for", "9999999d"),
    ],
)
def test_options_that_make_no_sense(kit: LimitKit, penstock: Penstock, more: tuple[str, ...]) -> None:
    refused(set_limit(penstock, "account:1", *more), "REQUEST_USAGE", 2)
    assert kit.client.keys(f"{kit.keys.base}*") == []


def test_what_is_no_key_or_no_reason(kit: LimitKit, penstock: Penstock) -> None:
    refused(set_limit(penstock, "a b", "--limit", "2", "--window", "60"), "REQUEST_USAGE", 2)
    refused(penstock("limit", "set", "a", "--default", "--yes", "--json"), "REQUEST_USAGE", 2)


def test_redis_down(penstock: Penstock) -> None:
    away: dict[str, str | None] = {"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": None}
    refused(penstock("limit", "list", "--json", env=away), "QUEUE_UNAVAILABLE", 1)
