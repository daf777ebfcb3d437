"""Conditions on what stands at a path of the payload."""

import itertools
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from penstock.schemas.encoding import compact_json
from penstock.schemas.text import is_storable

#: A path as it is written, and the JSON value that stands there.
PayloadPath = tuple[str, Any]

#: Any element of a list.
ANY = "*"
_DEPTH = 16
#: A number in a path may be a position or a member's name: more of them would make too many readings.
_NUMBERS = 3
_POSITION = re.compile(r"\d{1,9}")


def parse_payload_path(text: str) -> PayloadPath | None:
    """Read `path=value`: the value is JSON, or else the text itself. None where it is not of this form."""
    path, separator, written = text.partition("=")
    path = path.strip()
    parts = path.split(".")
    if not separator or not all(parts) or len(parts) > _DEPTH or parts[0] == ANY:
        return None
    value = _value(written.strip())
    storable = is_storable(path) and is_storable(json.dumps(value, ensure_ascii=False))
    return (path, value) if storable and "\\u0000" not in json.dumps(value) else None


def _value(written: str) -> Any:
    try:
        found = json.loads(written, parse_constant=lambda _: written)
    except (ValueError, RecursionError):
        return written
    # A number that is too large for us is a text like any other.
    return written if isinstance(found, float) and not math.isfinite(found) else found


def payload_condition(name: str, path: str, value: Any, parameters: dict[str, Any]) -> str:
    """The condition in SQL; adds its parameters, whose names begin with `name`.

    Containment is what the index answers; where a path names a position, or the value has members of its own, what
    stands there is compared as well.
    """
    parts = path.split(".")
    numbers = [place for place, part in enumerate(parts) if _POSITION.fullmatch(part)]
    conditions = []
    if len(numbers) <= _NUMBERS:
        conditions.append(_containment(name, parts, numbers, value, parameters))
    if ANY not in parts and (numbers or isinstance(value, (dict, list))):
        parameters[f"{name}_path"] = parts
        parameters[f"{name}_value"] = compact_json(value).decode()
        conditions.append(f"payload #> %({name}_path)s::text[] = %({name}_value)s::jsonb")
    return " AND ".join(conditions) or "false"


def _containment(
    name: str, parts: Sequence[str], numbers: Sequence[int], value: Any, parameters: dict[str, Any]
) -> str:
    readings: list[str] = []
    for chosen in itertools.product((True, False), repeat=len(numbers)):
        lists = {place for place, is_list in zip(numbers, chosen, strict=True) if is_list}
        key = f"{name}_{len(readings)}"
        parameters[key] = compact_json(_containing(parts, lists, value)).decode()
        readings.append(f"payload @> %({key})s::jsonb")
    return f"({' OR '.join(readings)})"


def _containing(parts: Sequence[str], lists: set[int], value: Any) -> Any:
    """The least JSON that has `value` at the path; `lists` says which parts are positions in lists."""
    found = value
    for place in range(len(parts) - 1, -1, -1):
        found = [found] if place in lists or parts[place] == ANY else {parts[place]: found}
    return found
