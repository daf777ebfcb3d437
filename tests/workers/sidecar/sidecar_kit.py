"""The sidecar's application in this process, asked as a browser or a program would ask it."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.access.credentials import make_credential
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.app import create_app
from penstock.workers.sidecar.server import open_access
from penstock.workers.sidecar.services import Services
from penstock.workers.sidecar.wiring import open_services

HERE = ("127.0.0.1", 50_000)
ELSEWHERE = ("203.0.113.9", 50_000)
AS_BROWSER = {"accept": "text/html"}


@contextmanager
def running_app(settings: WorkerSettings, **changes: Any) -> Iterator[FastAPI]:
    """The app of these settings, changed, with its services."""
    changed = settings.model_copy(update=changes)
    with open_services(changed) as services:
        # The first probes have been made, so nothing depends on their moment.
        services.servers.postgresql.ask()
        services.servers.redis.ask()
        yield create_app(services, open_access(changed, services))


def services_of(app: FastAPI) -> Services:
    found: Services = app.state.services
    return found


class Client:
    """A browser (it keeps cookies) or program at an address, which asks the app without a network between."""

    def __init__(self, app: FastAPI, at: tuple[str, int], url: str, headers: dict[str, str] | None) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=at)
        self._client = httpx.AsyncClient(transport=transport, base_url=url, headers=headers)

    @property
    def cookies(self) -> httpx.Cookies:
        return self._client.cookies

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


def client_of(
    app: FastAPI,
    *,
    at: tuple[str, int] = HERE,
    url: str = "http://127.0.0.1:9191",
    headers: dict[str, str] | None = None,
) -> Client:
    """Who asks from there."""
    return Client(app, at, url, headers)


def credentials(**roles: str) -> tuple[str, dict[str, str]]:
    """Lines for the setting, and each name's token."""
    made = {name: make_credential(name, Role(role)) for name, role in roles.items()}
    return "\n".join(found.line for found, _ in made.values()), {name: token for name, (_, token) in made.items()}


def csrf_from(client: Client, app: FastAPI) -> str:
    """The token that a page of this browser's session holds."""
    value = client.cookies["penstock_session"]
    sessions = app.state.access.sessions
    return str(sessions.csrf_token(sessions.decode(value)))


def hidden_token(page: str) -> str:
    """The token in a page's form."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page[:500]
    return found[1]
