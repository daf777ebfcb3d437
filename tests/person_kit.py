"""Requests about people's data, carried out in this process, and searches for what is left of a person."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import redis
from psycopg_pool import ConnectionPool

from penstock.producers.queue.enqueueing import Enqueuer
from penstock.producers.queue.message import encode_job
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.schemas.person_data import SubjectKind
from penstock.workers.compliance.carrying_out import carry_out_erasure
from penstock.workers.compliance.requests import Asked, Kind, PersonRequest, ask, find_request
from penstock.workers.database.transaction import Transactions
from penstock.workers.erasures.digests import SubjectKeys
from penstock.workers.erasures.subjects import Subject
from penstock.workers.job import Job
from penstock.workers.settings import WorkerSettings
from tests.posts_kit import KEY
from tests.system import Database, wait_for

TOKEN_KEYS = f"k1:{KEY}"
KEYS = SubjectKeys.from_setting(TOKEN_KEYS)
ADDRESS = "ada.lovelace@example.org"
#: Somebody else's transaction on the same server may be under way, and is waited for.
PATIENCE_SECONDS = 300.0


@pytest.fixture(scope="module")
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The module's environment, with the keys that people are named with."""
    return environment | {"PENSTOCK_TOKEN_KEYS": TOKEN_KEYS}


@pytest.fixture(scope="module")
def desk(
    database: Database, settings: WorkerSettings, pool: "ConnectionPool[psycopg.Connection[Any]]"
) -> Iterator["Desk"]:
    """Where requests are made and carried out."""
    with redis.Redis.from_url(settings.redis_url) as client:
        yield Desk(database, settings, Transactions(pool, settings), client)


def by_email(address: str = ADDRESS, form_id: str | None = None) -> Subject:
    return Subject(SubjectKind.EMAIL, address, form_id)


@dataclass(slots=True)
class Desk:
    """Makes requests as the owner, and carries them out as a worker does."""

    database: Database
    settings: WorkerSettings
    transactions: Transactions
    client: "redis.Redis"

    def ask(self, subject: Subject | None = None, kind: Kind = "erase", tenant: str = "default") -> PersonRequest:
        with psycopg.connect(self.database.admin_url) as connection:
            asked = Asked(kind, tenant, subject or by_email(), "dpo", "request 17", by_job=False)
            return ask(connection, KEYS, asked)

    def carry_on(self, request: PersonRequest) -> timedelta | None:
        return carry_out_erasure(self.transactions, self.settings, request.request_id)

    def erase(self, subject: Subject | None = None, tenant: str = "default") -> dict[str, Any]:
        """Ask for an erasure, carry it out, and return its counts."""
        return self.carry_out(self.ask(subject, tenant=tenant))

    def carry_out(self, request: PersonRequest) -> dict[str, Any]:
        wait_for(lambda: self.carry_on(request) is None, f"the end of {request.request_id}", PATIENCE_SECONDS)
        return self.counts(request)

    def carry_on_until(self, request: PersonRequest, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Carry out steps until its progress is as wanted; returns that."""

        def step() -> bool:
            assert self.carry_on(request) is not None, "it ended before"
            found.append(self.look(request).progress)
            return is_so(found[-1])

        found: list[dict[str, Any]] = []
        wait_for(step, "the progress", PATIENCE_SECONDS)
        return found[-1]

    def counts(self, request: PersonRequest) -> dict[str, Any]:
        found = self.look(request)
        assert found.receipt is not None, found
        return {name: count for name, count in found.receipt["counts"].items() if count}

    def look(self, request: PersonRequest) -> PersonRequest:
        with psycopg.connect(self.database.url) as connection:
            return find_request(connection, request.request_id)

    def enqueue(self, job: Job, queue: Queue = Queue.SUBMISSIONS) -> uuid.UUID:
        """Put a job into its queue in Redis."""
        payload = EncodedPayload(job.kind, queue, 1, job.payload, None)
        message = encode_job(payload, job.job_id, job.tenant, job.enqueued_at, keep=timedelta(hours=1))
        Enqueuer(self.client, self.settings.namespace).enqueue(queue, [message])
        return job.job_id

    def places_of(self, text: str) -> list[str]:
        """Every table and key in which a text stands, in any of its spellings."""
        return [*tables_with(self.database, text), *keys_with(self.client, self.settings.namespace, text)]


def tables_with(database: Database, text: str) -> list[str]:
    """The tables of a whole dump, as COPY writes it, in which a text stands: as text, or as bytes."""
    wanted = [text.lower().encode(), text.lower().encode().hex().encode()]
    tables = database.query(
        "SELECT c.relname FROM pg_class c WHERE relnamespace = 'penstock'::regnamespace AND relkind = 'r' ORDER BY 1"
    )
    found = []
    with psycopg.connect(database.admin_url) as connection:
        for (table,) in tables:
            with connection.cursor().copy(f'COPY penstock."{table}" TO STDOUT') as copy:
                dumped = b"".join(bytes(piece) for piece in copy).lower()
            if any(one in dumped for one in wanted):
                found.append(table)
    return found


def keys_with(client: "redis.Redis", namespace: str, text: str) -> list[str]:
    """The keys of a namespace in whose names or values a text stands."""
    wanted = text.lower().encode()
    return [
        key.decode()
        for key in client.scan_iter(match=f"*{namespace}*", count=10_000)
        if wanted in key.lower() or wanted in _value(client, key).lower()
    ]


def _value(client: "redis.Redis", key: bytes) -> bytes:
    read: dict[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
        b"stream": client.xrange,
    }
    kind = client.type(key)
    return b"" if kind not in read else repr(read[kind](key)).encode()
