"""The same for each queue, where one queue's fault must not keep the others waiting."""

from collections.abc import Callable
from typing import TypeVar

from penstock.schemas.errors import PenstockError, UnavailableError
from penstock.schemas.names import Queue

Result = TypeVar("Result")


def for_each_queue(act: Callable[[Queue], Result]) -> list[Result]:
    """What `act` returns for each queue.

    Raises:
        PenstockError: the first one, after all queues had their turn; at once where a server does not answer.
    """
    results: list[Result] = []
    first: PenstockError | None = None
    for queue in Queue:
        try:
            results.append(act(queue))
        except UnavailableError:
            raise
        except PenstockError as error:
            first = first or error
    if first is not None:
        raise first
    return results
