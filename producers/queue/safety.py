"""Whether a Redis is set up so that it keeps what it is given, asked once at a start."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any, Literal

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.schemas.errors import Code, PenstockError

_log = logging.getLogger(__name__)

#: Scripts with flags, which every step of a queue is, came with Redis 7.0.
LEAST_VERSION = (7, 0)
#: From this share of its memory limit on a Redis is nearly full.
NEARLY_FULL = 0.8


class Weight(StrEnum):
    """What a hazard means for a start."""

    NOTE = "note"  # is told, and refuses nothing
    WARNING = "warning"  # wants somebody's eye; a start would not make it worse, and may make it better
    UNSAFE = "unsafe"  # jobs may be lost; the setting says whether that refuses the start
    UNUSABLE = "unusable"  # nothing works on such a server


@dataclass(frozen=True, slots=True)
class Hazard:
    """One thing that is wrong with a Redis: what, and what to do about it."""

    name: str
    told: str
    remedy: str
    weight: Weight = Weight.UNSAFE


def check_redis(client: "redis.Redis") -> list[Hazard]:
    """Ask a Redis how it is set up; empty where all is well.

    `CONFIG` is asked for what `INFO` does not tell. Managed services forbid it: then that part stays unknown, and the
    note `config` says so.

    Raises:
        PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
    """
    with redis_errors("asking how it is set up"):
        facts: Mapping[str, Any] = client.info()
        config = _config(client)
    found = (
        _version(facts),
        _eviction(facts),
        _persistence(facts, config),
        _unknown(config),
        _memory(facts),
        _replicas(facts, config),
    )
    return [*chain.from_iterable(found)]


def require_safe(client: "redis.Redis", policy: Literal["refuse", "warn", "off"]) -> None:
    """Log what is wrong with a Redis, and refuse it where `policy` says so.

    A server that nothing works on is refused by `warn` too; `off` asks nothing.

    Raises:
        PenstockError: `QUEUE_UNSAFE`, naming every hazard; `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
    """
    if policy == "off":
        return
    refusing = {Weight.UNUSABLE} | ({Weight.UNSAFE} if policy == "refuse" else set())
    hazards = check_redis(client)
    for hazard in hazards:
        level = logging.INFO if hazard.weight is Weight.NOTE else logging.WARNING
        _log.log(level, "Redis: %s. %s", hazard.told, hazard.remedy, extra={"code": Code.QUEUE_UNSAFE})
    if refused := [hazard for hazard in hazards if hazard.weight in refusing]:
        raise PenstockError(
            Code.QUEUE_UNSAFE,
            f"Redis is not safe to use: {'; '.join(hazard.told for hazard in refused)}",
            remedy=" ".join(hazard.remedy for hazard in refused),
            details={"hazards": [hazard.name for hazard in refused]},
        )


def _config(client: "redis.Redis") -> Mapping[str, str] | None:
    """The settings that INFO does not tell; None where they can't be asked."""
    try:
        answers = client.config_get("appendfsync", "save", "min-replicas-to-write")
    except redis.ResponseError:  # not allowed, or renamed away
        return None
    return {_text(name): _text(value) for name, value in answers.items()}


def _version(facts: Mapping[str, Any]) -> Iterator[Hazard]:
    # Valkey tells here which version of Redis it stands for: 7.2 or later.
    told = str(facts.get("redis_version", "0"))
    if _numbers(told) < LEAST_VERSION:
        yield Hazard(
            "version", f"Redis {told} is older than 7.0", "Use Redis 7 or Valkey 8, or later.", Weight.UNUSABLE
        )


def _eviction(facts: Mapping[str, Any]) -> Iterator[Hazard]:
    policy = str(facts.get("maxmemory_policy", "unknown"))
    if int(facts.get("maxmemory", 0)) and policy != "noeviction":
        yield Hazard(
            "eviction",
            f"maxmemory-policy is {policy}: at its memory limit it deletes jobs",
            "Set maxmemory-policy noeviction, on a Redis that is no cache besides.",
        )


def _persistence(facts: Mapping[str, Any], config: Mapping[str, str] | None) -> Iterator[Hazard]:
    remedy = "Set appendonly yes and appendfsync everysec or always."
    if facts.get("aof_enabled"):
        if config is not None and config.get("appendfsync") == "no":
            yield Hazard("flushing", "appendfsync is no: a power cut loses up to half a minute of jobs", remedy)
        return
    if config is None:
        loss = "if it takes snapshots, a crash loses the jobs since the last one, else all"
    elif config.get("save"):
        loss = "a crash loses the jobs since the last snapshot"
    else:
        loss = "nothing is written to disk, and a crash loses all jobs"
    yield Hazard("persistence", f"appendonly is no: {loss}", remedy)


def _unknown(config: Mapping[str, str] | None) -> Iterator[Hazard]:
    if config is None:
        yield Hazard(
            "config",
            "CONFIG is not allowed here: appendfsync and min-replicas-to-write are unknown, the rest is from INFO",
            "See in the service's own settings that the append-only file is flushed every second or always.",
            Weight.NOTE,
        )


def _memory(facts: Mapping[str, Any]) -> Iterator[Hazard]:
    limit, used = int(facts.get("maxmemory", 0)), int(facts.get("used_memory", 0))
    if limit and used > NEARLY_FULL * limit:
        yield Hazard(
            "memory",
            f"{used / limit:.0%} of maxmemory is used: at the limit it takes no new job",
            "Add workers or memory, or see what fills it.",
            Weight.WARNING,
        )


def _replicas(facts: Mapping[str, Any], config: Mapping[str, str] | None) -> Iterator[Hazard]:
    replicas = int(facts.get("connected_slaves", 0))
    if replicas and config is not None and config.get("min-replicas-to-write") == "0":
        yield Hazard(
            "replicas",
            f"it has {replicas} replica(s) and min-replicas-to-write 0: cut off from them it takes jobs that a failover"
            " then loses",
            "Set min-replicas-to-write 1 where there are three servers or more, and PENSTOCK_REPLICA_ACKS=1.",
            Weight.NOTE,
        )


def _numbers(version: str) -> tuple[int, int]:
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    return (int(major) if major.isdecimal() else 0, int(minor) if minor.isdecimal() else 0)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
