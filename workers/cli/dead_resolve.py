"""`penstock dead discard`: letters whose jobs are not to run any more."""

from typing import Any
from uuid import UUID

import click

from penstock.workers.cli.dead_options import (
    all_option,
    chosen_filter,
    filter_options,
    ids_argument,
    needed_reason,
    why_option,
)
from penstock.workers.cli.dead_store import DeadLetters, open_dead_letters
from penstock.workers.cli.operator import login_name, yes_option
from penstock.workers.cli.output import emit, json_option
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import LetterState
from penstock.workers.dead_letters.search import Count


@click.command(epilog="Example: penstock dead discard --form test-form --reason 'it was a test' --dry-run")
@ids_argument
@filter_options
@all_option
@click.option("--dry-run", is_flag=True, help="Tell how many it would be, and change nothing.")
@why_option
@yes_option
@json_option
def discard(
    ids: tuple[UUID, ...],
    everything: bool,
    dry_run: bool,
    reason: str | None,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Close open letters without giving their jobs a new life. It can't be taken back."""
    why = needed_reason(reason, needed=not dry_run)
    chosen = chosen_filter(ids, everything, options)
    with open_dead_letters() as store:
        counted = _count(store, ids, chosen)
        told = f"{counted.n:,} dead letter(s){'' if counted.exact else ' or more'}"
        if dry_run:
            value = {"count": counted.n, "exact": counted.exact, "dry_run": True}
            emit(value, as_json, lambda: f"{told} would be discarded; nothing was changed")
            return
        if not yes:
            click.confirm(f"Discard {told}, for good?", abort=True, err=True)
        count = store.decisions.discard(list(ids) if chosen is None else chosen, login_name(), why)
    value = {"count": count, "exact": True, "dry_run": False}
    emit(value, as_json, lambda: f"{count:,} dead letter(s) discarded")


def _count(store: DeadLetters, ids: tuple[UUID, ...], chosen: LetterFilter | None) -> Count:
    if chosen is not None:
        return store.search.count(chosen)
    found = [store.search.show(one).letter for one in dict.fromkeys(ids)]
    return Count(sum(letter.state is LetterState.OPEN for letter in found), exact=True)
