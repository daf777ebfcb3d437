"""The description is true: each of its examples is sent, each answer is one that it names, and the page shows it."""

import json
import re
from typing import Any
from uuid import UUID

import psycopg
import pytest
from jsonschema import Draft202012Validator

from penstock.producers.gateway.app import _routes
from penstock.producers.gateway.description.examples import ACCEPTED, ACCOUNT_ID, POST_ID, PROBLEM
from penstock.producers.gateway.description.routes import openapi
from penstock.schemas.errors import Code
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.store import add_account
from penstock.workers.posts.intake import schedule_post
from tests.posts_kit import ago, given, post_of
from tests.producers.gateway.gateway_kit import Gateway
from tests.system import Database

OPERATIONS = [
    (method, path) for path, operations in openapi()["paths"].items() for method in operations
]  # in the order in which they stand, so that what one makes another finds


@pytest.fixture(scope="module", autouse=True)
def _account(database: Database) -> None:
    """What the examples speak of."""
    account = UUID(ACCOUNT_ID)
    with psycopg.connect(database.admin_url) as connection:
        add_account(connection, "default", NewAccount(account, "press", "mastodon", "e", "Us", {}), given(account))
        schedule_post(connection, "default", UUID(POST_ID), post_of(account, ago(hours=-1)))


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference stands for."""
    found: Any = part
    if "$ref" in part:
        found = openapi()
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
    return dict(found)


def require_described(answer: Any, operation: dict[str, Any]) -> None:
    """See that the description names the answer's status, and its body's form."""
    assert str(answer.status_code) in operation["responses"], (answer.status_code, answer.text)
    described = resolved(operation["responses"][str(answer.status_code)])
    if "content" not in described:
        return
    (kind,) = described["content"]
    assert answer.headers["content-type"] == kind
    schema = {**described["content"][kind]["schema"], "components": openapi()["components"]}
    Draft202012Validator(schema).validate(answer.json())


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{method} {path}" for method, path in OPERATIONS])
def test_each_example_is_answered_as_described(gateway: Gateway, method: str, path: str) -> None:
    operation = openapi()["paths"][path][method]
    parameters = {one["name"]: one for one in operation.get("parameters", ())}
    address = re.sub(r"{(\w+)}", lambda found: str(parameters[found[1]]["example"]), path)
    headers = {name: one["example"] for name, one in parameters.items() if one["in"] == "header" and "example" in one}
    bodies = operation.get("requestBody", {}).get("content", {None: {"example": None}})
    for kind, content in bodies.items():
        example = content["example"]
        body = example if isinstance(example, str) or example is None else json.dumps(example)
        told = {**headers, **({"Content-Type": kind} if kind else {})}
        if kind == "application/x-ndjson":
            # Another request than the document's.
            told["Idempotency-Key"] += "-stream"
        answer = gateway.ask(method.upper(), address, content=body, headers=told)
        require_described(answer, operation)
        wanted = 404 if path == "/v1/jobs/{job_id}" else 300
        assert answer.status_code < 300 or answer.status_code == wanted, answer.text


def test_the_document_is_openapi_and_every_reference_leads_somewhere(gateway: Gateway) -> None:
    served = gateway.ask("GET", "/v1/openapi.json")
    assert served.json() == json.loads(json.dumps(openapi(wants_keys=False)))
    again = gateway.ask("GET", "/v1/openapi.json", headers={"If-None-Match": served.headers["etag"]})
    assert again.status_code == 304
    for reference in set(re.findall(r'"#/[^"]+"', served.text)):
        assert resolved({"$ref": reference.strip('"')}) is not None
    for name, schema in openapi()["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert name


def test_the_examples_of_answers_are_of_their_form() -> None:
    for name, example in (("Accepted", ACCEPTED), ("Problem", PROBLEM)):
        schema = {"$ref": f"#/components/schemas/{name}", "components": openapi()["components"]}
        Draft202012Validator(schema).validate(example)
    assert PROBLEM["code"] in set(Code)


def test_every_route_is_described() -> None:
    served = {(method.lower(), route.path) for route in _routes() for method in route.methods or () if method != "HEAD"}
    assert served - set(OPERATIONS) == {("get", "/v1/openapi.json"), ("get", "/v1/docs")}
    assert set(OPERATIONS) <= served


def test_the_page_shows_all_and_needs_nothing_from_elsewhere(gateway: Gateway) -> None:
    page = gateway.ask("GET", "/v1/docs")
    assert page.headers["content-type"].startswith("text/html")
    for method, path in OPERATIONS:
        assert f"{method.upper()} {path}" in page.text
    assert not re.search(r"<script|https?://(?!cdn\.example|json-schema)[a-z]", page.text.replace("urn:", ""))
    assert "unsafe-inline" not in page.headers["content-security-policy"]
