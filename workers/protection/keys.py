"""Where the gates' keys are. All have one hash tag, apart from the queues', so that one step can ask several gates."""

from penstock.producers.queue.layout import QueueKeys

#: The hash tag of all gates; no queue has this name.
GATES = "gates"

#: Whose folder `lua/` holds the gates' steps: `Scripts(client, GATE_STEPS)`.
GATE_STEPS = "penstock.workers.protection"


def gate_keys(namespace: str) -> QueueKeys:
    """The keys of all gates of a namespace, below the base `<namespace>:{gates}`."""
    return QueueKeys(namespace, GATES)
