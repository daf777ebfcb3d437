"""The command's root: its sub-commands, and what becomes of errors."""

import gc
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version

import click

from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.cli.output import emit_error
from penstock.workers.telemetry.logging import set_up_logging

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


#: Each command's module has the command by the same name; it is imported when it is asked for, since a worker's
#: imports would make every short command slow.
_COMMANDS = (
    *("up", "gateway", "worker", "scheduler", "migrate", "forms", "submit", "batch", "accounts", "posts"),
    *("queue", "job", "dead", "circuit", "flag", "limit", "reconcile", "health", "schemas", "sidecar", "keys"),
    *("backup", "verify", "audit", "archive", "person"),
)


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        with _without_looking_for_garbage():
            found: click.Command = getattr(import_module(f"penstock.workers.cli.{cmd_name}"), cmd_name)
        return found


@contextmanager
def _without_looking_for_garbage() -> Iterator[None]:
    """What an import makes stays; to look through it again and again is a seventh of a short command's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Background jobs that are never lost and never happen twice.",
    epilog="Example: penstock up --demo",
)
@click.version_option(version("penstock"), prog_name="penstock")
def root() -> None:
    """Hold the sub-commands."""


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; returns the exit code: 0 done, 1 failed, 2 usage."""
    as_json = "--json" in arguments
    try:
        result = root.main(args=list(arguments), prog_name="penstock", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        return _usage(error, as_json)
    except PenstockError as error:
        emit_error(error, as_json)
        return USAGE if error.code is Code.REQUEST_USAGE else FAILED
    except BrokenPipeError:
        # Whoever read our output has stopped; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        _log_internal_error(error)
        emit_error(
            PenstockError(Code.INTERNAL_ERROR, f"{type(error).__name__} in `penstock {_name(arguments)}`"), as_json
        )
        return FAILED
    return result if isinstance(result, int) else DONE


def _log_internal_error(error: Exception) -> None:
    """Log where it happened, where logs are set up (a worker); on a terminal only if asked for."""
    if not logging.getLogger().handlers and os.environ.get("PENSTOCK_LOG_LEVEL") == "debug":
        set_up_logging("debug", "json")
    if logging.getLogger().handlers:
        logging.getLogger(__name__).error("the command failed", exc_info=error)


def _usage(error: click.ClickException, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    remedy = f"See: {context.command_path} --help" if context is not None else None
    emit_error(InvalidInputError(Code.REQUEST_USAGE, error.format_message(), remedy=remedy), as_json)
    return USAGE


def _name(arguments: Sequence[str]) -> str:
    return next((argument for argument in arguments if not argument.startswith("-")), "")
