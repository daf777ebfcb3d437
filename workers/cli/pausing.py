"""What `penstock queue pause` and `resume` are about: a queue, or a kind, platform, account or tenant in all queues."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from penstock.producers.queue.counts import Pause
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import Queue
from penstock.workers.cli.output import emit, table, to_the_second
from penstock.workers.protection.pauses import PAUSABLE, RESUME_RATE, PausedKey, pausable_key

_COLUMNS = ("paused", "by", "reason", "at")


def pausable_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name what is paused, if not a queue: one for each sort of gate key."""
    for what in reversed(PAUSABLE):
        command = click.option(f"--{what}", help=f"The jobs of this {what}, in all queues.")(command)
    return command


def paused_thing(queue: Queue | None, names: Mapping[str, str | None]) -> str:
    """The queue's name or the gate key that a command names.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where it names none, or more than one.
    """
    keys = [pausable_key(what, name) for what, name in names.items() if name is not None]
    named = [*keys, *([str(queue)] if queue else [])]
    if len(named) != 1:
        told = f"name one of: QUEUE, {', '.join(f'--{what}' for what in PAUSABLE)}"
        raise InvalidInputError(Code.REQUEST_USAGE, told)
    return named[0]


def emit_paused(
    thing: str, queue: Queue | None, changed: bool, paused: PausedKey | Pause | None, as_json: bool
) -> None:
    """Print what a pause came to, and who paused it where somebody else had before."""
    pause = paused.pause if isinstance(paused, PausedKey) else paused
    before = f" by {pause.by}: {pause.reason}" if pause else ""
    told = f"{thing} was paused already{before}; nothing changed"
    if changed:
        told = f"{thing} is paused; until: penstock queue resume {_as_said(thing, queue)}"
    emit(_named(thing, queue) | {"changed": changed, "paused": pause and pause.as_dict()}, as_json, lambda: told)


def emit_resumed(thing: str, queue: Queue | None, changed: bool, waiting: int, as_json: bool) -> None:
    """Print what a resume came to, and how many jobs wait to be let go."""
    told = f"{thing} is resumed" if changed else f"{thing} was not paused; nothing changed"
    if waiting:
        told += f"; {waiting:,} job(s) go again, {RESUME_RATE:.0f} a second of each queue"
    value = _named(thing, queue) | {"changed": changed, "paused": None}
    emit(value if queue else value | {"waiting": waiting}, as_json, lambda: told)


def told_pauses(pauses: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines about what is paused besides queues; none where nothing is."""
    rows = [{**pause, "paused": pause["key"], "at": to_the_second(pause["at"])} for pause in pauses]
    return ["", table(rows, _COLUMNS)] if rows else []


def _named(thing: str, queue: Queue | None) -> dict[str, Any]:
    return {"queue": queue} if queue else {"key": thing}


def _as_said(thing: str, queue: Queue | None) -> str:
    """What a command has to say to name it: a queue's name, or an option."""
    if queue:
        return thing
    what, _, name = thing.partition(":")
    return f"--{what} {name}"
