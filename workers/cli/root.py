"""The command's root: its sub-commands, and what becomes of errors."""

import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.cli.batch import batch
from penstock.workers.cli.forms import forms
from penstock.workers.cli.health import health
from penstock.workers.cli.migrate import migrate
from penstock.workers.cli.output import emit_error
from penstock.workers.cli.schemas import schemas
from penstock.workers.cli.submit import submit
from penstock.workers.cli.up import up
from penstock.workers.cli.worker import worker

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("penstock"), prog_name="penstock")
def root() -> None:
    r"""Background jobs that are never lost and never happen twice.

    \b
    penstock up --demo      everything on this machine, with 10,000 real reports
    penstock submit --help  hand over a file of submissions
    """


for command in (up, worker, migrate, forms, submit, batch, health, schemas):
    root.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; returns the exit code: 0 done, 1 failed, 2 usage."""
    as_json = "--json" in arguments
    try:
        result = root.main(args=list(arguments), prog_name="penstock", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.NoSuchOption as error:
        return _usage(error, as_json)
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
        logging.getLogger(__name__).debug("the command failed", exc_info=True)
        emit_error(
            PenstockError(Code.INTERNAL_ERROR, f"{type(error).__name__} in `penstock {_name(arguments)}`"), as_json
        )
        return FAILED
    return result if isinstance(result, int) else DONE


def _usage(error: click.ClickException, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    remedy = f"See: {context.command_path} --help" if context is not None else None
    emit_error(InvalidInputError(Code.REQUEST_USAGE, error.format_message(), remedy=remedy), as_json)
    return USAGE


def _name(arguments: Sequence[str]) -> str:
    return next((argument for argument in arguments if not argument.startswith("-")), "")
