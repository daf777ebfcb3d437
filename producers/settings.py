"""Settings from the environment and from mounted secret files, checked at start, all faults at once."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from penstock.producers.queue.bounds import Bounds
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.limits import Limits
from penstock.schemas.names import DEFAULT_TENANT, Name

REDIS_SCHEMES = ("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://")

#: The shortest and longest prefix of Redis keys make sense to a person who reads them.
Namespace = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Settings(BaseModel):
    """The base of settings: each field's alias is the name of its environment variable.

    Each can also be given as `NAME_FILE`, the path of a file that holds the value (a mounted secret).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, naming every setting at fault and never its value.
        """
        values: dict[str, str] = {}
        faults: dict[str, str] = {}
        for field in cls.model_fields.values():
            name = str(field.alias)
            try:
                value = _read(name, environ)
            except ValueError as error:
                faults[name] = str(error)
                continue
            if value is not None:
                values[name] = value
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            faults = {
                str(fault["loc"][0] if fault["loc"] else "settings"): _tell(fault["type"], fault["msg"])
                for fault in error.errors(include_input=False, include_url=False)
            } | faults
        if faults:
            told = "; ".join(f"{name}: {message}" for name, message in sorted(faults.items()))
            raise InvalidInputError(
                Code.CONFIG_INVALID, f"{len(faults)} setting(s) at fault: {told}", details={"settings": faults}
            )
        return settings


class ProducerSettings(Settings):
    """What a producer needs to know."""

    redis_url: str = Field(
        alias="REDIS_URL",
        repr=False,
        description="where the queues are: `redis://`, `rediss://` (TLS), `unix://`, or"
        " `redis+sentinel://host:port,host2:port2/service/db` (`rediss+sentinel://`)",
    )
    namespace: Namespace = Field(
        default="penstock", alias="PENSTOCK_NAMESPACE", description="prefix of every Redis key"
    )
    tenant: Name = Field(
        default=DEFAULT_TENANT, alias="PENSTOCK_TENANT", description="whose jobs this process enqueues and asks for"
    )
    batch_size_limit: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=Limits().batch_size, alias="PENSTOCK_BATCH_SIZE_LIMIT", description="rows of one batch"
    )
    row_bytes_limit: Annotated[int, Field(ge=1_024)] = Field(
        default=Limits().row_bytes, alias="PENSTOCK_ROW_BYTES_LIMIT", description="bytes of one row as compact JSON"
    )
    message_bytes_limit: Annotated[int, Field(ge=1_024, le=256 * 1024 * 1024)] = Field(
        default=Limits().message_bytes,
        alias="PENSTOCK_MESSAGE_BYTES_LIMIT",
        description="bytes of one job's payload before compression",
    )

    idempotency_seconds: Annotated[int, Field(ge=600, le=366 * 86_400)] = Field(
        default=7 * 86_400,
        alias="PENSTOCK_IDEMPOTENCY_SECONDS",
        description="how long a finished job with an idempotency key is known, so that a resend adds nothing",
    )
    record_seconds: Annotated[int, Field(ge=600, le=366 * 86_400)] = Field(
        default=3_600,
        alias="PENSTOCK_RECORD_SECONDS",
        description="how long a finished job without a key is known",
    )
    replica_acks: Annotated[int, Field(ge=0, le=10)] = Field(
        default=0,
        alias="PENSTOCK_REPLICA_ACKS",
        description="replicas that must confirm a job before its producer is told that it is enqueued",
    )
    # Redis has to answer within 5 s, waiting included.
    replica_ack_seconds: Annotated[float, Field(gt=0, le=4)] = Field(
        default=0.5, alias="PENSTOCK_REPLICA_ACK_SECONDS", description="how long to wait for them"
    )

    queue_limit_jobs: Annotated[int, Field(ge=0)] = Field(
        default=Bounds().jobs,
        alias="PENSTOCK_QUEUE_LIMIT_JOBS",
        description="jobs that a queue may hold before it takes no new one; 0 for no limit, here and below",
    )
    queue_limit_bytes: Annotated[int, Field(ge=0)] = Field(
        default=Bounds().bytes,
        alias="PENSTOCK_QUEUE_LIMIT_BYTES",
        description="bytes of messages that a queue may hold before it takes no new one",
    )
    tenant_queue_limit_jobs: Annotated[int, Field(ge=0)] = Field(
        default=Bounds().tenant_jobs,
        alias="PENSTOCK_TENANT_QUEUE_LIMIT_JOBS",
        description="jobs of one tenant that a queue may hold before it takes no new one of that tenant",
    )
    tenant_queue_limit_bytes: Annotated[int, Field(ge=0)] = Field(
        default=Bounds().tenant_bytes,
        alias="PENSTOCK_TENANT_QUEUE_LIMIT_BYTES",
        description="the same in bytes of messages",
    )
    redis_memory_limit_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=Bounds().memory_share,
        alias="PENSTOCK_REDIS_MEMORY_LIMIT_SHARE",
        description="share of Redis's `maxmemory` from which on no queue takes a new job",
    )

    @property
    def bounds(self) -> Bounds:
        """The limits of each queue as one value."""
        return Bounds(
            self.queue_limit_jobs,
            self.queue_limit_bytes,
            self.tenant_queue_limit_jobs,
            self.tenant_queue_limit_bytes,
            self.redis_memory_limit_share,
        )

    @property
    def limits(self) -> Limits:
        """The three size limits as one value."""
        return Limits(self.batch_size_limit, self.row_bytes_limit, self.message_bytes_limit)

    @field_validator("redis_url")
    @classmethod
    def _scheme_known(cls, url: str) -> str:
        if not url.startswith(REDIS_SCHEMES):
            raise ValueError(f"must begin with one of {', '.join(REDIS_SCHEMES)}")
        return url


class ApiKeySettings(Settings):
    """What making and checking API keys needs."""

    api_key_secret: str | None = Field(
        default=None,
        alias="PENSTOCK_API_KEY_SECRET",
        repr=False,
        description="the secrets that digests of API keys are keyed with, as `id:secret,id:secret`: the first digests"
        " new keys, all check theirs; the same in all gateways and where keys are made",
    )
    api_key_grace_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=900,
        alias="PENSTOCK_API_KEY_GRACE_SECONDS",
        description="how long a gateway goes on to take a key that it knows while PostgreSQL is away; others get 503",
    )

    @property
    def api_key_grace(self) -> timedelta:
        """`api_key_grace_seconds` as a duration."""
        return timedelta(seconds=self.api_key_grace_seconds)


def _read(name: str, environ: Mapping[str, str]) -> str | None:
    value, path = environ.get(name) or None, environ.get(f"{name}_FILE") or None
    if path is None:
        return value
    if value is not None:
        raise ValueError(f"set either {name} or {name}_FILE, not both")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}_FILE can't be read: {type(error).__name__}") from None


def _tell(kind: str, message: str) -> str:
    return "is not set" if kind == "missing" else message.removeprefix("Value error, ")
