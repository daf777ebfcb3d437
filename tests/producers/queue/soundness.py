"""What holds of a queue's keys at any instant, read straight from Redis and not by the queue's own scripts."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import redis

from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.layout import QueueKeys


@dataclass
class Held:
    """Every job of a queue by where it stands, in order: suffix of the key -> ids."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def where(self, job_id: str) -> list[str]:
        return [place for place, ids in self.places.items() for found in ids if found == job_id]

    def ids(self) -> list[str]:
        return [job_id for ids in self.places.values() for job_id in ids]


def read_places(client: Any, keys: QueueKeys) -> Held:
    """Every place that holds jobs, whether or not the queue still knows it."""
    held = Held()
    for key in client.scan_iter(f"{keys.base}:*", count=10_000):
        suffix = key.decode().removeprefix(f"{keys.base}:")
        kind = suffix.partition(":")[0]
        if kind in {"ready", "alone", "urgent"}:
            held.places[suffix] = [one.decode() for one in client.lrange(key, 0, -1)]
        elif kind in {"scheduled", "leased", "parked", "dead"}:
            held.places[suffix] = [one.decode() for one in client.zrange(key, 0, -1)]
    return held


def read_records(client: Any, keys: QueueKeys) -> dict[str, dict[str, str]]:
    """Every job's record but its message."""
    records = {}
    for key in client.scan_iter(f"{keys.base}:job:*", count=10_000):
        fields = client.hgetall(key)
        job_id = key.decode().rpartition(":job:")[2]
        records[job_id] = {
            name.decode(): value.decode(errors="replace") for name, value in fields.items() if name != b"message"
        }
        records[job_id]["has_message"] = str(b"message" in fields)
    return records


def require_sound(client: "redis.Redis", namespace: str, queue: str) -> None:
    """See that nothing is lost, doubled or where it does not belong."""
    keys = QueueKeys(namespace, queue)
    held, records = read_places(client, keys), read_records(client, keys)
    counts = QueueInspector(client, namespace).counts(queue)
    assert counts.unaccounted == 0, counts
    twice = {job_id: held.where(job_id) for job_id, count in Counter(held.ids()).items() if count > 1}
    assert not twice, "jobs in two places"
    assert set(held.ids()) == {job_id for job_id, record in records.items() if not _has_ended(record)}
    archived = {one.decode() for one in client.zrange(keys.key("archived"), 0, -1)}
    assert archived == {job_id for job_id, record in records.items() if "archived" in record}
    for job_id, record in records.items():
        _require_agreement(job_id, record, held.where(job_id))
    _require_known_places(client, keys, held)
    _require_counted(client, keys)
    for job_id in held.places.get("scheduled", ()):
        assert float(records[job_id]["due"]) == client.zscore(keys.key("scheduled"), job_id)


def read_counted(client: Any, keys: QueueKeys) -> dict[str, int]:
    """What the limits of a queue are held against, as it counts it."""
    jobs, size = client.hmget(keys.key("meta"), "held_jobs", "held_bytes")
    counted = {b"jobs": jobs or 0, b"bytes": size or 0} | client.hgetall(keys.key("held"))
    return {name.decode(): int(count) for name, count in counted.items() if int(count)}


def read_held(client: Any, keys: QueueKeys) -> dict[str, int]:
    """The same, counted anew from the messages of the jobs that note that they are counted, each as it notes it."""
    held: Counter[str] = Counter()
    generation = client.hget(keys.key("meta"), "held_generation")
    for key in client.scan_iter(f"{keys.base}:job:*", count=10_000):
        tenant, message, note = client.hmget(key, "tenant", "message", "held")
        if note is not None and note.partition(b"/")[0] == generation:
            assert note.removesuffix(b"t") == b"%b/%d" % (generation, len(message))
            held.update({"jobs": 1, "bytes": len(message)})
            if note.endswith(b"t"):
                held.update({f"jobs:{tenant.decode()}": 1, f"bytes:{tenant.decode()}": len(message)})
    return {name: count for name, count in held.items() if count}


def _require_counted(client: Any, keys: QueueKeys) -> None:
    """The counters of jobs and bytes are exact where no earlier release was at work."""
    assert read_counted(client, keys) == read_held(client, keys)


def _has_ended(record: dict[str, str]) -> bool:
    return record["state"] == "done" or (record["state"] == "dead" and record.get("archived") == record["died_at"])


def _require_agreement(job_id: str, record: dict[str, str], places: list[str]) -> None:
    """The record of a job agrees with its place."""
    expected: dict[str, list[list[str]]] = {
        "ready": [["urgent"] if "urgent" in record else [f"ready:{record.get('tenant')}"], ["alone"]],
        "leased": [[f"leased:{record.get('lease', '').rpartition('/')[0]}"]],
        "scheduled": [["scheduled"]],
        "parked": [[f"parked:{record.get('park')}"]],
        "dead": [["dead"]],
        "done": [[]],
    }
    assert places in ([[]] if _has_ended(record) else expected[record["state"]]), (job_id, record, places)
    assert record["has_message"] == str(not _has_ended(record)), record
    stale = {
        "lease": record["state"] != "leased",
        "started": record["state"] != "leased",
        "due": record["state"] != "scheduled",
        "park": record["state"] != "parked",
    }
    assert not [name for name, is_stale in stale.items() if is_stale and name in record], record


def _require_known_places(client: Any, keys: QueueKeys, held: Held) -> None:
    """Nobody would ever look into a place that the queue does not list."""

    def named(kind: str) -> set[str]:
        return {place.partition(":")[2] for place in held.places if place.startswith(f"{kind}:")}

    def texts(found: Any) -> list[str]:
        return [one.decode() for one in found]

    rotation = texts(client.lrange(keys.key("rotation"), 0, -1))
    assert sorted(rotation) == sorted(named("ready")), "the rotation holds exactly the tenants with ready jobs, once"
    assert set(texts(client.hkeys(keys.key("credits")))) <= set(rotation), (
        "only who has ready jobs can be in the middle of a turn"
    )
    weights = [int(weight) - 1 for weight in client.hvals(keys.key("weights"))]
    assert sum(weights) == int(client.hget(keys.key("meta"), "surplus") or 0)
    parks = set(texts(client.hkeys(keys.key("parks"))))
    assert parks == named("parked")
    assert set(texts(client.zrange(keys.key("releases"), 0, -1))) <= parks
    assert named("leased") <= set(texts(client.zrange(keys.key("workers"), 0, -1)))
    assert client.llen(keys.key("wake")) <= 1
