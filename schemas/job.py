"""A job kind: the model of its payload, the queue it goes to, and its version.

A kind's name is data at rest: never rename one in place.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticSerializationError

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.limits import Limits
from penstock.schemas.names import Queue

_KINDS: dict[str, type["Payload"]] = {}


class Payload(BaseModel):
    """The base of every job kind's payload.

    A subclass names itself: `class WriteSubmissionBatch(Payload, kind="submission_batch.write", queue=...)`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClassVar[str]
    queue: ClassVar[Queue]
    #: Raised when the payload's shape changes; workers read every version that was ever sent, by `upcast` or by itself.
    payload_version: ClassVar[int] = 1
    #: What a producer is told whose idempotency key is known with another payload.
    conflict_code: ClassVar[Code] = Code.JOB_CONFLICT
    #: Jobs that must not be late: once ready (enqueued, due, tried again) they go before those that are not urgent.
    urgent: ClassVar[bool] = False
    #: What jobs of this kind are about, and the path in the payload that names it: `{"form": "form_id"}`. Subjects are
    #: form, account and platform; dead letters are filtered and counted by them.
    subjects: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, *, kind: str = "", queue: Queue | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not kind or queue is None:
            raise TypeError(f"{cls.__name__} must name its kind and queue")
        if kind in _KINDS and _KINDS[kind].__qualname__ != cls.__qualname__:
            raise TypeError(f"two payloads claim the kind {kind!r}")
        cls.kind, cls.queue = kind, queue
        _KINDS[kind] = cls

    def encode(self, limits: Limits) -> "EncodedPayload":
        """The payload as it goes on the wire.

        Raises:
            InvalidInputError: where it is over a limit; nothing has been sent then.
        """
        return encoded_payload(type(self), _body_of(self), self.idempotency_key(), limits)

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        """The payload `data` of an earlier version, in the shape of the present one.

        A kind whose shape has changed overrides it, for jobs that were sent before a deploy and run after it, and for
        old dead letters that are edited or requeued. A kind without one gets earlier payloads as they were sent.

        Raises:
            InvalidInputError: `JOB_PAYLOAD_INVALID` where nothing leads from that version to this one.
        """
        if version == cls.payload_version:
            return data
        raise InvalidInputError(
            Code.JOB_PAYLOAD_INVALID,
            f"nothing leads from version {version} of {cls.kind!r} to version {cls.payload_version}",
        )

    def idempotency_key(self) -> str | None:
        """What makes two payloads the same job; None where each enqueue is a job of its own."""
        return None


# Not frozen, since that takes three times as long to make, and each job has one; but it can be hashed as if it were.
@dataclass(slots=True, unsafe_hash=True)
class EncodedPayload:
    """A payload that was checked and encoded, ready to be enqueued."""

    kind: str
    queue: Queue
    payload_version: int
    body: bytes
    idempotency_key: str | None
    conflict_code: Code = Code.JOB_CONFLICT
    urgent: bool = False

    def __repr__(self) -> str:
        return f"<{self.kind} of {len(self.body)} bytes>"


def _body_of(payload: Payload) -> bytes:
    try:
        body = payload.__pydantic_serializer__.to_json(payload, exclude_none=True) if _is_plain(type(payload)) else None
    except PydanticSerializationError:  # an unpaired surrogate, say, which UTF-8 can't hold
        body = None
    return compact_json(payload.model_dump(mode="json", exclude_none=True)) if body is None else body


@cache
def _is_plain(payload_type: type[Payload]) -> bool:
    """Whether pydantic writes payloads of this type to the byte as `compact_json` does, in a third of the time.

    A float, for one, it writes otherwise (1e16, and not 1e+16), and a payload's bytes make its digest.
    """
    schema = payload_type.__pydantic_core_schema__
    return isinstance(schema, dict) and _is_plain_schema(schema)


def _is_plain_schema(schema: Mapping[str, Any]) -> bool:
    inner: Iterable[Mapping[str, Any]]
    match schema["type"]:
        case "str" | "int" | "bool" | "uuid" | "none":
            inner = ()
        case "model" | "model-field" | "nullable" | "default":
            inner = (schema["schema"],)
        case "model-fields":
            inner = schema["fields"].values()
        case _:
            return False
    of_its_own = schema.keys() & {"serialization", "computed_fields", "extras_schema", "extra_behavior"}
    forbids_extra = schema.get("config", {}).get("extra_fields_behavior", "forbid") == "forbid"
    return forbids_extra and not any(map(schema.get, of_its_own)) and all(map(_is_plain_schema, inner))


def encoded_payload(
    payload_type: type[Payload], body: bytes, idempotency_key: str | None, limits: Limits
) -> EncodedPayload:
    """Wrap an encoded body of `payload_type`.

    Raises:
        InvalidInputError: `BATCH_TOO_LARGE` where it is over `limits.message_bytes`.
    """
    if len(body) > limits.message_bytes:
        raise InvalidInputError(
            Code.BATCH_TOO_LARGE,
            f"the job {idempotency_key or payload_type.kind!r} has {len(body):,} bytes;"
            f" the limit is {limits.message_bytes:,}",
        )
    # By position: with names it takes longer, and each job is made here.
    return EncodedPayload(
        payload_type.kind,
        payload_type.queue,
        payload_type.payload_version,
        body,
        idempotency_key,
        payload_type.conflict_code,
        payload_type.urgent,
    )


def job_kinds() -> Mapping[str, type[Payload]]:
    """Every job kind by name. Kinds are found, not listed: each is a module of `penstock.schemas`."""
    import penstock.schemas  # noqa: PLC0415  the package can't import itself while it is being imported

    for module in pkgutil.iter_modules(penstock.schemas.__path__):
        importlib.import_module(f"penstock.schemas.{module.name}")
    return dict(_KINDS)
