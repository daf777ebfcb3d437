"""The main job on real data, as a newcomer sees it; then a few scheduled posts."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from penstock.producers.batches import SubmitOptions
from penstock.schemas.errors import PenstockError
from penstock.workers.cli.batch import show
from penstock.workers.cli.demonstration_posts import demonstrate_posts
from penstock.workers.cli.environment import home_path, open_producer, producer_settings
from penstock.workers.cli.forms import apply_file, tell_applied
from penstock.workers.cli.output import emit_error
from penstock.workers.cli.submit import hand_over
from penstock.workers.demo import BATCH_ID, FORM_FILE, FORM_ID, SUBMISSIONS_FILE
from penstock.workers.embedded.home import Home
from penstock.workers.handover.submit import Order

#: What a newcomer may want to see next: arguments of the command, and what they show.
_NEXT = (
    (f"batch show {BATCH_ID} --rejections", "every rejected row, with what would have been right"),
    (f"forms show {FORM_ID}", "what was asked"),
    ("posts list", "the posts, and what became of them"),
    (f"submit {FORM_ID} FILE.jsonl --wait", "a file of your own"),
    ("health", "one look at everything"),
)


def demonstrate(pages: str | None, stand_in_url: str) -> None:
    """Hand over 10,000 reports, publish some posts at the stand-in, show both, and where the operators' pages are.

    A second run finds that the reports are there, and publishes posts anew.
    """
    if not _shown(_demonstrate_reports):
        return
    # Without a key for tokens, which a database of one's own wants, there is the rest all the same.
    _shown(partial(demonstrate_posts, stand_in_url))
    if not _is_stopping():
        _tell_next(pages)


def _shown(part: Callable[[], None]) -> bool:
    """Show a part; False where it failed, which is told, unless the servers go away because that was asked for."""
    try:
        part()
    except PenstockError as error:
        if not _is_stopping():
            emit_error(error, as_json=False)
        return False
    return True


def _is_stopping() -> bool:
    """Whether `up` is about to stop the servers: it withdraws the note of them before."""
    return not Home(home_path()).servers_file.exists()


def _demonstrate_reports() -> None:
    click.secho("\n10,000 real wildlife strike reports, from a file into PostgreSQL", bold=True)
    click.echo(tell_applied(apply_file(FORM_FILE, FORM_ID, None)))
    with ExitStack() as stack:
        producer = stack.enter_context(open_producer(producer_settings()))
        order = Order(FORM_ID, SUBMISSIONS_FILE, BATCH_ID, SubmitOptions())
        hand_over(stack, producer, order, wait=True, as_json=False)
    click.echo()
    show.main([BATCH_ID, "--rejections", "--limit", "3"], standalone_mode=False)


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
