"""`penstock dead replay`: replays that were ordered, and how they go on."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import click

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.cli.dead_store import DeadLetters, open_dead_letters
from penstock.workers.cli.dead_tell import REPLAY_COLUMNS, replay_row, tell_replay
from penstock.workers.cli.operator import login_name, reason_option, yes_option
from penstock.workers.cli.output import emit, emit_list, json_option
from penstock.workers.cli.progress import Bar
from penstock.workers.dead_letters.replay import Replay, ReplayStatus

_LOOK_EVERY_SECONDS = 0.3
_replay_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "replay_id", metavar="ID", type=click.UUID
)


@click.group(epilog="Example: penstock dead replay list")
def replay() -> None:
    """Replays: how they stand; pause, resume, cancel."""


@replay.command("list", epilog="Example: penstock dead replay list --json")
@click.option("--after", help="Continue after this cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
@json_option
def list_(after: str | None, limit: int, as_json: bool) -> None:
    """List all replays, the newest first."""
    with open_dead_letters() as store:
        page = store.replays.list(limit, after)
    rows = [one.as_dict() if as_json else replay_row(one) for one in page.items]
    emit_list(rows, page.next, as_json, REPLAY_COLUMNS)


@replay.command(epilog="Example: penstock dead replay show 0d0f0a4e-3c1b-4a52-9d3e-6f1f0f6e7b11 --wait")
@_replay_argument
@click.option("--wait", is_flag=True, help="Wait for its end; exit code 1 where it stopped before.")
@json_option
def show(replay_id: UUID, wait: bool, as_json: bool) -> None:
    """Show how a replay stands."""
    with open_dead_letters() as store:
        found = store.replays.show(replay_id)
        if wait:
            wait_for_end(store, found, as_json)
        else:
            emit_replay(found, as_json)


@replay.command(epilog="Example: penstock dead replay pause 0d0f0a4e-3c1b-4a52-9d3e-6f1f0f6e7b11 --reason lunch --yes")
@_replay_argument
@reason_option
@yes_option
@json_option
def pause(replay_id: UUID, reason: str, yes: bool, as_json: bool) -> None:
    """Send nothing more for now; what was sent goes on."""
    _change("pause", replay_id, reason, yes, as_json)


@replay.command(epilog="Example: penstock dead replay resume 0d0f0a4e-3c1b-4a52-9d3e-6f1f0f6e7b11 --reason back --yes")
@_replay_argument
@reason_option
@yes_option
@json_option
def resume(replay_id: UUID, reason: str, yes: bool, as_json: bool) -> None:
    """Go on with a paused replay where it was."""
    _change("resume", replay_id, reason, yes, as_json)


@replay.command(
    epilog="Example: penstock dead replay cancel 0d0f0a4e-3c1b-4a52-9d3e-6f1f0f6e7b11 --reason enough --yes"
)
@_replay_argument
@reason_option
@yes_option
@json_option
def cancel(replay_id: UUID, reason: str, yes: bool, as_json: bool) -> None:
    """Send nothing more, ever; what was sent goes on, and the others stay open."""
    _change("cancel", replay_id, reason, yes, as_json)


def _change(verb: str, replay_id: UUID, reason: str, yes: bool, as_json: bool) -> None:
    with open_dead_letters() as store:
        found = store.replays.show(replay_id)
        if not yes:
            question = f"{verb.capitalize()} this replay? {found.unsent:,} letter(s) of it are not sent."
            click.confirm(question, abort=True, err=True)
        emit_replay(getattr(store.replays, verb)(replay_id, login_name(), reason), as_json)


def emit_replay(found: Replay, as_json: bool) -> None:
    """Print how a replay stands."""
    emit(found.as_dict(), as_json, lambda: tell_replay(found))


def wait_for_end(store: DeadLetters, found: Replay, as_json: bool) -> None:
    """Show a replay's progress until nothing more of it is sent, then print how it ended.

    Raises:
        PenstockError: `JOB_REPLAY_STOPPED` where it did not come to its end.
    """
    with Bar(as_json=as_json) as bar:
        total = 0
        while not (found.status.has_ended or found.status is ReplayStatus.PAUSED):
            time.sleep(_LOOK_EVERY_SECONDS)
            found = store.replays.show(found.replay_id)
            if found.status is not ReplayStatus.PREPARING and found.total != total:
                total = found.total
                bar.begin("replaying", total)
            bar.move(found.done + found.died + found.skipped)
    emit_replay(found, as_json)
    if found.status is not ReplayStatus.DONE:
        raise PenstockError(Code.JOB_REPLAY_STOPPED, f"the replay is {found.status}: {found.told}")
