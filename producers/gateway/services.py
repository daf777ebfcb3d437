"""What the routes work with."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request

from penstock.producers.client import Producer
from penstock.producers.gateway.access import Access
from penstock.producers.gateway.bodies import Budget
from penstock.producers.gateway.keyed import KeyedStreams
from penstock.producers.gateway.known_forms import KnownForms
from penstock.producers.gateway.refusals import RefusalNotes
from penstock.producers.gateway.request_limits import Policy, RequestLimits
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.gateway.threads import Threads
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.storage.database import Database


@dataclass(slots=True)
class Slots:
    """Requests, or streams, at once. For one event loop."""

    limit: int
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a gateway.

    Attributes:
        threads: for calls to Redis.
        probes: for calls to Redis that must not wait for those.
        parsing: for documents, of which a long one takes a while.
        stopping: set when the gateway is about to stop.
    """

    settings: GatewaySettings
    producer: Producer
    database: Database
    keyed: KeyedStreams
    inspector: QueueInspector
    access: Access
    refusals: RefusalNotes
    limits: RequestLimits
    forms: KnownForms
    threads: Threads
    probes: Threads
    parsing: Threads
    budget: Budget
    requests: Slots
    streams: Slots
    stopping: asyncio.Event

    @property
    def key_policy(self) -> Policy:
        """What one API key may ask."""
        return Policy("key", self.settings.key_limit, self._window)

    @property
    def address_policy(self) -> Policy:
        """What one address may ask."""
        return Policy("address", self.settings.address_limit, self._window)

    @property
    def _window(self) -> timedelta:
        return timedelta(seconds=self.settings.limit_window_seconds)


def services_of(request: Request) -> Services:
    """The services of the application that the request came to."""
    found: Services = request.scope["services"]
    return found
