"""Every golden exchange is sent to a real gateway with a real worker behind it, and answered as its file says."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from penstock.producers.gateway.description.routes import openapi
from penstock.schemas.api_key import Scope
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.store import add_account
from tests.contracts.exchanges import FOLDER, Exchange, different, exchanges
from tests.posts_kit import given
from tests.producers.gateway.gateway_kit import Gateway, serving
from tests.producers.gateway.test_description import require_described
from tests.system import Database, Penstock, WorkerProcess, wait_for

EXCHANGES = exchanges()
#: Of which the exchanges with posts speak.
ACCOUNT = UUID("0198c3f2-5f0e-7c5e-9d0e-6f5b8f0c4a11")
SECRET = {"PENSTOCK_API_KEY_SECRET": "s1:" + "0123456789abcdef" * 4}


@pytest.fixture(scope="module")
def known(penstock: Penstock, database: Database) -> dict[str, str]:
    """What the files name, and what earlier answers gave a name to."""
    with psycopg.connect(database.admin_url) as connection:
        add_account(connection, "default", NewAccount(ACCOUNT, "press", "mastodon", "109", "Us", {}), given(ACCOUNT))
    return {"api_key": _key(penstock, *Scope), "status_key": _key(penstock, Scope.STATUS_READ)}


def _key(penstock: Penstock, *scopes: Scope) -> str:
    chosen = (part for scope in scopes for part in ("--scope", str(scope)))
    made = penstock(*("keys", "create", "--tenant", "default", "--name", "kit", "--json"), *chosen, env=dict(SECRET))
    assert made.code == 0, made.err
    return str(made.json["key"])


@pytest.fixture(scope="module")
def keyed(
    environment: dict[str, str], known: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with serving(environment, tmp_path_factory.mktemp("contract"), **SECRET) as found:
        yield found


def operation_of(exchange: Exchange) -> tuple[str, str] | None:
    """The operation of the description that a request is for."""
    method, path = exchange.request["method"].lower(), exchange.request["path"].partition("?")[0]
    for template, operations in openapi()["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) and method in operations:
            return method, template
    return None


@pytest.mark.parametrize("exchange", EXCHANGES, ids=[each.name for each in EXCHANGES])
def test_it_is_answered_as_the_file_says(
    exchange: Exchange, keyed: Gateway, known: dict[str, str], worker: WorkerProcess
) -> None:
    told: list[str] = []

    def is_as_told() -> bool:
        answer = exchange.send(keyed.url, known)
        told[:] = exchange.differences(answer, known)
        operation = operation_of(exchange)
        if operation is not None:
            require_described(answer, openapi()["paths"][operation[1]][operation[0]])
        return not told or not exchange.is_polled

    wait_for(is_as_told, "the answer to be as the file says")
    assert told == []


def test_each_operation_has_an_exchange_that_succeeds_and_one_that_is_refused() -> None:
    statuses: dict[tuple[str, str], set[int]] = {}
    for exchange in EXCHANGES:
        operation = operation_of(exchange)
        if operation is not None:
            statuses.setdefault(operation, set()).add(exchange.answer["status"])
    operations = {(method, path) for path, methods in openapi()["paths"].items() for method in methods}
    assert {operation for operation, found in statuses.items() if min(found) < 300} == operations
    open_to_all = {("get", "/health/live"), ("get", "/health/ready")}
    assert {operation for operation, found in statuses.items() if max(found) >= 400} == operations - open_to_all


def test_each_file_is_an_exchange_and_says_what_it_shows() -> None:
    assert len(EXCHANGES) == len(list(FOLDER.iterdir())) > 40
    for path in FOLDER.iterdir():
        assert re.fullmatch(r"\d{3}-[a-z-]+\.json", path.name), path
        assert '"about": "' in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ([1], [1, 1]),
        ("{{count}}", "1"),
        ("{{count}}", -1),
        ("{{instant}}", "2026-11-21T08:00:00"),
        ("{{uuid}}", "x"),
        ("{{text}}", ""),
        ("{{text}}", None),
        ("a", "b"),
    ],
)
def test_what_differs_is_seen(wanted: object, found: object) -> None:
    assert list(different(wanted, found, "body", {}))


def test_the_page_names_each_placeholder() -> None:
    page = (Path(FOLDER).parent / "README.md").read_text(encoding="utf-8")
    used = {name for path in FOLDER.iterdir() for name in re.findall(r"{{(?:\w+ = )?(\w+)}}", path.read_text())}
    assert used
    assert {name for name in used if f"`{{{{{name}}}}}`" not in page and not name.endswith("_etag")} == set()
