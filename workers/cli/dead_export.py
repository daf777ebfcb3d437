"""`penstock dead export`: letters as JSON lines, for whoever looks through them elsewhere."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.dead_options import filter_of, filter_options, needed_reason, reveal_option, why_option
from penstock.workers.cli.dead_store import open_dead_letters
from penstock.workers.cli.operator import login_name
from penstock.workers.cli.output import emit, json_option
from penstock.workers.dead_letters.exporting import export as exported


@click.command(epilog="Example: penstock dead export --group 3f9a6f0c2b7d1e84 --output letters.jsonl")
@filter_options
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="A new file; standard output if absent."
)
@reveal_option
@why_option
@json_option
def export(output: Path | None, reveal: bool, reason: str | None, as_json: bool, **options: Any) -> None:
    """Write letters as JSON lines, oldest first, each with its payload redacted.

    What dies meanwhile is none of it.
    """
    why = needed_reason(reason, needed=reveal)
    chosen = filter_of(options)
    count = 0
    with open_dead_letters() as store, _writer(output) as write:
        if reveal:
            store.payloads.record("export", login_name(), why, {"filter": chosen.as_dict()})
        for letter in exported(store.search, store.transactions, chosen, revealed=reveal):
            # Escaped: a payload can hold what no output can.
            write(json.dumps(letter))
            count += 1
    if output is not None:
        emit({"letters": count, "output": str(output)}, as_json, lambda: f"{count:,} letter(s) written to {output}")


@contextmanager
def _writer(output: Path | None) -> Iterator[Callable[[str], Any]]:
    """Writes lines; a file has its name once it is whole, and is its owner's alone.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where the file is there, or can't be made.
    """
    if output is None:
        yield click.echo
        return
    if output.exists():
        raise InvalidInputError(Code.REQUEST_USAGE, f"{output} is there already", remedy="Name a new file.")
    part = output.with_name(f"{output.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise InvalidInputError(Code.REQUEST_USAGE, f"{part} can't be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        yield lambda line: file.write(f"{line}\n")
    part.rename(output)
