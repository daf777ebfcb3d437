"""`penstock limit`: what rate limits let through, and what an operator does about them."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import click
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.settings import ProducerSettings
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.durations import DURATION, told_duration
from penstock.workers.cli.environment import producer_settings
from penstock.workers.cli.operator import login_name, reason_option, yes_option
from penstock.workers.cli.output import emit, emit_list, json_option
from penstock.workers.protection.limits_control import LimitControl, NewOverride, require_limit_key
from penstock.workers.protection.limits_view import LimitState, LimitView, Override

_COLUMNS = ("key", "limit", "window", "used", "remaining", "resets_at", "override", "blocked")


@click.group(
    epilog="Example: penstock limit set account:123 --limit 50 --window 1h --reason 'asked for by the provider'"
)
def limit() -> None:
    """Rate limits: what is used, and limits of an operator's own."""


@contextmanager
def _redis() -> Iterator[tuple["redis.Redis", ProducerSettings]]:
    settings = producer_settings()
    with connect(settings.redis_url) as client:
        yield client, settings


def _key(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    return require_limit_key(value)


@limit.command("list", epilog="Example: penstock limit list --json")
@click.option("--after", help="Continue after this cursor.")
@click.option("--limit", "count", type=click.IntRange(1, 1_000), default=100, show_default=True, help="Keys of a page.")
@json_option
def list_(after: str | None, count: int, as_json: bool) -> None:
    """List keys that are in use, blocked or overridden: what is left of each limit, and from when more fits."""
    with _redis() as (client, settings):
        states, following = LimitView(client, settings.namespace).page(count, after)
    emit_list([state.as_dict() if as_json else _row(state) for state in states], following, as_json, _COLUMNS)


def _row(state: LimitState) -> dict[str, Any]:
    override, blocked = state.override, state.blocked
    return state.as_dict() | {
        "window": None if state.limit is None else told_duration(state.window),
        "resets_at": state.resets_at and state.resets_at.isoformat(timespec="seconds"),
        "override": override and f"by {override.by}: {override.reason}{_until(override.expires_at)}",
        "blocked": blocked and f"{blocked.reason}{_until(blocked.until)}",
    }


def _until(instant: datetime | None) -> str:
    return "" if instant is None else f" (until {instant.isoformat(timespec='seconds')})"


@limit.command("set", epilog="Example: penstock limit set 'account:*' --limit 50 --window 1h --for 2d --reason review")
@click.argument("key", callback=_key)
@click.option("--limit", "units", type=click.IntRange(min=0), help="Units in any window; 0 lets nothing through.")
@click.option("--window", type=DURATION, help="The window, in seconds or as 15m, 1h, 1d.")
@click.option("--for", "lasting", type=DURATION, help="How long it holds, likewise; for ever if absent.")
@click.option("--default", "default", is_flag=True, help="Let the default hold again.")
@click.option("--unblock", is_flag=True, help="Lift the block that a provider's answer put on the key.")
@reason_option
@yes_option
@json_option
def set_(
    key: str,
    units: int | None,
    window: timedelta | None,
    lasting: timedelta | None,
    default: bool,
    unblock: bool,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Set the limit of KEY (account:123) or of a pattern (account:*), on all workers at once; or take it back."""
    new = _new_override(units, window, lasting, [default, unblock])
    act = f"Lift the block of {key}" if unblock else f"Set the limit of {key}{'' if new else ' to its default'}"
    if not yes:
        click.confirm(f"{act}?", abort=True, err=True)
    with _redis() as (client, settings):
        control = LimitControl(client, settings.namespace, login_name())
        if new is not None:
            _tell_override(key, control.set_override(key, new, reason), as_json)
        elif unblock:
            _tell_removal(key, control.unblock(key, reason), as_json, ("is unblocked", "was not blocked"))
        else:
            told = ("has its default limit again", "has no override")
            _tell_removal(key, control.clear_override(key, reason), as_json, told)


def _tell_override(key: str, override: Override, as_json: bool) -> None:
    until = _until(override.expires_at) or f"; until: penstock limit set {shlex.quote(key)} --default"
    told = f"{key}: {override.limit:,} in any {told_duration(override.window)}{until}"
    emit({"key": key, "changed": True, "override": override.as_dict()}, as_json, lambda: told)


def _tell_removal(key: str, changed: bool, as_json: bool, told: tuple[str, str]) -> None:
    text = f"{key} {told[0]}" if changed else f"{key} {told[1]}; nothing changed"
    emit({"key": key, "changed": changed, "override": None}, as_json, lambda: text)


def _new_override(
    units: int | None, window: timedelta | None, lasting: timedelta | None, instead: list[bool]
) -> NewOverride | None:
    """The limit that the options say; None where one of `instead` is said.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where they say both, or neither.
    """
    said = [option for option in (units, window, lasting) if option is not None]
    if sum(instead) == 1 and not said:
        return None
    if any(instead) or units is None or window is None:
        told = "say --limit and --window (and --for), or --default alone, or --unblock alone"
        raise InvalidInputError(Code.REQUEST_USAGE, told)
    return NewOverride(units, window, lasting)
