"""`penstock posts schedule`: hand over a file of posts."""

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import psycopg

from penstock.migrations.runner import require_current
from penstock.producers import Producer
from penstock.producers.patience import Patience, Waiting
from penstock.producers.queue.records import JobState
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.dead_tell import printable
from penstock.workers.cli.environment import open_database, open_producer, worker_settings
from penstock.workers.cli.options import tenant_option
from penstock.workers.cli.output import emit, json_option, table
from penstock.workers.cli.progress import Bar
from penstock.workers.handover.post_accounts import PostAccounts, accounts_by_platform
from penstock.workers.handover.post_lines import LineFault, open_posts, read_lines
from penstock.workers.handover.post_plan import PlannedPost, PostPlan, PostPlanner, name_of
from penstock.workers.handover.post_wait import StoredPosts, require_none_dead, wait_until_stored
from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.settings import WorkerSettings

#: Faults that a person is shown, and posts.
_FAULTS_SHOWN, _POSTS_SHOWN = 100, 50
#: How long room is waited for in a full queue.
_ROOM = timedelta(minutes=5)


@click.command(epilog="Example: penstock posts schedule autumn.jsonl --account instagram=178414 --wait")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--account", "accounts", multiple=True, metavar="PLATFORM=ACCOUNT", help="For lines without an account.")
@click.option(
    "--batch-id", help="Names the work: the same line of the same work is the same post. FILE's name if absent."
)
@click.option("--skip-invalid", is_flag=True, help="Send the other lines where some are wrong.")
@click.option("--wait", is_flag=True, help="Wait until every post is stored, and tell their ids.")
@click.option("--wait-seconds", type=click.FloatRange(0, min_open=True), help="Wait no longer than this.")
@tenant_option
@json_option
def schedule(
    file: Path,
    accounts: tuple[str, ...],
    batch_id: str | None,
    skip_invalid: bool,
    wait: bool,
    wait_seconds: float | None,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Schedule the posts of FILE, one JSON object a line; - is standard input.

    A line is {"account", "due_at", "text", "media": [address or {"url", ...}], "link", "options", "lateness_policy",
    "grace_seconds", "owner", "key"}; an account is an id, "platform:its id there" or "platform:its name". All lines are
    checked by the platforms' rules before anything is sent. An interrupted run is continued by the same command.
    """
    settings = worker_settings()
    by_platform, name = accounts_by_platform(accounts), name_of(file, batch_id)
    with ExitStack() as stack:
        producer = stack.enter_context(open_producer(settings, tenant))
        connection = stack.enter_context(open_database(settings.database_url))
        require_current(connection)
        stream = stack.enter_context(open_posts(file))
        known_accounts = PostAccounts(connection, producer.tenant, by_platform)
        planner = _planner(stack, settings, producer.tenant, known_accounts)
        plan = planner.plan(connection, read_lines(stream, file.name), name)
        _require_sendable(plan, skip_invalid, as_json)
        _send(producer, plan)
        stored: StoredPosts | None = None
        if wait or wait_seconds is not None:
            limit = None if wait_seconds is None else timedelta(seconds=wait_seconds)
            stored = _wait(stack, connection, producer, plan, limit, as_json)
    value = _value(name, plan, stored)
    emit(value, as_json, lambda: _tell(name, plan, stored))
    if stored is not None:
        require_none_dead(stored)


def _planner(stack: ExitStack, settings: WorkerSettings, tenant: str, accounts: PostAccounts) -> PostPlanner:
    platforms = stack.enter_context(Platforms(settings))
    return PostPlanner(tenant, accounts, lambda platform, content: platforms[platform].validate(content))


def _require_sendable(plan: PostPlan, skip_invalid: bool, as_json: bool) -> None:
    """Tell the faults; raise unless what is left is to be sent.

    Raises:
        InvalidInputError: `REQUEST_FILE_INVALID` with all faults in its details.
    """
    if not as_json:
        _tell_faults(plan.faults)
    if not plan.faults and not plan.posts:
        raise InvalidInputError(Code.REQUEST_FILE_INVALID, "the file holds no post")
    if plan.faults and not (skip_invalid and plan.posts):
        lines = plan.faulty_lines + len(plan.posts)
        told = f"{plan.faulty_lines:,} of {lines:,} lines are wrong; nothing was sent"
        remedy = "Correct the lines, or send the others: --skip-invalid."
        details = {"faults": [fault.as_dict() for fault in plan.faults]}
        raise InvalidInputError(Code.REQUEST_FILE_INVALID, told, remedy=remedy, details=details)


def _tell_faults(faults: list[LineFault]) -> None:
    for fault in faults[:_FAULTS_SHOWN]:
        where = f", {printable(fault.field)}" if fault.field else ""
        click.echo(f"line {fault.line}{where}: {fault.code}: {printable(fault.message)}", err=True)
    if len(faults) > _FAULTS_SHOWN:
        click.echo(f"… and {len(faults) - _FAULTS_SHOWN:,} more; --json tells all", err=True)


def _send(producer: Producer, plan: PostPlan) -> None:
    # Whoever hands a file over again wants it done. What is not stored is not done, whatever Redis says.
    jobs = [post.job for post in plan.posts if post.post_id not in plan.known]
    producer.enqueue_many(jobs, revive={JobState.DEAD, JobState.DONE}, on_full=Patience(_ROOM, _tell_waiting))


def _tell_waiting(waiting: Waiting) -> None:
    told = f"{waiting.error.message}: waiting for room, next try in {waiting.pause.total_seconds():.0f} s"
    click.echo(told, err=True)


def _wait(
    stack: ExitStack,
    connection: "psycopg.Connection[Any]",
    producer: Producer,
    plan: PostPlan,
    limit: timedelta | None,
    as_json: bool,
) -> StoredPosts:
    waiting = [post.post_id for post in plan.posts if post.post_id not in plan.known]
    bar = stack.enter_context(Bar(as_json=as_json))
    bar.begin("storing", len(waiting))
    return wait_until_stored(connection, producer, waiting, limit, bar.move)


def _value(name: str, plan: PostPlan, stored: StoredPosts | None) -> dict[str, Any]:
    value = {
        "batch_id": name,
        "posts": len(plan.posts),
        "known": len(plan.known),
        "skipped": plan.faulty_lines,
        "faults": [fault.as_dict() for fault in plan.faults],
        "items": [_item(post) for post in plan.posts],
    }
    return value if stored is None else value | {"stored": len(stored.stored), "dead": len(stored.dead)}


def _item(post: PlannedPost) -> dict[str, Any]:
    return {
        "line": post.line,
        "post_id": str(post.post_id),
        "platform": post.platform,
        "due_at": post.job.due_at.isoformat(),
        "key": post.job.key,
    }


def _tell(name: str, plan: PostPlan, stored: StoredPosts | None) -> str:
    known = f", {len(plan.known):,} of them stored before" if plan.known else ""
    skipped = f"; {plan.faulty_lines:,} lines were skipped" if plan.faulty_lines else ""
    if stored is None:
        told = f"{len(plan.posts):,} posts are queued as {name}{known}{skipped}"
        return f"{told}\n  see what goes out when: penstock posts list"
    refused = f", {len(stored.dead):,} were refused" if stored.dead else ""
    lines = [f"{len(plan.known) + len(stored.stored):,} posts are scheduled as {name}{known}{refused}{skipped}"]
    shown = [_item(post) for post in plan.posts if post.post_id not in stored.dead]
    lines += ["", table(shown[:_POSTS_SHOWN], ("line", "post_id", "platform", "due_at"))]
    if len(shown) > _POSTS_SHOWN:
        lines.append(f"… and {len(shown) - _POSTS_SHOWN:,} more; --json tells all")
    return "\n".join(lines)
