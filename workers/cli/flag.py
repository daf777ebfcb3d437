"""`penstock flag`: what is switched off, or on for a part of all, while everything runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.settings import ProducerSettings
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.environment import producer_settings
from penstock.workers.cli.operator import login_name, reason_option, yes_option
from penstock.workers.cli.output import emit, emit_list, json_option, to_the_second
from penstock.workers.protection.flags import Flag, FlagControl, Flags

_COLUMNS = ("flag", "percent", "fallback", "by", "reason", "at")


@click.group(epilog="Example: penstock flag set instagram.carousel --off --reason 'their API refuses them' --yes")
def flag() -> None:
    """Flags: kill switches, and roll-outs to a part of all."""


@contextmanager
def _redis() -> Iterator[tuple["redis.Redis", ProducerSettings]]:
    settings = producer_settings()
    with connect(settings.redis_url) as client:
        yield client, settings


@flag.command("list", epilog="Example: penstock flag list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the flags that somebody has set: for how many percent they are on, and what is done where they are off."""
    with _redis() as (client, settings):
        flags = Flags(client, settings.namespace).list()
    emit_list([one.as_dict() if as_json else _row(one) for one in flags], None, as_json, _COLUMNS)


def _row(one: Flag) -> dict[str, Any]:
    found = one.as_dict()
    return found | {"at": to_the_second(found["at"])}


@flag.command("set", epilog="Example: penstock flag set new-writer --percent 5 --reason 'a first look' --yes")
@click.argument("name", metavar="NAME")
@click.option("--on", "on", is_flag=True, help="On for everybody.")
@click.option("--off", "off", is_flag=True, help="Off for everybody.")
@click.option("--percent", type=float, help="On for so many percent of all, 0 to 100; those who are in stay in.")
@click.option("--fallback", help="What is done where it is off, by the name that the code gives it; '' for its own.")
@reason_option
@yes_option
@json_option
def set_(
    name: str,
    on: bool,
    off: bool,
    percent: float | None,
    fallback: str | None,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Set a flag; every process knows it within two seconds."""
    share = _share(on, off, percent)
    if not yes:
        click.confirm(f"Set the flag {name} on for {share:g} % of all?", abort=True, err=True)
    with _redis() as (client, settings):
        before = next((one for one in Flags(client, settings.namespace).list() if one.name == name), None)
        made = FlagControl(client, settings.namespace, login_name()).set(name, share, reason, fallback)
    emit(made.as_dict() | {"before": before and before.as_dict()}, as_json, lambda: _told(made, before))


def _share(on: bool, off: bool, percent: float | None) -> float:
    if on + off + (percent is not None) != 1:
        raise InvalidInputError(Code.REQUEST_USAGE, "name one of: --on, --off, --percent")
    if percent is None:
        return 100 if on else 0
    return percent


def _told(made: Flag, before: Flag | None) -> str:
    fallback = f"; where it is off: {made.fallback}" if made.fallback else ""
    told = f"{made.name} is {_reach(made)}{fallback}; before: {'not set' if before is None else _reach(before)}"
    if before is None:
        told += "\nnobody had set a flag of that name before: is it spelled as the code has it?"
    return told


def _reach(flag: Flag) -> str:
    if flag.percent in {0, 100}:
        return "on for everybody" if flag.percent else "off for everybody"
    return f"on for {flag.percent:g} %"
