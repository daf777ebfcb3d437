"""The settings of workers and of the `penstock` command."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from penstock.producers.settings import ProducerSettings
from penstock.producers.storage.address import require_usable

Switch = Literal["on", "off"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Share = Annotated[float, Field(ge=0, le=1)]
#: `host:port`, with an IPv6 address in brackets.
Listen = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")]
HttpAddress = Annotated[str, Field(pattern=r"^https?://[^\s?#@]+[^\s?#@/]$")]
ApiVersion = Annotated[str, Field(pattern=r"^v[0-9]{1,3}(\.[0-9]{1,2})?$")]


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
    schema_wait_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=600,
        alias="PENSTOCK_SCHEMA_WAIT_SECONDS",
        description="how long a worker or scheduler that starts waits for a schema that is older than it needs, before"
        " it ends; 0 for not at all",
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
    dead_retention_days: Annotated[int, Field(ge=1, le=36_500)] = Field(
        default=90,
        alias="PENSTOCK_DEAD_RETENTION_DAYS",
        description="how long dead letters are kept after they were discarded, or requeued with a known outcome; open"
        " ones are kept for ever",
    )
    post_lead_seconds: Annotated[float, Field(ge=0, le=3_600)] = Field(
        default=30,
        alias="PENSTOCK_POST_LEAD_SECONDS",
        description="how long before its instant a post is given to a worker, which prepares what takes time; nothing"
        " is visible before the instant",
    )
    post_stuck_seconds: Annotated[float, Field(ge=60, le=30 * 86_400)] = Field(
        default=3_600,
        alias="PENSTOCK_POST_STUCK_SECONDS",
        description="after this a scheduler tells of posts that were given to a worker and whose job nobody knows",
    )
    posts_retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=730,
        alias="PENSTOCK_POSTS_RETENTION_DAYS",
        description="how long posts are kept after they were published, cancelled, expired or given up, 30 days at the"
        " least; 0 for ever",
    )
    publish_attempts_months: Annotated[int, Field(ge=12, le=1_200)] = Field(
        default=24,
        alias="PENSTOCK_PUBLISH_ATTEMPTS_MONTHS",
        description="how many whole months the record of calls to platforms is kept",
    )
    replays_retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=730,
        alias="PENSTOCK_REPLAYS_RETENTION_DAYS",
        description="how long replays are kept after they ended, 30 days at the least; 0 for ever",
    )
    audit_keys: str | None = Field(
        default=None,
        alias="PENSTOCK_AUDIT_KEYS",
        repr=False,
        description="the keys of the audit's chain, as `id:key,id:key` with at least 32 characters each: the first"
        " seals, all verify; without them who may write the database can make another chain, which anchors alone tell",
    )
    audit_retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=2_557,
        alias="PENSTOCK_AUDIT_RETENTION_DAYS",
        description="how long what operators did is kept after it was sealed, 366 days at the least; 0 for ever",
    )
    archive_dir: Path | None = Field(
        default=None,
        alias="PENSTOCK_ARCHIVE_DIR",
        description="the folder that old partitions and old actions are written to, and read back from, before they are"
        " dropped; without it attempts and actions are dropped unarchived",
    )
    submissions_retention_months: Annotated[int, Field(ge=0, le=1_200)] = Field(
        default=0,
        alias="PENSTOCK_SUBMISSIONS_RETENTION_MONTHS",
        description="how many whole months of submissions are kept, 12 at the least, with the others archived in"
        " `PENSTOCK_ARCHIVE_DIR`; 0 for ever",
    )
    gates_when_redis_down: Literal["open", "closed"] = Field(
        default="closed",
        alias="PENSTOCK_GATES_WHEN_REDIS_DOWN",
        description="what becomes of all that a pause, a circuit or a limit concerns while Redis can't be asked: with"
        " `closed` such jobs and guarded calls wait, so that no limit is exceeded; with `open` they pass uncounted",
    )
    token_keys: str | None = Field(
        default=None,
        alias="PENSTOCK_TOKEN_KEYS",
        repr=False,
        description="the keys that accounts' tokens are encrypted with, as `id:key,id:key` with Fernet keys: the first"
        " encrypts, all decrypt",
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
    sidecar_listen: Listen = Field(
        default="127.0.0.1:9191",
        alias="PENSTOCK_SIDECAR_LISTEN",
        description="where `penstock sidecar` serves its pages and its API; off loopback it needs credentials",
    )
    sidecar_probe_listen: Listen | None = Field(
        default=None,
        alias="PENSTOCK_SIDECAR_PROBE_LISTEN",
        description="a second address with `/metrics`, `/health/*` and `/api/v1/autoscale` alone, without log-in",
    )
    sidecar_credentials: str = Field(
        default="",
        alias="PENSTOCK_SIDECAR_CREDENTIALS",
        repr=False,
        description="who may log in: `name:role:hash`, one a line, as `penstock sidecar credential` prints them",
    )
    sidecar_secret: Annotated[str, Field(min_length=32)] | None = Field(
        default=None,
        alias="PENSTOCK_SIDECAR_SECRET",
        repr=False,
        description="signs sessions: the same in all sidecars behind one address; made at each start where absent",
    )
    sidecar_hosts: str = Field(
        default="",
        alias="PENSTOCK_SIDECAR_HOSTS",
        description="host names, parted by commas, by which the sidecar may be asked besides loopback's own",
    )
    health_query_ms: Annotated[float, Field(gt=0, le=60_000)] = Field(
        default=1_000,
        alias="PENSTOCK_HEALTH_QUERY_MS",
        description="health warns where PostgreSQL or Redis takes longer to answer",
    )
    health_error_share: Share = Field(
        default=0.05,
        alias="PENSTOCK_HEALTH_ERROR_SHARE",
        description="health warns where a larger share of the jobs that ended lately died",
    )
    health_cache_hits: Share = Field(
        default=0.8, alias="PENSTOCK_HEALTH_CACHE_HITS", description="health warns where caches answer a smaller share"
    )
    health_memory_mb: Annotated[float, Field(gt=0)] = Field(
        default=500, alias="PENSTOCK_HEALTH_MEMORY_MB", description="health warns where a process takes more"
    )
    health_pool_share: Share = Field(
        default=0.9,
        alias="PENSTOCK_HEALTH_POOL_SHARE",
        description="health warns where a larger share of a pool is taken",
    )
    health_redis_memory_share: Share = Field(
        default=0.8,
        alias="PENSTOCK_HEALTH_REDIS_MEMORY_SHARE",
        description="health warns where Redis has taken a larger share of its `maxmemory`",
    )
    health_oldest_seconds: Seconds = Field(
        default=300,
        alias="PENSTOCK_HEALTH_OLDEST_SECONDS",
        description="health warns where a job of a queue that is not paused has been ready for longer",
    )
    health_dead_per_hour: Annotated[int, Field(ge=0)] = Field(
        default=10,
        alias="PENSTOCK_HEALTH_DEAD_PER_HOUR",
        description="health warns where more dead letters came within an hour",
    )
    health_scheduler_lag_seconds: Seconds = Field(
        default=60,
        alias="PENSTOCK_HEALTH_SCHEDULER_LAG_SECONDS",
        description="health warns where a loop of the schedulers is later than this",
    )
    health_outbox_seconds: Seconds = Field(
        default=60,
        alias="PENSTOCK_HEALTH_OUTBOX_SECONDS",
        description="health warns where a job of the outbox has waited for its relay for longer",
    )
    health_post_overdue_seconds: Seconds = Field(
        default=60,
        alias="PENSTOCK_HEALTH_POST_OVERDUE_SECONDS",
        description="health warns where a post that should be out is later than this; it is critical where no scheduler"
        " has claimed one for ten times as long",
    )
    health_disk_free_share: Share = Field(
        default=0.2,
        alias="PENSTOCK_HEALTH_DISK_FREE_SHARE",
        description="health warns where less of the disk that holds PENSTOCK_HOME is free",
    )
    instagram_url: HttpAddress = Field(
        default="https://graph.instagram.com", alias="PENSTOCK_INSTAGRAM_URL", description="Instagram's host"
    )
    instagram_version: ApiVersion = Field(
        default="v25.0", alias="PENSTOCK_INSTAGRAM_VERSION", description="version of Instagram's interface"
    )
    facebook_url: HttpAddress = Field(
        default="https://graph.facebook.com", alias="PENSTOCK_FACEBOOK_URL", description="Facebook's host"
    )
    facebook_version: ApiVersion = Field(
        default="v25.0", alias="PENSTOCK_FACEBOOK_VERSION", description="version of Facebook's interface"
    )
    facebook_upload_url: HttpAddress = Field(
        default="https://rupload.facebook.com",
        alias="PENSTOCK_FACEBOOK_UPLOAD_URL",
        description="the host that takes the bytes of reels",
    )
    facebook_app_id: str = Field(
        default="", alias="PENSTOCK_FACEBOOK_APP_ID", description="the app whose users' tokens are exchanged"
    )
    facebook_app_secret: str = Field(
        default="", alias="PENSTOCK_FACEBOOK_APP_SECRET", repr=False, description="its secret"
    )
    youtube_url: HttpAddress = Field(
        default="https://www.googleapis.com", alias="PENSTOCK_YOUTUBE_URL", description="YouTube's host"
    )
    youtube_version: ApiVersion = Field(
        default="v3", alias="PENSTOCK_YOUTUBE_VERSION", description="version of YouTube's interface"
    )
    google_token_url: HttpAddress = Field(
        default="https://oauth2.googleapis.com/token",
        alias="PENSTOCK_GOOGLE_TOKEN_URL",
        description="where Google's tokens are refreshed",
    )
    google_client_id: str = Field(
        default="", alias="PENSTOCK_GOOGLE_CLIENT_ID", description="the client that channels' owners authorised"
    )
    google_client_secret: str = Field(
        default="", alias="PENSTOCK_GOOGLE_CLIENT_SECRET", repr=False, description="its secret"
    )
    mastodon_url: HttpAddress = Field(
        default="https://mastodon.social", alias="PENSTOCK_MASTODON_URL", description="the Mastodon server"
    )
    platform_connect_seconds: Seconds = Field(
        default=5, alias="PENSTOCK_PLATFORM_CONNECT_SECONDS", description="the longest wait for a platform's connection"
    )
    platform_read_seconds: Seconds = Field(
        default=30,
        alias="PENSTOCK_PLATFORM_READ_SECONDS",
        description="the longest silence of a platform within a call",
    )
    platform_call_seconds: Seconds = Field(
        default=60, alias="PENSTOCK_PLATFORM_CALL_SECONDS", description="the longest call of a platform as a whole"
    )
    upload_piece_bytes: Annotated[int, Field(ge=262_144, le=256 * 1024 * 1024, multiple_of=262_144)] = Field(
        default=8 * 1024 * 1024,
        alias="PENSTOCK_UPLOAD_PIECE_BYTES",
        description="bytes of a video that are held in memory and sent at once; a multiple of 262,144",
    )
    post_look_up_seconds: Annotated[str, Field(pattern=r"^\d{1,5}(\.\d+)?(,\d{1,5}(\.\d+)?){0,9}$")] = Field(
        default="5,30,120",
        alias="PENSTOCK_POST_LOOK_UP_SECONDS",
        description="the waits before a post that may be live, and was not found, is looked up again",
    )
    media_private_hosts: str = Field(
        default="",
        alias="PENSTOCK_MEDIA_PRIVATE_HOSTS",
        description="hosts, parted by commas, whose media may come without TLS and from private addresses: for trials",
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
    log_sample: Share = Field(
        default=1,
        alias="PENSTOCK_LOG_SAMPLE",
        description="share of the jobs whose good end is logged, the same jobs everywhere; what fails is always logged",
    )
    sentry_dsn: str | None = Field(
        default=None, alias="SENTRY_DSN", repr=False, description="where Sentry is; it hears of each dead letter once"
    )
    sentry_url: str | None = Field(
        default=None,
        alias="PENSTOCK_SENTRY_URL",
        pattern=r"^https?://[^\s]*\{event\}[^\s]*$",
        description="the address of an event in Sentry, with `{event}` for its id, for links in the operators' pages",
    )
    environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        default="production", alias="PENSTOCK_ENVIRONMENT", description="what Sentry tells events of processes apart by"
    )
    home: Path = Field(
        default=Path("~/.penstock"), alias="PENSTOCK_HOME", description="where the embedded servers keep their data"
    )

    replay_canary_seconds: Seconds = Field(
        default=900,
        alias="PENSTOCK_REPLAY_CANARY_SECONDS",
        description="a replay is paused where the letters of its canary have no outcome after this",
    )
    person_export_dir: Path | None = Field(
        default=None,
        alias="PENSTOCK_PERSON_EXPORT_DIR",
        description="a private folder in which workers leave the exports of a person's data that they were asked for",
    )
    metrics_dir: Path | None = Field(
        default=None,
        alias="PENSTOCK_METRICS_DIR",
        description="a private folder in which the processes of a machine (or pod) leave their metrics for its sidecar;"
        " `metrics` in `PENSTOCK_HOME` where absent",
    )

    @field_validator("posts_retention_days", "replays_retention_days")
    @classmethod
    def _retention_long_enough(cls, days: int) -> int:
        if 0 < days < 30:
            raise ValueError("must be 30 at the least, or 0 for ever")
        return days

    @field_validator("audit_retention_days")
    @classmethod
    def _audit_long_enough(cls, days: int) -> int:
        if 0 < days < 366:
            raise ValueError("must be 366 at the least, or 0 for ever")
        return days

    @field_validator("submissions_retention_months")
    @classmethod
    def _archived_before_dropped(cls, months: int, known: ValidationInfo) -> int:
        if 0 < months < 12:
            raise ValueError("must be 12 at the least, or 0 for ever")
        if months and known.data.get("archive_dir") is None:
            raise ValueError("needs PENSTOCK_ARCHIVE_DIR: no submission is dropped that is not archived")
        return months

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _usable_by_postgresql(cls, url: str | None) -> str | None:
        return url if url is None else require_usable(url)

    @property
    def replay_canary_wait(self) -> timedelta:
        """`replay_canary_seconds` as a duration."""
        return timedelta(seconds=self.replay_canary_seconds)

    @property
    def post_lead(self) -> timedelta:
        """`post_lead_seconds` as a duration."""
        return timedelta(seconds=self.post_lead_seconds)

    @property
    def metrics_folder(self) -> Path:
        """`metrics_dir`, or what stands for it."""
        return self.metrics_dir or self.home / "metrics"

    @property
    def shutdown_grace(self) -> timedelta:
        """`shutdown_seconds` as a duration."""
        return timedelta(seconds=self.shutdown_seconds)

    @property
    def look_up_waits(self) -> tuple[timedelta, ...]:
        """`post_look_up_seconds` as durations."""
        return tuple(timedelta(seconds=float(one)) for one in self.post_look_up_seconds.split(","))

    @property
    def tenant_window(self) -> timedelta:
        """`tenant_limit_window_seconds` as a duration, in whole milliseconds."""
        return timedelta(milliseconds=round(self.tenant_limit_window_seconds * 1_000))
