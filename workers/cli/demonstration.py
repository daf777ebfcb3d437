"""The main job on real data, as a newcomer sees it."""

from contextlib import ExitStack

import click

from penstock.producers.batches import SubmitOptions
from penstock.schemas.errors import PenstockError
from penstock.workers.cli.environment import open_producer, producer_settings
from penstock.workers.cli.forms import apply_file, tell_applied
from penstock.workers.cli.output import emit_error
from penstock.workers.cli.submit import hand_over
from penstock.workers.demo import BATCH_ID, FORM_FILE, FORM_ID, SUBMISSIONS_FILE
from penstock.workers.handover.submit import Order

_NEXT = f"""
What to look at next, in another terminal:
  penstock batch show {BATCH_ID} --rejections   why rows were rejected
  penstock forms show {FORM_ID}                 what was asked
  penstock submit {FORM_ID} FILE.jsonl --wait   a file of your own
  penstock health                               one look at everything
Ctrl-C stops the system; what it stored stays.
"""


def demonstrate() -> None:
    """Apply the form, hand over 10,000 reports, show the result. A second run finds that it is done."""
    click.secho("\n10,000 real wildlife strike reports, from a file into PostgreSQL:", bold=True)
    try:
        applied = apply_file(FORM_FILE, FORM_ID, None)
        click.echo(tell_applied(applied))
        with ExitStack() as stack:
            producer = stack.enter_context(open_producer(producer_settings()))
            order = Order(FORM_ID, SUBMISSIONS_FILE, BATCH_ID, SubmitOptions())
            hand_over(stack, producer, order, wait=True, as_json=False)
    except PenstockError as error:
        emit_error(error, as_json=False)
        return
    click.echo(_NEXT)
