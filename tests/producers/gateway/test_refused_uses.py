"""Uses of keys that a gateway refuses come into the audit, counted, with the network and without the key."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from penstock.producers.gateway import refusals
from penstock.producers.queue.audit import OperatorAction
from penstock.producers.queue.connection import redis_errors
from penstock.schemas.api_key import Scope
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.protection.keys import gate_keys
from tests.producers.gateway.gateway_kit import FORM_ID, Gateway, serving
from tests.producers.gateway.key_kit import SECRET, Desk
from tests.system import Database, wait_for


@pytest.fixture
def entries(redis_url: str, namespace: str) -> Iterator[Any]:
    """Reads what waits to be recorded."""
    with redis.Redis.from_url(redis_url) as client:

        def read() -> list[OperatorAction]:
            found: list[bytes] = client.lrange(gate_keys(namespace).key("audit"), 0, -1)  # type: ignore[assignment]
            return [OperatorAction.decode(one) for one in found]

        yield read


def test_refused_uses_are_audited_with_their_count(
    environment: dict[str, str], database: Database, tmp_path: Path, entries: Any
) -> None:
    desk = Desk(database)
    known, revoked = desk.make(scopes=[Scope.STATUS_READ]), desk.make()
    desk.revoke(revoked)
    path = f"/v1/forms/{FORM_ID}"

    def ask(gateway: Gateway, header: str | None) -> int:
        return gateway.ask("GET", path, headers={} if header is None else {"Authorization": header}).status_code

    with serving(environment, tmp_path, PENSTOCK_API_KEY_SECRET=SECRET) as gateway:
        assert [ask(gateway, known.wrong_header) for _ in range(5)] == [401] * 5
        assert [ask(gateway, header) for header in (None, revoked.header, known.header)] == [401, 401, 403]
        wait_for(lambda: len(entries()) == 4, "the first of each")
    # What was counted is told at the end of the minute, or of the gateway.
    wait_for(lambda: len(entries()) == 5, "the count")
    told = {(one.actor, one.details["code"], one.details.get("count")) for one in entries()}
    assert told == {
        ("unknown", "AUTH_TOKEN_INVALID", None),
        ("unknown", "AUTH_TOKEN_INVALID", 4),
        ("unknown", "AUTH_REQUIRED", None),
        (f"key {revoked.summary.key_id}", "AUTH_TOKEN_INVALID", None),
        (f"key {known.summary.key_id}", "AUTH_SCOPE_MISSING", None),
    }
    assert {(one.action, one.target) for one in entries()} == {("api_key.refused", "127.0.0.0/24")}
    said = json.dumps([one.encode().decode() for one in entries()])
    for secret in (known.key.text, revoked.key.text, known.wrong_header):
        assert secret.rpartition("_")[2] not in said


def test_notes_that_cannot_be_put_away_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "EVERY", timedelta(milliseconds=10))
    put: list[str] = []
    tries = iter([True, True, False])

    def put_away(actions: Any) -> None:
        if next(tries, False):
            with redis_errors("noting"):
                raise redis.ConnectionError
        put.extend(action.target for action in actions)

    notes = refusals.RefusalNotes(put_away)
    notes.start()
    notes.note(PenstockError(Code.AUTH_TOKEN_INVALID, "x"), "here")
    notes.note(PenstockError(Code.RATE_LIMIT_EXCEEDED, "x"), "there")
    wait_for(lambda: put == ["here"], "the note")
    notes.stop()
    assert put == ["here"]
