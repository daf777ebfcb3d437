"""`penstock flag`, and pauses and weights of `penstock queue`, as an operator runs them."""

import getpass
import json
from collections.abc import Iterator

import pytest
import redis

from penstock.producers.queue.audit import OperatorAction
from penstock.workers.broker.leases import Verb
from penstock.workers.protection.keys import gate_keys
from tests.queue_kit import QueueKit
from tests.system import Penstock, Run

WHY = ("--reason", "they are down", "--yes")


@pytest.fixture
def kit(redis_url: str, namespace: str) -> Iterator[QueueKit]:
    """The queue `posts` of the commands' namespace, empty before and after."""
    with redis.Redis.from_url(redis_url) as client:
        yield QueueKit(client, namespace)
        for key in client.scan_iter(match=f"{namespace}:*", count=10_000):
            client.delete(key)


def refused(run: Run, code: str = "REQUEST_USAGE", exit_code: int = 2) -> str:
    assert (run.code, run.out) == (exit_code, ""), run.err
    assert run.error["code"] == code
    return str(run.error["message"])


def audit(kit: QueueKit) -> list[tuple[str, str]]:
    entries = kit.client.lrange(gate_keys(kit.namespace).key("audit"), 0, -1)
    return [(one.action, one.target) for one in map(OperatorAction.decode, entries)]  # type: ignore[arg-type]


def test_a_flag_is_set_and_listed(kit: QueueKit, penstock: Penstock) -> None:
    assert penstock("flag", "list", "--json").json == {"items": [], "next": None}
    made = penstock("flag", "set", "carousel", "--percent", "12.5", "--fallback", "single", *WHY, "--json").json
    at = made.pop("at")
    assert at is not None
    assert made.pop("before") is None
    assert made == {
        "flag": "carousel",
        "percent": 12.5,
        "fallback": "single",
        "by": getpass.getuser(),
        "reason": "they are down",
    }
    switched = penstock("flag", "set", "carousel", "--off", *WHY).out
    assert switched == "carousel is off for everybody; where it is off: single; before: on for 12.5 %\n"
    told, hint = penstock("flag", "set", "writer", "--on", *WHY).out.splitlines()
    assert told == "writer is on for everybody; before: not set"
    assert "is it spelled as the code has it?" in hint
    listed = penstock("flag", "list", "--json").json["items"]
    assert [(one["flag"], one["percent"]) for one in listed] == [("carousel", 0), ("writer", 100)]
    assert "they are down" in penstock("flag", "list").out
    assert audit(kit) == [("flag.set", "carousel"), ("flag.set", "carousel"), ("flag.set", "writer")]


@pytest.mark.parametrize(
    "arguments",
    [(), ("--on", "--off"), ("--on", "--percent", "5"), ("--percent", "101"), ("--percent", "nan"), ("--percent", "x")],
)
def test_a_flag_is_told_one_thing(kit: QueueKit, penstock: Penstock, arguments: tuple[str, ...]) -> None:
    refused(penstock("flag", "set", "carousel", *arguments, *WHY, "--json"))
    assert audit(kit) == []


def test_a_flag_needs_a_reason_and_asks_first(kit: QueueKit, penstock: Penstock) -> None:
    refused(penstock("flag", "set", "carousel", "--off", "--yes", "--json"))
    refused(penstock("flag", "set", "a b", "--off", *WHY, "--json"))
    asked = penstock("flag", "set", "carousel", "--off", "--reason", "x", stdin=b"n\n")
    assert (asked.code, asked.out) == (130, "")
    assert penstock("flag", "set", "carousel", "--off", "--reason", "x", stdin=b"y\n").code == 0
    assert audit(kit) == [("flag.set", "carousel")]


