"""`penstock posts`: posts that are scheduled, where each stands, and what an operator decides of them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import click

from penstock.workers.cli.dead_options import needed_reason, why_option
from penstock.workers.cli.instants import INSTANT
from penstock.workers.cli.operator import login_name, require_tenant
from penstock.workers.cli.output import emit, emit_list, json_option
from penstock.workers.cli.post_decisions import approve, cancel, id_argument, reschedule, settle
from penstock.workers.cli.post_schedule import schedule
from penstock.workers.cli.post_tell import COLUMNS, post_row, tell_post
from penstock.workers.cli.transactions import Store, open_store
from penstock.workers.database.operator_actions import ActionFilter, ActionLog
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.post_contents import PostContents, redacted_content
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.posts.filters import PostsFilter, Standing
from penstock.workers.posts.search import PostDetail, PostSearch

Command = Callable[..., Any]
#: Decisions and dead letters that are shown of one post, the latest ones.
_SHOWN = 50


@click.group(epilog="Example: penstock posts list --state held")
def posts() -> None:
    """Scheduled posts: what goes out when, and what became of it."""


for _command in (schedule, reschedule, cancel, approve, settle):
    posts.add_command(_command)


def _filter_options(command: Command) -> Command:
    states = "A state; or parked (waits for its account), late (should be out), waiting."
    for option, name, of, told in (
        ("--tenant", "tenant", str, "Only of this tenant; of all if absent."),
        ("--due-before", "due_before", INSTANT, "Only due before: RFC 3339, or +10m."),
        ("--due-after", "due_after", INSTANT, "Only due then or later."),
        ("--owner", "owner", str, "Only of this owner, of the tenant `default` unless --tenant names one."),
        ("--account", "account", click.UUID, "Only of this account."),
        ("--platform", "platform", str, "Only of this platform."),
        ("--state", "state", click.Choice([str(one) for one in Standing]), states),
    ):
        callback = require_tenant if name == "tenant" else None
        command = click.option(option, name, type=of, callback=callback, help=told)(command)
    return command


@posts.command("list", epilog="Example: penstock posts list --state late --json")
@_filter_options
@click.option("--latest-first", is_flag=True, help="Instead of the earliest first.")
@click.option("--after", help="Continue after this cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
@json_option
def list_(state: str | None, latest_first: bool, after: str | None, limit: int, as_json: bool, **options: Any) -> None:
    """List posts by the instants for which they are scheduled. Never what they say."""
    chosen = PostsFilter(state=None if state is None else Standing(state), **options)
    with open_store(None) as store:
        page = PostSearch(store.pool).list(chosen, limit=limit, cursor=after, latest_first=latest_first)
    emit_list([one.as_dict() if as_json else post_row(one) for one in page.items], page.next, as_json, COLUMNS)


@posts.command(epilog="Example: penstock posts show 6f1f0f6e-3c1b-8a52-9d3e-0d5f0a4e7b11")
@id_argument
@click.option("--reveal", is_flag=True, help="What it says, as it is; it needs a reason and is recorded.")
@why_option
@json_option
def show(post_id: UUID, reveal: bool, reason: str | None, as_json: bool) -> None:
    """Show a post: where it stands, the calls that were made for it, what was decided of it, its content redacted."""
    why = needed_reason(reason, needed=reveal)
    with open_store(None) as store:
        search = PostSearch(store.pool)
        detail = search.show(post_id)
        if reveal:
            content = PostContents(store.transactions, search).reveal(post_id, login_name(), why)
        else:
            content = redacted_content(detail.post.content)
        value = _value(store, detail) | {"content": content}
    emit(value, as_json, lambda: tell_post(value, "revealed" if reveal else "redacted"))


def _value(store: Store, detail: PostDetail) -> dict[str, Any]:
    """The post with its account's name and state, its calls, decisions and dead letters, the latest first each."""
    post = detail.post
    decided = ActionLog(store.pool).list(ActionFilter(action="post.", target=str(post.post_id)), limit=_SHOWN)
    letters = _letters(store, post.claimed_by) if post.claimed_by is not None else []
    return post.as_dict() | {
        "account_name": detail.account_name,
        "account_state": detail.account_state,
        "publish_attempts": [one.as_dict() for one in detail.attempts],
        "decisions": [one.as_dict() for one in decided.items],
        "dead_letters": letters,
    }


def _letters(store: Store, job_id: UUID) -> list[dict[str, Any]]:
    found = LetterSearch(store.pool).list(LetterFilter(state=None, job_id=job_id), limit=_SHOWN)
    return [one.as_dict() for one in found.items]
