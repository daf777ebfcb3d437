"""The settings of `penstock gateway`."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from penstock.producers.settings import ApiKeySettings, ProducerSettings
from penstock.producers.storage.address import require_usable
from penstock.schemas.media_address import hosts_named


class GatewaySettings(ProducerSettings, ApiKeySettings):
    """What the gateway needs to know, beyond what a producer does."""

    database_url: str = Field(
        alias="DATABASE_URL", repr=False, description="the database; its role is a member of `penstock_worker`"
    )
    listen: Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")] = Field(
        default="127.0.0.1:8080",
        alias="PENSTOCK_GATEWAY_LISTEN",
        description="where `penstock gateway` listens; off loopback it needs API keys",
    )
    hosts: str = Field(
        default="",
        alias="PENSTOCK_GATEWAY_HOSTS",
        description="host names, parted by commas, by which a gateway without API keys may be asked besides loopback's"
        " own",
    )
    proxies: str = Field(
        default="",
        alias="PENSTOCK_GATEWAY_PROXIES",
        description="addresses or networks of proxies, parted by commas, whose `X-Forwarded-For` tells who asks",
    )
    pool_max: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=8, alias="PENSTOCK_GATEWAY_POOL_MAX", description="connections of a gateway to PostgreSQL at the most"
    )
    redis_threads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=8, alias="PENSTOCK_GATEWAY_THREADS", description="calls of a gateway to Redis at once"
    )
    body_bytes: Annotated[int, Field(ge=1_024, le=256 * 1024 * 1024)] = Field(
        default=16 * 1024 * 1024,
        alias="PENSTOCK_GATEWAY_BODY_BYTES",
        description="the longest body that is no stream, and after unpacking",
    )
    bodies_bytes: Annotated[int, Field(ge=1_024)] = Field(
        default=64 * 1024 * 1024,
        alias="PENSTOCK_GATEWAY_BODIES_BYTES",
        description="bytes of such bodies that a gateway holds at once; beyond that it answers 503",
    )
    request_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30,
        alias="PENSTOCK_GATEWAY_REQUEST_SECONDS",
        description="the longest ordinary request, its body included; a stream has none",
    )
    idle_seconds: Annotated[float, Field(gt=0, le=3_600)] = Field(
        default=30,
        alias="PENSTOCK_GATEWAY_IDLE_SECONDS",
        description="a stream that brings less than 1,024 bytes within this is ended",
    )
    requests: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1_000,
        alias="PENSTOCK_GATEWAY_REQUESTS",
        description="requests of a gateway at once; more get 503",
    )
    streams: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=8, alias="PENSTOCK_GATEWAY_STREAMS", description="streams of a gateway at once; more get 503"
    )
    connections: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=4_000,
        alias="PENSTOCK_GATEWAY_CONNECTIONS",
        description="connections of a gateway at once; more are closed with 503",
    )
    media_private_hosts: str = Field(
        default="",
        alias="PENSTOCK_MEDIA_PRIVATE_HOSTS",
        description="hosts, parted by commas, whose media may come without TLS and from private addresses: for trials",
    )
    key_limit: Annotated[int, Field(ge=0, le=10**9)] = Field(
        default=0,
        alias="PENSTOCK_GATEWAY_KEY_LIMIT",
        description="requests of one API key in a window, over all gateways; 0 for no limit",
    )
    address_limit: Annotated[int, Field(ge=0, le=10**9)] = Field(
        default=0,
        alias="PENSTOCK_GATEWAY_ADDRESS_LIMIT",
        description="requests of one address (of IPv6 one /64) in a window, over all gateways; 0 for no limit",
    )
    limit_window_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=60, alias="PENSTOCK_GATEWAY_LIMIT_WINDOW_SECONDS", description="that window"
    )
    limits_when_redis_down: Literal["open", "closed"] = Field(
        default="open",
        alias="PENSTOCK_GATEWAY_LIMITS_WHEN_REDIS_DOWN",
        description="whether requests pass uncounted while Redis can't count them (`open`), or get 503 (`closed`)",
    )

    @property
    def private_hosts(self) -> frozenset[str]:
        """`media_private_hosts` one by one."""
        return hosts_named(self.media_private_hosts)

    @field_validator("database_url")
    @classmethod
    def _usable_by_postgresql(cls, url: str) -> str:
        return require_usable(url)
