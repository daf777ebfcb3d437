"""`/health/live` and `/health/ready`: for whoever sends requests here. They show nothing personal."""

import asyncio
from collections.abc import Awaitable

from starlette.requests import Request
from starlette.responses import Response

from penstock.producers.gateway.answers import json_answer
from penstock.producers.gateway.services import Services, services_of
from penstock.schemas.errors import PenstockError

#: A probe is answered by then, whatever is frozen.
_PATIENCE_SECONDS = 1.5


async def live(_request: Request) -> Response:
    """Whether this process answers. Looks at nothing else."""
    return json_answer({"status": "live"})


async def ready(request: Request) -> Response:
    """Whether jobs can be accepted: Redis answers. It tells, too, whether PostgreSQL does."""
    services = services_of(request)
    redis, postgresql = await asyncio.gather(_asks(_redis(services)), _asks(_postgresql(services)))
    is_ready = redis and not services.stopping.is_set()
    checks = [
        {"name": "redis", "status": "up" if redis else "down"},
        {"name": "postgresql", "status": "up" if postgresql else "down"},
    ]
    return json_answer({"status": "ready" if is_ready else "not ready", "checks": checks}, 200 if is_ready else 503)


async def _redis(services: Services) -> None:
    await services.probes.run(services.limits.ping)


async def _postgresql(services: Services) -> None:
    await services.database.run(lambda connection: connection.execute("SELECT 1"))


async def _asks(asking: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await asking
    except (PenstockError, TimeoutError):
        return False
    return True
