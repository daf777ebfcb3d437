"""How a statement says what its rows are written for: by settings of its transaction, which the columns' defaults read.

So any language can: `SET LOCAL penstock.trace = '00-…'` before `penstock.enqueue`.
"""

from typing import Any

from penstock.producers.tracing import Cause

# What stands in FROM is evaluated before what is selected from it.
_SETTINGS = (
    " FROM set_config('penstock.trace', %s, true) AS trace, set_config('penstock.request_id', %s, true) AS request"
)


def caused(statement: str, parameters: tuple[Any, ...], cause: Cause) -> tuple[str, tuple[Any, ...]]:
    """A statement `SELECT function(…)` and its parameters, such that the rows that it writes name the cause.

    Until the transaction ends, rows of statements that have no cause of their own name it too.
    """
    if cause.trace is None and cause.request_id is None:
        return statement, parameters
    return statement + _SETTINGS, (*parameters, cause.trace or "", cause.request_id or "")
