"""The settings of workers and of the `penstock` command."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from penstock.producers.settings import ProducerSettings

DATABASE_SCHEMES = ("postgresql://", "postgres://")

Switch = Literal["on", "off"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class WorkerSettings(ProducerSettings):
    """What a worker needs to know, beyond what a producer does."""

    database_url: str = Field(
        alias="DATABASE_URL", repr=False, description="the database; its role is a member of `penstock_worker`"
    )
    migration_database_url: str | None = Field(
        default=None,
        alias="PENSTOCK_MIGRATION_DATABASE_URL",
        repr=False,
        description="the database with a role that may migrate it; `DATABASE_URL` where absent",
    )
    threads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, alias="PENSTOCK_WORKER_THREADS", description="jobs (or groups of jobs) that a worker runs at once"
    )
    actors: str = Field(
        default="",
        alias="PENSTOCK_ACTORS",
        description="packages with actors of one's own, parted by commas, beside those that come with Penstock",
    )
    queues: str = Field(
        default="",
        alias="PENSTOCK_QUEUES",
        description="queues that this worker serves, parted by commas; all if empty",
    )
    lease_seconds: Annotated[float, Field(ge=2, le=3_600)] = Field(
        default=30,
        alias="PENSTOCK_LEASE_SECONDS",
        description="how long a worker that is not heard of keeps its jobs before others get them",
    )
    poison_limit: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3,
        alias="PENSTOCK_POISON_LIMIT",
        description="workers that a job may take down with it before it is a dead letter",
    )
    unknown_kind_offer_seconds: Seconds = Field(
        default=30,
        alias="PENSTOCK_UNKNOWN_KIND_OFFER_SECONDS",
        description="how often parked jobs of an unknown kind are offered again",
    )
    unknown_kind_limit_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] = Field(
        default=86_400,
        alias="PENSTOCK_UNKNOWN_KIND_LIMIT_SECONDS",
        description="how long a job may wait for a worker that knows its kind before it is a dead letter",
    )
    redis_check: Literal["refuse", "warn", "off"] = Field(
        default="warn",
        alias="PENSTOCK_REDIS_CHECK",
        description="what a start does where Redis may drop jobs (evicts keys, or writes nothing to disk)",
    )
    outbox_sweep_seconds: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=300,
        alias="PENSTOCK_OUTBOX_SWEEP_SECONDS",
        description="age of a relayed outbox row at which it is asked what became of its job",
    )
    gates_when_redis_down: Literal["open", "closed"] = Field(
        default="closed",
        alias="PENSTOCK_GATES_WHEN_REDIS_DOWN",
        description="what becomes of all that a pause, a circuit or a limit concerns while Redis can't be asked: with"
        " `closed` such jobs and guarded calls wait, so that no limit is exceeded; with `open` they pass uncounted",
    )
    tenant_limit: Annotated[int, Field(ge=0, le=10**9)] = Field(
        default=0,
        alias="PENSTOCK_TENANT_LIMIT",
        description="jobs of one kind that one tenant may run in any window; 0 for no limit",
    )
    tenant_limit_window_seconds: Annotated[float, Field(ge=0.01, le=31 * 86_400)] = Field(
        default=60, alias="PENSTOCK_TENANT_LIMIT_WINDOW_SECONDS", description="that window"
    )
    pool_min: Annotated[int, Field(ge=0, le=1_000)] = Field(
        default=5, alias="PENSTOCK_POOL_MIN", description="connections to PostgreSQL that are kept open"
    )
    pool_max: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=25, alias="PENSTOCK_POOL_MAX", description="connections to PostgreSQL at the most"
    )
    pool_wait_seconds: Seconds = Field(
        default=5, alias="PENSTOCK_POOL_WAIT_SECONDS", description="the longest wait for a free connection"
    )
    statement_seconds: Seconds = Field(
        default=30,
        alias="PENSTOCK_STATEMENT_SECONDS",
        description="the longest run of one statement; within a transaction no longer than that",
    )
    transaction_seconds: Seconds = Field(
        default=10,
        alias="PENSTOCK_TRANSACTION_SECONDS",
        description="the longest transaction (PostgreSQL 17 and later hold it; before, idle time within one)",
    )
    lock_seconds: Seconds = Field(default=5, alias="PENSTOCK_LOCK_SECONDS", description="the longest wait for a lock")
    prepare_statements: Switch = Field(
        default="on",
        alias="PENSTOCK_PREPARE_STATEMENTS",
        description="`off` behind a PgBouncer older than 1.21 in transaction mode",
    )
    circuit_failures: Annotated[int, Field(ge=1, le=100)] = Field(
        default=5, alias="PENSTOCK_CIRCUIT_FAILURES", description="failures within the window that open a circuit"
    )
    circuit_window_seconds: Seconds = Field(
        default=60,
        alias="PENSTOCK_CIRCUIT_WINDOW_SECONDS",
        description="how long a failure counts; a success does not make up for it",
    )
    circuit_open_seconds: Seconds = Field(
        default=60,
        alias="PENSTOCK_CIRCUIT_OPEN_SECONDS",
        description="how long an open circuit refuses calls before one may try",
    )
    circuit_open_limit_seconds: Seconds = Field(
        default=60,
        alias="PENSTOCK_CIRCUIT_OPEN_LIMIT_SECONDS",
        description="each try that fails doubles that time up to this; it stays the same where this is no longer",
    )
    circuit_probe_seconds: Seconds = Field(
        default=30,
        alias="PENSTOCK_CIRCUIT_PROBE_SECONDS",
        description="after this the one that tries is given up, and another one may; more than a call can take",
    )
    circuit_ramp_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=30,
        alias="PENSTOCK_CIRCUIT_RAMP_SECONDS",
        description="a circuit that closes lets 10 %, 25 % and 50 % of the calls in for a third of this each, then all",
    )
    form_cache: Switch = Field(
        default="on", alias="PENSTOCK_FORM_CACHE", description="`off` reads a form from PostgreSQL for each batch"
    )
    form_cache_versions: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=200, alias="PENSTOCK_FORM_CACHE_VERSIONS", description="form versions that a process keeps compiled"
    )
    form_cache_seconds: Seconds = Field(
        default=600,
        alias="PENSTOCK_FORM_CACHE_SECONDS",
        description="how long a process trusts which version is the latest, if no event tells it otherwise",
    )
    shutdown_seconds: Seconds = Field(
        default=20, alias="PENSTOCK_SHUTDOWN_SECONDS", description="how long running jobs may finish after SIGTERM"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", alias="PENSTOCK_LOG_LEVEL", description="the least level that is logged"
    )
    log_format: Literal["json", "text"] = Field(
        default="json",
        alias="PENSTOCK_LOG_FORMAT",
        description="`json` for programs, `text` for a person at a terminal",
    )
    home: Path = Field(
        default=Path("~/.penstock"), alias="PENSTOCK_HOME", description="where the embedded servers keep their data"
    )

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _scheme_known_to_postgresql(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(DATABASE_SCHEMES):
            raise ValueError(f"must begin with one of {', '.join(DATABASE_SCHEMES)}")
        return url

    @property
    def shutdown_grace(self) -> timedelta:
        """`shutdown_seconds` as a duration."""
        return timedelta(seconds=self.shutdown_seconds)

    @property
    def tenant_window(self) -> timedelta:
        """`tenant_limit_window_seconds` as a duration, in whole milliseconds."""
        return timedelta(milliseconds=round(self.tenant_limit_window_seconds * 1_000))
