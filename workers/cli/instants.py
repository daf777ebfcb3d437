"""Instants as operators type them: RFC 3339 with an offset, or `+10m` from now."""

from datetime import UTC, datetime

import click

from penstock.workers.cli.durations import duration


def instant(value: str) -> datetime:
    """The instant that an argument says, in UTC.

    Raises:
        click.BadParameter: where it is none, or has no offset.
    """
    if value.startswith("+"):
        return datetime.now(UTC) + duration(value[1:])
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise click.BadParameter(f"{value!r} is neither an instant such as 2026-11-21T14:30:00+01:00 nor +10m, +2h, +1d")


#: The type of an argument that says an instant.
INSTANT: click.ParamType[datetime] = click.types.FuncParamType(instant)
