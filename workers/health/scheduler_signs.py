"""The schedulers' signs of life in Redis: how late each of their loops is, for those who look from another machine."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys

#: A scheduler that was not heard of for so long is forgotten.
FORGOTTEN_AFTER = timedelta(hours=1)
#: One that was not heard of for so long is not there, or frozen.
HEARD_WITHIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Sign:
    """A scheduler's last sign: its age, and how many seconds each loop was later than it should be then."""

    process: str
    age: timedelta
    late: Mapping[str, float]


def signs_key(namespace: str) -> str:
    """The hash of all signs, a field for each process."""
    return QueueKeys(namespace, "schedulers").key("signs")


def write_sign(client: "redis.Redis", namespace: str, process: str, late: Mapping[str, float]) -> None:
    """Leave a sign of `process`, by Redis's clock.

    Raises:
        PenstockError: of the `QUEUE_` family.
    """
    key = signs_key(namespace)
    with redis_errors("leaving a sign of life"):
        now = _now(client)
        sign = json.dumps({"at": now, "late": {loop: round(seconds, 3) for loop, seconds in late.items()}})
        old = [field for field, value in _all(client, key) if now - value["at"] > FORGOTTEN_AFTER.total_seconds()]
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hset(key, process, sign)
            if old:
                pipeline.hdel(key, *old)
            pipeline.execute()


def read_signs(client: "redis.Redis", namespace: str) -> list[Sign]:
    """The signs, the youngest first.

    Raises:
        PenstockError: of the `QUEUE_` family.
    """
    with redis_errors("looking for schedulers"):
        now = _now(client)
        found = [
            Sign(process, timedelta(seconds=max(0.0, now - value["at"])), value["late"])
            for process, value in _all(client, signs_key(namespace))
        ]
    return sorted(found, key=lambda sign: sign.age)


def lateness(signs: Iterable[Sign]) -> dict[str, float]:
    """How many seconds each loop is late now, with the scheduler that does it best."""
    late: dict[str, float] = {}
    for sign in signs:
        # Signs are left every 2 s; one that is a little older is no lateness yet.
        older = max(0.0, sign.age.total_seconds() - 5)
        for loop, seconds in sign.late.items():
            late[loop] = min(seconds + older, late.get(loop, seconds + older))
    return late


def _now(client: "redis.Redis") -> float:
    seconds, micros = client.time()
    return float(seconds) + float(micros) / 1e6


def _all(client: "redis.Redis", key: str) -> list[tuple[str, dict[str, Any]]]:
    fields = cast("dict[bytes, bytes]", client.hgetall(key))
    found = []
    for process, text in fields.items():
        try:
            value = json.loads(text)
            found.append((process.decode(), {"at": float(value["at"]), "late": dict(value["late"])}))
        except (ValueError, KeyError, TypeError):
            continue
    return found