@pytest.mark.parametrize(
    ("option", "name"),
    [("kind", "post.publish"), ("platform", "instagram"), ("account", "178414"), ("tenant", "acme")],
)
def test_what_is_paused_in_all_queues(kit: QueueKit, penstock: Penstock, option: str, name: str) -> None:
    key = f"{option}:{name}"
    told = penstock("queue", "pause", f"--{option}", name, *WHY).out
    undo = f"queue resume --{option} {name}"
    assert told == f"{key} is paused; until: penstock {undo}\n"
    assert penstock(*undo.split(), *WHY, "--json").json["changed"] is True
    first = penstock("queue", "pause", f"--{option}", name, *WHY, "--json").json
    assert (first["key"], first["changed"], first["paused"]["reason"]) == (key, True, "they are down")
    again = penstock("queue", "pause", f"--{option}", name, *WHY)
    assert again.out == f"{key} was paused already by {getpass.getuser()}: they are down; nothing changed\n"
    listed = penstock("queue", "list", "--json").json
    assert [(one["key"], one["by"]) for one in listed["pauses"]] == [(key, getpass.getuser())]
    assert [one["paused"] for one in listed["items"]] == [None, None, None]
    assert key in penstock("queue", "list").out
    resumed = penstock("queue", "resume", f"--{option}", name, *WHY, "--json").json
    assert resumed == {"key": key, "changed": True, "paused": None, "waiting": 0}
    assert "was not paused" in penstock("queue", "resume", f"--{option}", name, *WHY).out
    assert penstock("queue", "list", "--json").json["pauses"] == []
    assert audit(kit) == [("queue.pause", key), ("queue.resume", key)] * 2


def test_a_resume_tells_how_many_go_again(kit: QueueKit, penstock: Penstock) -> None:
    kit.put(3)
    park = "paused:platform:instagram"
    kit.settle(kit.lease(3), Verb.PARK, key=park, blocked_by=park)
    penstock("queue", "pause", "--platform", "instagram", *WHY)
    told = penstock("queue", "resume", "--platform", "instagram", *WHY).out
    assert told == "platform:instagram is resumed; 3 job(s) go again, 200 a second of each queue\n"


@pytest.mark.parametrize(
    "arguments",
    [(), ("posts", "--kind", "k"), ("--kind", "k", "--tenant", "t"), ("--platform", ""), ("--tenant", "a b")],
)
@pytest.mark.parametrize("command", ["pause", "resume"])
def test_one_thing_is_paused_at_a_time(
    kit: QueueKit, penstock: Penstock, command: str, arguments: tuple[str, ...]
) -> None:
    refused(penstock("queue", command, *arguments, *WHY, "--json"))
    assert audit(kit) == []


def test_a_tenant_is_weighed(kit: QueueKit, penstock: Penstock) -> None:
    kit.put(1, "other")
    made = penstock("queue", "weight", "posts", "acme", "5", *WHY, "--json").json
    assert (made["weight"], made["changed"], made["weights"]) == (5, True, {"acme": 5})
    assert penstock("queue", "weight", "posts", "acme", "5", *WHY, "--json").json["changed"] is False
    assert penstock("queue", "show", "posts", "--json").json["weights"] == {"acme": 5}
    lines = [line.split() for line in penstock("queue", "show", "posts").out.splitlines()]
    assert ["acme", "0", "5"] in lines
    assert ["other", "1", "1"] in lines
    assert penstock("queue", "weight", "posts", "acme", "1", *WHY, "--json").json["weights"] == {}
    for wrong in ("0", "101", "x"):
        refused(penstock("queue", "weight", "posts", "acme", wrong, *WHY, "--json"))
    entries = [json.loads(entry) for entry in kit.client.lrange(kit.keys.key("audit"), 0, -1)]  # type: ignore[union-attr]
    assert [(one["action"], one["target"], one["details"]) for one in entries] == [
        ("queue.weight", "posts", {"tenant": "acme", "weight": 5}),
        ("queue.weight", "posts", {"tenant": "acme", "weight": 1}),
    ]
