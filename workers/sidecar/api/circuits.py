"""Circuits: how they stand, and forcing them."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from penstock.workers.protection.circuits_control import Forceable
from penstock.workers.protection.circuits_view import CircuitState
from penstock.workers.sidecar.access.require import AsOperator, AsViewer
from penstock.workers.sidecar.api.bodies import Reason, Shown
from penstock.workers.sidecar.services import Services, ServicesOf

router = APIRouter(prefix="/api/v1", tags=["circuits"])

CircuitName = Annotated[str, Path(pattern=r"^[A-Za-z0-9._:/-]{1,200}$", examples=["platform:instagram"])]


class ForcedState(BaseModel):
    """What an operator forced a circuit to be; `until` is null where that has no end."""

    state: Literal["open", "closed", "half-open"]
    by: str
    reason: str
    at: datetime | None
    until: datetime | None


class Circuit(BaseModel):
    """A circuit at one instant."""

    circuit: str
    state: Literal["open", "closed", "half-open"]
    share: int = Field(description="percent of the calls that are let in")
    failures: int
    opened_at: datetime | None
    open_until: datetime | None
    probe_until: datetime | None
    forced: ForcedState | None


class CircuitList(Shown):
    """Every circuit that was ever asked or forced, by name."""

    items: list[Circuit]
    next: str | None = None


class Force(Reason):
    """Why, and for how long; for ever where that is not said."""

    for_seconds: float | None = Field(default=None, ge=0.001, le=31 * 86_400, strict=True)


class CircuitChange(Circuit):
    """The circuit as it is now. `changed` is false where nobody had asked for it (a mistyped name?), or nothing did."""

    changed: bool


@router.get("/circuits", response_model=CircuitList)
def list_circuits(services: ServicesOf, _viewer: AsViewer) -> dict[str, object]:
    """How each circuit stands."""
    answer = services.known.read("circuits", services.circuits.states)
    return {"items": [view.as_dict() for view in answer.value], **answer.as_dict()}


@router.post("/circuits/{name:path}/open", response_model=CircuitChange)
def open_circuit(name: CircuitName, body: Force, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Let no call in, whatever calls say, at once and everywhere."""
    return _force(services, name, CircuitState.OPEN, body, operator.name)


@router.post("/circuits/{name:path}/close", response_model=CircuitChange)
def close_circuit(name: CircuitName, body: Force, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Let every call in, whatever calls say, at once and everywhere."""
    return _force(services, name, CircuitState.CLOSED, body, operator.name)


@router.post("/circuits/{name:path}/auto", response_model=CircuitChange)
def release_circuit(name: CircuitName, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Let it go by its calls again."""
    changed = services.circuits.auto(name, body.reason, operator.name)
    return {**services.circuits.state(name).as_dict(), "changed": changed}


def _force(services: Services, name: str, state: Forceable, body: Force, actor: str) -> dict[str, object]:
    expires = None if body.for_seconds is None else timedelta(seconds=body.for_seconds)
    known = services.circuits.force(name, state, body.reason, actor, expires)
    return {**services.circuits.state(name).as_dict(), "changed": known}
