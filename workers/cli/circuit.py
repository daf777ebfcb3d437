"""`penstock circuit`: which calls are let through, and what an operator does about it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import click

from penstock.producers.queue.connection import connect
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.durations import DURATION
from penstock.workers.cli.environment import producer_settings
from penstock.workers.cli.operator import login_name, reason_option, yes_option
from penstock.workers.cli.output import emit, emit_list, json_option
from penstock.workers.protection.circuits_control import CircuitControl, Forceable
from penstock.workers.protection.circuits_view import CircuitState, CircuitView

_COLUMNS = ("circuit", "state", "share", "failures", "until", "forced")
_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,200}")


@click.group(epilog="Example: penstock circuit open platform:instagram --reason 'their status page' --for 2h")
def circuit() -> None:
    """Circuits: calls to what fails are refused for a while."""


@contextmanager
def _control() -> Iterator[CircuitControl]:
    settings = producer_settings()
    with connect(settings.redis_url) as client:
        yield CircuitControl(client, settings.namespace)


def _name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise InvalidInputError(Code.REQUEST_USAGE, f"{value[:80]!r} is no circuit's name, such as platform:instagram")
    return value


_name_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "name", metavar="NAME", callback=_name
)
_for_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--for", "lasting", type=DURATION, help="How long, such as 90s, 15m, 2h; until `circuit auto` if absent."
)


@circuit.command("list", epilog="Example: penstock circuit list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the circuits: state, percent of the calls let in, failures that count, and who forced it."""
    with _control() as control:
        found = control.states()
    emit_list([view.as_dict() if as_json else _row(view) for view in found], None, as_json, _COLUMNS)


def _row(view: CircuitView) -> dict[str, Any]:
    until = view.open_until or view.probe_until
    return {
        "circuit": view.name,
        "state": view.state,
        "share": f"{view.share} %",
        "failures": view.failures,
        "until": until and until.isoformat(timespec="seconds"),
        "forced": view.forced and f"by {view.forced.by}: {view.forced.reason}{_ends(view)}",
    }


def _ends(view: CircuitView) -> str:
    until = view.forced and view.forced.until
    return f" (until {until.isoformat(timespec='seconds')})" if until else ""


@circuit.command("open", epilog="Example: penstock circuit open platform:tiktok --reason 'their outage' --for 2h --yes")
@_name_argument
@_for_option
@reason_option
@yes_option
@json_option
def open_(name: str, lasting: timedelta | None, reason: str, yes: bool, as_json: bool) -> None:
    """Refuse the calls of a circuit, in all processes at once, however they would end. Their jobs wait."""
    _force(name, CircuitState.OPEN, lasting, reason, yes, as_json)


@circuit.command(epilog="Example: penstock circuit close platform:tiktok --reason 'it works, I looked' --for 15m --yes")
@_name_argument
@_for_option
@reason_option
@yes_option
@json_option
def close(name: str, lasting: timedelta | None, reason: str, yes: bool, as_json: bool) -> None:
    """Let all calls of a circuit through, in all processes at once, however they end."""
    _force(name, CircuitState.CLOSED, lasting, reason, yes, as_json)


def _force(name: str, state: Forceable, lasting: timedelta | None, reason: str, yes: bool, as_json: bool) -> None:
    _confirm(f"Force the circuit {name} {state}?", yes)
    with _control() as control:
        known = control.force(name, state, reason, login_name(), lasting)
        view = control.state(name)
    told = f"{name} is forced {state}{_ends(view) or f'; until: penstock circuit auto {name}'}"
    if not known:
        told += "\nno call has asked for a circuit of that name yet: is it spelled as in `penstock circuit list`?"
    emit(view.as_dict() | {"known": known}, as_json, lambda: told)


@circuit.command(epilog="Example: penstock circuit auto platform:tiktok --reason 'their outage is over' --yes")
@_name_argument
@reason_option
@yes_option
@json_option
def auto(name: str, reason: str, yes: bool, as_json: bool) -> None:
    """Let a forced circuit go by its calls again; after a forced opening one call tries first."""
    _confirm(f"Let the circuit {name} go by its calls again?", yes)
    with _control() as control:
        changed = control.auto(name, reason, login_name())
        view = control.state(name)
    told = f"{name} is {view.state} and goes by its calls" if changed else f"{name} was not forced; nothing changed"
    emit(view.as_dict() | {"changed": changed}, as_json, lambda: told)


def _confirm(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)
