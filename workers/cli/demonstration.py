"""The main job on real data, as a newcomer sees it."""

import os
import shlex
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from penstock.producers.batches import SubmitOptions
from penstock.schemas.errors import PenstockError
from penstock.workers.cli.batch import show
from penstock.workers.cli.environment import open_producer, producer_settings
from penstock.workers.cli.forms import apply_file, tell_applied
from penstock.workers.cli.output import emit_error
from penstock.workers.cli.submit import hand_over
from penstock.workers.demo import BATCH_ID, FORM_FILE, FORM_ID, SUBMISSIONS_FILE
from penstock.workers.handover.submit import Order

#: What a newcomer may want to see next: arguments of the command, and what they show.
_NEXT = (
    (f"batch show {BATCH_ID} --rejections", "every rejected row, with what would have been right"),
    (f"forms show {FORM_ID}", "what was asked"),
    (f"submit {FORM_ID} FILE.jsonl --wait", "a file of your own"),
    ("health", "one look at everything"),
)


def demonstrate(pages: str | None) -> None:
    """Apply the form, hand over 10,000 reports, show the result, and where the operators' pages are.

    A second run finds that it is done.
    """
    click.secho("\n10,000 real wildlife strike reports, from a file into PostgreSQL", bold=True)
    try:
        click.echo(tell_applied(apply_file(FORM_FILE, FORM_ID, None)))
        with ExitStack() as stack:
            producer = stack.enter_context(open_producer(producer_settings()))
            order = Order(FORM_ID, SUBMISSIONS_FILE, BATCH_ID, SubmitOptions())
            hand_over(stack, producer, order, wait=True, as_json=False)
        click.echo()
        show.main([BATCH_ID, "--rejections", "--limit", "3"], standalone_mode=False)
    except PenstockError as error:
        emit_error(error, as_json=False)
        return
    _tell_next(pages)


def _tell_next(pages: str | None) -> None:
    command = _command()
    width = max(len(arguments) for arguments, _ in _NEXT)
    click.secho("\nWhat to look at next, in another terminal", bold=True)
    for arguments, told in _NEXT:
        click.echo(f"  {command} {arguments.ljust(width)}   {told}")
    if pages is not None:
        click.echo(f"In a browser: {pages}")
    click.echo("Ctrl-C stops the system; what it stored stays.\n")


def _command() -> str:
    """How this very command is called from the folder that the user is in."""
    if shutil.which("penstock") is not None:
        return "penstock"
    path = str(Path(sys.argv[0]).absolute())
    return shlex.quote(min(os.path.relpath(path), path, key=len))
