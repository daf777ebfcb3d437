"""How commands print: JSON for programs, plain lines for people, errors as code, message and remedy."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from penstock.schemas.errors import PenstockError

#: The option that each printing command has.
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def emit(value: Mapping[str, Any], as_json: bool, tell: Callable[[], str]) -> None:
    """Print `value` as one line of JSON, or what `tell` makes of it."""
    click.echo(_json(value) if as_json else tell())


def _json(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A rejected row can hold an unpaired surrogate, which no output can; as an escape it can be told.
        return json.dumps(value)
    return text


def emit_list(items: Sequence[Mapping[str, Any]], following: str | None, as_json: bool, columns: Sequence[str]) -> None:
    """Print a page of a list: `{"items": […], "next": cursor or null}`, or a table of `columns`."""
    if as_json:
        click.echo(_json({"items": list(items), "next": following}))
        return
    click.echo(table(items, columns))
    if following is not None:
        click.echo(f"more: --after {following}")


def table(items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows under their headings, columns as wide as their widest cell."""
    cells = [[str(column) for column in columns]]
    cells += [["" if item[column] is None else str(item[column]) for column in columns] for item in items]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines) if items else "\n".join([*lines, "(none)"])


def to_the_second(instant: str | None) -> str | None:
    """An RFC 3339 text as people read it: without what is below a second."""
    return None if instant is None else datetime.fromisoformat(instant).isoformat(timespec="seconds")


def emit_error(error: PenstockError, as_json: bool) -> None:
    """Print an error on standard error."""
    if as_json:
        click.echo(_json({"error": error.as_dict()}), err=True)
        return
    click.secho(f"{error.code}: {error.message}", fg="red", err=True)
    click.echo(f"  {error.remedy}", err=True)
