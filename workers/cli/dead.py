"""`penstock dead`: jobs that ended without their effect, and what an operator does about them."""

import json
from typing import Any
from uuid import UUID

import click

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.dead_export import export
from penstock.workers.cli.dead_options import (
    filter_of,
    filter_options,
    id_argument,
    needed_reason,
    reveal_option,
    why_option,
)
from penstock.workers.cli.dead_replay import replay
from penstock.workers.cli.dead_requeue import requeue
from penstock.workers.cli.dead_resolve import discard
from penstock.workers.cli.dead_store import open_dead_letters
from penstock.workers.cli.dead_tell import GROUP_COLUMNS, LETTER_COLUMNS, group_row, letter_row, tell_letter
from penstock.workers.cli.operator import login_name
from penstock.workers.cli.output import emit_list, json_option
from penstock.workers.dead_letters.group_filters import GroupFilter
from penstock.workers.dead_letters.groups import GroupOrder
from penstock.workers.dead_letters.payloads import read_json


@click.group(epilog="Example: penstock dead groups")
def dead() -> None:
    """Dead letters: what died, why, and what becomes of it."""


for _command in (requeue, discard, export, replay):
    dead.add_command(_command)


@dead.command("list", epilog="Example: penstock dead list --code FORM_NOT_FOUND --since 6h")
@filter_options
@click.option("--oldest-first", is_flag=True, help="Instead of the newest first.")
@click.option("--after", help="Continue after this cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
@json_option
def list_(oldest_first: bool, after: str | None, limit: int, as_json: bool, **options: Any) -> None:
    """List dead letters, open ones unless --state says otherwise. Never payloads."""
    chosen = filter_of(options)
    with open_dead_letters() as store:
        page = store.search.list(chosen, limit=limit, cursor=after, newest_first=not oldest_first)
    rows = [letter.as_dict() if as_json else letter_row(letter) for letter in page.items]
    emit_list(rows, page.next, as_json, LETTER_COLUMNS)


@dead.command(epilog="Example: penstock dead groups --form poll")
@click.option("--kind", help="Only of this job kind.")
@click.option("--code", help="Only with this code.")
@click.option("--state", help="With open letters (if absent), or any.")
@click.option("--form", help="That affect this form.")
@click.option("--account", help="That affect this account.")
@click.option("--platform", help="That affect this platform.")
@click.option("--tenant", help="That affect this tenant.")
@click.option("--text", help="Text in the message, error, code or site.")
@click.option("--order", type=click.Choice([str(one) for one in GroupOrder]), default=str(GroupOrder.OPEN))
@click.option("--after", help="Continue after this cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
@json_option
def groups(order: str, after: str | None, limit: int, as_json: bool, **options: str | None) -> None:
    """List the groups of letters that died of the same."""
    try:
        chosen = GroupFilter.parse({name: value for name, value in options.items() if value})
    except InvalidInputError as error:
        raise InvalidInputError(Code.REQUEST_USAGE, error.message, remedy=error.remedy) from None
    with open_dead_letters() as store:
        page = store.groups.list(chosen, limit, after, GroupOrder(order))
    rows = [group.as_dict() if as_json else group_row(group) for group in page.items]
    emit_list(rows, page.next, as_json, GROUP_COLUMNS)


@dead.command(epilog="Example: penstock dead show 6f1f0f6e-3c1b-8a52-9d3e-0d5f0a4e7b11")
@id_argument
@reveal_option
@why_option
@json_option
def show(dead_id: UUID, reveal: bool, reason: str | None, as_json: bool) -> None:
    """Show a letter: what it was to do, what went wrong, what to do, its attempts, its payload redacted."""
    why = needed_reason(reason, needed=reveal)
    payload: Any
    with open_dead_letters() as store:
        detail = store.search.show(dead_id)
        if reveal:
            found = store.payloads.reveal(dead_id, login_name(), why)
            payload = read_json(found)
            payload = found.decode(errors="replace") if payload is None else payload
        else:
            payload = store.payloads.redacted(dead_id, detail.letter.kind)
    if as_json:
        # Escaped: a payload can hold what no output can.
        click.echo(json.dumps(detail.as_dict() | {"payload": payload}))
        return
    click.echo(tell_letter(detail, payload, "revealed" if reveal else "redacted"))
