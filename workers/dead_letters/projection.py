"""What of a job's payload and record PostgreSQL can hold and search."""

import json
import math
from collections.abc import Mapping
from typing import Any

from penstock.producers.queue.compression import decompress
from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import PenstockError
from penstock.schemas.job import Payload

#: Characters of JSON up to which a payload is searchable as a whole.
WHOLE_LIMIT = 32 * 1024
#: Of a larger one: so many elements of each list, members of each object and characters of each text, until it fits.
_CUTS = ((20, 200, 1_000), (3, 100, 500), (1, 50, 200), (0, 20, 100))
_DEPTH = 64
_UNSTORABLE = dict.fromkeys((0, *range(55296, 57344)), "�")


def storable_text(text: str) -> str:
    """`text` as PostgreSQL can hold it: U+0000 and unpaired surrogates become U+FFFD."""
    return text.translate(_UNSTORABLE)


def storable(value: Any, depth: int = _DEPTH) -> Any:
    """A JSON value as `jsonb` can hold it; what lies deeper than `depth`, and numbers that are none, become null."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        if depth == 0:
            return None
        return {storable_text(str(name)): storable(inner, depth - 1) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return None if depth == 0 else [storable(inner, depth - 1) for inner in value]
    return value


def read_payload(body: bytes, encoding: str | None, limit_bytes: int) -> Any:
    """The payload as a JSON value; None where it can't be read."""
    try:
        return json.loads(decompress(body, _known(encoding), limit_bytes))
    except (PenstockError, ValueError, RecursionError, OverflowError):
        return None


def _known(encoding: str | None) -> Any:
    if encoding not in {None, "zstd"}:
        raise ValueError(f"an encoding that is unknown: {encoding}")
    return encoding


def project(payload: Any) -> bytes | None:
    """The JSON text that filters look into: the whole payload, or what of it fits `WHOLE_LIMIT` characters."""
    if payload is None:
        return None
    held = storable(payload)
    whole = compact_json(held)
    if len(whole) <= WHOLE_LIMIT:
        return whole
    for elements, members, characters in _CUTS:
        cut = compact_json(_cut(held, elements, members, characters))
        if len(cut) <= WHOLE_LIMIT:
            return cut
    return None


def _cut(value: Any, elements: int, members: int, characters: int) -> Any:
    if isinstance(value, str):
        return value[:characters]
    if isinstance(value, list):
        return [_cut(inner, elements, members, characters) for inner in value[:elements]]
    if isinstance(value, dict):
        # Plain members first: they name the thing, whatever stands before them.
        plain = sorted(value.items(), key=lambda item: isinstance(item[1], (dict, list)))
        return {name: _cut(inner, elements, members, characters) for name, inner in plain[:members]}
    return value


def subjects_of(kind: str, payload: Any, kinds: Mapping[str, type[Payload]]) -> dict[str, str]:
    """What the job was about, by subject (`form`, `account`, `platform`), as its kind tells where to look."""
    declared = kinds[kind].subjects if kind in kinds else {}
    found = {subject: _at(payload, path) for subject, path in declared.items()}
    return {subject: storable_text(value)[:200] for subject, value in found.items() if value}


def _at(payload: Any, path: str) -> str | None:
    for part in path.split("."):
        payload = payload.get(part) if isinstance(payload, dict) else None
    return str(payload) if isinstance(payload, (str, int)) and not isinstance(payload, bool) else None
