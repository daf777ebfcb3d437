"""Python values as JSON bytes, the way that every producer of ours writes them."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import UUID


def compact_json(value: Any) -> bytes:
    """Write `value` as UTF-8 JSON without white space.

    Dates, times and UUIDs become their ISO text; a Decimal becomes a string, which keeps its digits exactly and is
    a number to a number question. Unpaired surrogates, which UTF-8 can't hold, are written as escapes, so that
    what was sent can be kept.

    Raises:
        ValueError: for NaN, infinities and circular values.
        TypeError: for objects of other types, naming the type.
    """
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:
        return _encode_in_ascii(value).encode()


def _plain(value: object) -> str:
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


# Made once: where more is said than what to write, `json.dumps` makes one each time, which takes longer than a value.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode
_encode_in_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_plain).encode
