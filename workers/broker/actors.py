"""The actors of our kinds, as dramatiq knows actors."""

from collections.abc import Mapping

import dramatiq

from penstock.workers.broker.broker import PenstockBroker
from penstock.workers.broker.consumer import KnownKind
from penstock.workers.broker.delivery import Work
from penstock.workers.broker.performing import Performer
from penstock.workers.registry import Registration


def known_kinds(registrations: Mapping[str, Registration]) -> dict[str, KnownKind]:
    """What a broker needs to know of each kind."""
    return {
        kind: KnownKind(
            registration.payload.payload_version, registration.policy.group_limit, registration.needs_storage
        )
        for kind, registration in registrations.items()
    }


def declare_actors(broker: PenstockBroker, registrations: Mapping[str, Registration], performer: Performer) -> None:
    """Declare an actor for each kind, and with it the kind's queue."""

    def perform(work: Work) -> None:
        performer.perform(work)

    for kind, registration in registrations.items():
        dramatiq.Actor(
            perform,
            broker=broker,
            actor_name=kind,
            queue_name=registration.payload.queue,
            priority=0,
            options={},
        )
