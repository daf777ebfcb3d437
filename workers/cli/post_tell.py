"""Posts in words, for a terminal."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.workers.cli.dead_tell import printable
from penstock.workers.cli.output import to_the_second
from penstock.workers.dead_letters.letters import remedy_of
from penstock.workers.posts.search import ListedPost

COLUMNS = ("due", "id", "platform", "account", "owner", "state", "attempts", "code", "url")

#: What an operator does about a state, where there is something to do.
_TO_DO = {
    "held": "let it go: penstock posts approve {id}, or penstock posts cancel {id}",
    "expired": "is it still wanted? penstock posts reschedule {id} WHEN",
    "dead": "once its cause is gone: penstock posts reschedule {id} WHEN",
    "unknown_outcome": "look at the account, then: penstock posts settle {id} --live EXTERNAL_ID, or --publish-again",
}


def post_row(post: ListedPost) -> dict[str, Any]:
    """A post as a row of `COLUMNS`."""
    return {
        "due": post.due_at.isoformat(timespec="seconds"),
        "id": post.post_id,
        "platform": post.platform,
        "account": printable(post.account_name),
        "owner": post.owner,
        "state": _standing(post.state, post.parked_at is not None),
        "attempts": post.attempts,
        "code": post.last_code,
        "url": None if post.url is None else printable(post.url),
    }


def tell_post(post: Mapping[str, Any], how: str) -> str:
    """All of one post as `posts show --json` prints it; `how` says whether its content is redacted."""
    lines = [
        f"{post['post_id']}: {_standing(post['state'], post['waits_for_account_since'] is not None)},"
        f" due {to_the_second(post['due_at'])}",
        f"  {post['platform']}, account {post['account_name']} ({post['account_id']}, {post['account_state']})",
        f"  tenant {post['tenant']}, owner {post['owner']}, version {post['version']}, attempts {post['attempts']};"
        f" if late by over {post['grace_seconds']} s: {post['lateness_policy']}",
        *(f"  {line}" for line in _outcome(post)),
    ]
    for title, found in (
        ("calls, the latest first", [_attempt(one) for one in post["publish_attempts"]]),
        ("decided", [_decision(one) for one in post["decisions"]]),
        (
            "dead letters",
            [f"{one['died_at']}  {one['id']}  {one['state']}  {one['code']}" for one in post["dead_letters"]],
        ),
    ):
        lines += ["", title, *(f"  {line}" for line in found)] if found else []
    content = json.dumps(post["content"], indent=2, ensure_ascii=False).split("\n")
    lines += ["", f"content ({how})", *(f"  {line}" for line in content)]
    return "\n".join(printable(line).rstrip() for line in lines)


def _standing(state: str, is_parked: bool) -> str:
    return f"{state}, waits for its account" if is_parked else state


def _outcome(post: Mapping[str, Any]) -> Iterator[str]:
    if post["published_at"]:
        named = " ".join(filter(None, (post["external_id"], post["url"])))
        yield f"published {to_the_second(post['published_at'])} {named}"
    if post["waits_for_account_since"]:
        since = to_the_second(post["waits_for_account_since"])
        yield f"waits since {since}: penstock accounts show {post['account_id']}"
    if post["code"]:
        yield f"{post['code']}: {remedy_of(post['code']) or ''}"
    if post["job_id"]:
        yield f"job {post['job_id']}"
    if post["state"] in _TO_DO:
        yield _TO_DO[post["state"]].format(id=post["post_id"])


def _attempt(one: Mapping[str, Any]) -> str:
    request = " ".join(str(one["request"].get(name, "")) for name in ("method", "path"))
    codes = [one["code"], one["platform_code"], one["trace_id"] and f"trace {one['trace_id']}", one["detail"]]
    told = ", ".join(str(part) for part in codes if part)
    return f"{one['at']}  {one['phase']} {request}  {one['answer']} in {one['seconds']:.2f} s  {told}"


def _decision(one: Mapping[str, Any]) -> str:
    return f"{one['at']}  {one['action']} by {one['actor']}: {one['reason']}"
