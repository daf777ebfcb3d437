"""What the sidecar's routes and pages work with."""

from dataclasses import dataclass
from typing import Annotated

import psycopg
import redis
from fastapi import Depends, Request
from psycopg_pool import ConnectionPool

from penstock.producers.queue.inspection import QueueInspector
from penstock.workers.accounts.overview import AccountList
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.groups import GroupStore
from penstock.workers.dead_letters.post_contents import PostContents
from penstock.workers.dead_letters.post_decisions import PostDecisions
from penstock.workers.dead_letters.replays import Replays
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.health.attention import Attention
from penstock.workers.health.examination import Health
from penstock.workers.posts.calendar import PostCalendar
from penstock.workers.posts.search import PostSearch
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.flags import Flags
from penstock.workers.protection.limits_view import LimitView
from penstock.workers.protection.pauses import Pauses
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.access.audit import AuditNotes
from penstock.workers.sidecar.autoscale import Autoscale
from penstock.workers.sidecar.known import Known
from penstock.workers.sidecar.presence import Servers
from penstock.workers.sidecar.trends import Trends


@dataclass(slots=True)
class Services:
    """Everything that a route may use. Safe to share between threads.

    Nothing here waits long: `pool` and `client` refuse at once while their server is known to be away
    (`STORAGE_UNAVAILABLE`, `QUEUE_UNAVAILABLE`), and give up a silent one within the request's time.

    Attributes:
        settings: of this process.
        pool: a few connections to PostgreSQL, in autocommit.
        client: the connection to Redis.
        transactions: the only place that commits.
        known: the last good answer of each read; see `Known.read`.
        servers: whether PostgreSQL and Redis are there, as this process last saw them.
        queues: looks at queues and jobs. What changes one is made for its actor: `QueueControl(client, namespace,
            operator.name)`, and so are `PauseControl` and `LimitControl`.
        pauses, circuits, limits, flags: the gates; `circuits` also forces, by name of its actor.
        audit: notes what an operator did that no other step records.
        health: the report on the deployment.
        attention: what needs a person.
        letters, groups, decisions, replays: dead letters.
        posts, calendar, post_contents, post_decisions: scheduled posts.
        accounts: that posts are published to, without their tokens.
        trends, autoscale: the figures of the last hours, and of the work that could run now.
    """

    settings: WorkerSettings
    pool: ConnectionPool[psycopg.Connection]
    client: "redis.Redis"
    transactions: Transactions
    known: Known
    servers: Servers
    queues: QueueInspector
    pauses: Pauses
    circuits: CircuitControl
    limits: LimitView
    flags: Flags
    audit: AuditNotes
    health: Health
    attention: Attention
    letters: LetterSearch
    groups: GroupStore
    decisions: LetterDecisions
    replays: Replays
    posts: PostSearch
    calendar: PostCalendar
    post_contents: PostContents
    post_decisions: PostDecisions
    accounts: AccountList
    trends: Trends
    autoscale: Autoscale


def services_of(request: Request) -> Services:
    """The services of the app that answers this request."""
    found: Services = request.app.state.services
    return found


async def _services(request: Request) -> Services:
    """As `services_of`; a coroutine, so that it takes no thread of the pool that pages wait in."""
    return services_of(request)


ServicesOf = Annotated[Services, Depends(_services)]
