"""Payloads of earlier versions in the shape of the present one: of dead letters, and of jobs that a deploy overtook."""

import json

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.job import Payload


def present_version(payload_type: type[Payload] | None, version: int, payload: bytes) -> tuple[bytes, int]:
    """A payload as the present release has it, and its version: upcast where its kind knows how.

    What needs no upcast stays byte for byte; so does what has none, since actors read every version ever sent.

    Raises:
        InvalidInputError: `JOB_PAYLOAD_INVALID` where the kind's upcast refuses it.
    """
    if payload_type is None or version >= payload_type.payload_version or not _has_upcast(payload_type):
        return payload, version
    try:
        data = json.loads(payload)
        return compact_json(payload_type.upcast(version, data)), payload_type.payload_version
    except InvalidInputError:
        raise
    except Exception as error:
        # Its own code, of any shape of data: whoever has the payload keeps it, and is told.
        raise InvalidInputError(
            Code.JOB_PAYLOAD_INVALID,
            f"version {version} can't be brought to version {payload_type.payload_version}: {type(error).__name__}",
        ) from None


def _has_upcast(payload_type: type[Payload]) -> bool:
    # A test's stand-in for a payload may have none at all.
    own = getattr(payload_type, "upcast", Payload.upcast)
    return getattr(own, "__func__", own) is not getattr(Payload.upcast, "__func__", None)
