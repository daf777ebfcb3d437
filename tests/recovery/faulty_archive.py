"""`penstock scheduler` that is killed at a named point of its archive of dead letters.

PENSTOCK_TEST_FAULT=after-commit:2    kill -9 when the second round of letters has committed
PENSTOCK_TEST_WITHOUT=order           a letter is let go before it is committed: what a control run is for
"""

import os
import sys
import time
from typing import Any

import redis
from redis.connection import AbstractConnection

from penstock.producers.queue.scripts import script
from penstock.workers.cli import main
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters import archive
from penstock.workers.dead_letters.archive import Archive
from penstock.workers.dead_letters.unarchived import Unarchived
from tests.recovery.faulty_worker import FAULT, WITHOUT, Fault, _around, die

#: So that there are several rounds.
LETTERS_OF_A_ROUND = 10
#: A moment in which Redis runs what was sent to it.
_GIVE_REDIS = 0.1


def inject(fault: Fault) -> None:
    """Put the points into the archive."""
    _around(Unarchived, "read", after=lambda *_: fault.pass_by("after-read"))
    _around(Archive, "_insert", after=lambda *_: fault.pass_by("before-commit"))
    _around(Archive, "_store", after=lambda *_: fault.pass_by("after-commit"))
    _around(Unarchived, "let_go", after=lambda *_: fault.pass_by("after-letting-go"))
    original = AbstractConnection.send_command
    sha = script("archived").sha

    def send_command(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        if arguments[0] == "EVALSHA" and arguments[1] == sha and fault.passes("letting-go-unanswered"):
            time.sleep(_GIVE_REDIS)
            die()

    AbstractConnection.send_command = send_command  # type: ignore[method-assign]
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        client.script_load(script("archived").source)


def without_order() -> None:
    """Redis lets go of letters before they are committed."""
    original = Transactions.run

    def let_go_first(self: Archive, queue: str, pairs: list[Any]) -> Any:
        self._unarchived.let_go(queue, [pair.death for pair in pairs])
        original(self._transactions, lambda transaction: self._insert(transaction, queue, pairs))
        return pairs

    Archive._store = let_go_first  # type: ignore[method-assign]


if __name__ == "__main__":
    archive.ROUND_LETTERS = LETTERS_OF_A_ROUND
    if os.environ.get(WITHOUT) == "order":
        without_order()
    inject(Fault(os.environ[FAULT]))
    sys.argv = ["penstock", "scheduler"]
    sys.exit(main())
