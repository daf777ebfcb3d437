"""Instants as scripts tell them: milliseconds of the server's clock since 1970."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(ms: str | bytes | float | None) -> datetime | None:
    """The instant, aware; None for nothing."""
    return None if ms is None or ms in {b"", ""} else _EPOCH + timedelta(milliseconds=float(ms))


def instant_text(ms: str | bytes | float | None) -> str | None:
    """The instant as RFC 3339; None for nothing."""
    found = instant(ms)
    return None if found is None else found.isoformat()
