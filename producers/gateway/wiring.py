"""Puts a gateway's parts together, and takes them apart at the end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from penstock.producers.client import Producer
from penstock.producers.gateway.access import Access, Checks
from penstock.producers.gateway.bodies import Budget
from penstock.producers.gateway.keyed import KeyedStreams
from penstock.producers.gateway.known_forms import KnownForms
from penstock.producers.gateway.refusals import PutAway, RefusalNotes
from penstock.producers.gateway.request_limits import RequestLimits
from penstock.producers.gateway.services import Services, Slots
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.gateway.threads import Threads
from penstock.producers.queue.connection import connect
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.storage.database import Database

#: A request does not wait longer to be counted.
_COUNTING = timedelta(milliseconds=500)
_COUNTING_THREADS = 4
_PARSING_THREADS = 2


@contextmanager
def open_services(
    settings: GatewaySettings, database: Database, checks: Checks | None, put_away: PutAway = lambda _: None
) -> Iterator[Services]:
    """The services within the block. Redis and PostgreSQL may be away. Call it in the event loop.

    Args:
        settings: of this process.
        database: opened and closed here.
        checks: checks API keys; None without them.
        put_away: has refused uses of keys recorded.
    """
    client = connect(settings.redis_url)
    counting = connect(settings.redis_url, replays=0, patience=_COUNTING)
    threads = Threads(settings.redis_threads, "penstock-redis")
    probes = Threads(_COUNTING_THREADS, "penstock-counting")
    parsing = Threads(_PARSING_THREADS, "penstock-parsing")
    refusals = RefusalNotes(put_away)
    refusals.start()
    database.open()
    try:
        with Producer.from_settings(settings) as producer, client, counting:
            yield Services(
                settings=settings,
                producer=producer,
                database=database,
                keyed=KeyedStreams(client, settings.namespace, timedelta(seconds=settings.idempotency_seconds)),
                inspector=QueueInspector(client, settings.namespace),
                access=Access(checks, settings.tenant, settings.hosts),
                refusals=refusals,
                limits=RequestLimits(
                    counting, settings.namespace, probes, closed=settings.limits_when_redis_down == "closed"
                ),
                forms=KnownForms(database),
                threads=threads,
                probes=probes,
                parsing=parsing,
                budget=Budget(settings.bodies_bytes),
                requests=Slots(settings.requests),
                streams=Slots(settings.streams),
                stopping=asyncio.Event(),
            )
    finally:
        refusals.stop()
        for pool in (threads, probes, parsing):
            pool.close()
        database.close()
