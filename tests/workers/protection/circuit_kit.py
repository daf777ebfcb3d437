"""Circuits on a namespace of their own, and Redis's clock turned for them alone."""

import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis

from penstock.schemas.errors import Code, UnavailableError
from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.circuits_view import CircuitOpenError, CircuitView
from penstock.workers.protection.keys import gate_keys
from penstock.workers.settings import WorkerSettings

NAME = "platform:instagram"
INSTANTS = ("opened_at", "open_until", "closed_at", "probe_until", "forced_at", "forced_until")


class PlatformDownError(Exception):
    """What a guarded call fails with."""


def settings_for(redis_url: str, when_redis_is_down: str = "closed", **circuit: Any) -> WorkerSettings:
    found = WorkerSettings(
        DATABASE_URL="postgresql://nowhere/none",
        REDIS_URL=redis_url,
        PENSTOCK_GATES_WHEN_REDIS_DOWN=when_redis_is_down,
    )
    return found.model_copy(update={f"circuit_{name}": value for name, value in circuit.items()})


class CircuitKit:
    """One circuit, as one process sees it."""

    def __init__(self, client: redis.Redis, namespace: str, settings: WorkerSettings) -> None:
        self.client = client
        self.namespace = namespace
        self.settings = settings
        self.circuits = Circuits(client, namespace, settings)
        self.key = gate_keys(namespace).key(f"circuit:{NAME}")
        self.audit_key = gate_keys(namespace).key("audit")

    def another(self, **circuit: Any) -> Circuits:
        """The circuits of another process, or of one with other settings."""
        changed = self.settings.model_copy(update={f"circuit_{name}": value for name, value in circuit.items()})
        return Circuits(self.client, self.namespace, changed)

    def succeed(self, circuits: Circuits | None = None) -> None:
        with (circuits or self.circuits).guard(NAME):
            pass

    def fail(self, times: int = 1, error: BaseException | None = None, circuits: Circuits | None = None) -> None:
        for _ in range(times):
            raised = error or UnavailableError(Code.STORAGE_UNAVAILABLE, "down")
            with pytest.raises(type(raised)) as caught, (circuits or self.circuits).guard(NAME):
                raise raised
            # A refusal of the guard's own is no failed call.
            if caught.value is not raised:
                raise caught.value

    def refused(self, holder: str | None = None) -> CircuitOpenError | None:
        """The refusal of a call; None where it is let in. A call that is let in is not told to have ended."""
        try:
            self.circuits.ask(NAME, holder)
        except CircuitOpenError as error:
            return error
        return None

    def view(self) -> CircuitView:
        return self.circuits.state(NAME)

    def pass_time(self, time: timedelta) -> None:
        """Shift every instant of the circuit into the past, as if `time` had passed."""
        ms = int(time.total_seconds() * 1_000)
        found: dict[bytes, bytes] = self.client.hgetall(self.key)  # type: ignore[assignment]
        for field, value in found.items():
            if field.decode() in INSTANTS and value:
                self.client.hset(self.key, field, int(value) - ms)
            elif field == b"failures":
                self.client.hset(self.key, field, b" ".join(str(int(at) - ms).encode() for at in value.split()))


def open_kit(redis_url: str, **circuit: Any) -> Iterator[CircuitKit]:
    namespace = f"test-{secrets.token_hex(6)}"
    with redis.Redis.from_url(redis_url) as client:
        kit = CircuitKit(client, namespace, settings_for(redis_url, **circuit))
        yield kit
        kit.circuits.close()
        for key in client.scan_iter(match=f"{namespace}:*", count=10_000):
            client.delete(key)
