"""procrastinate, whose queue is a table of PostgreSQL."""

import os
from collections.abc import Sequence
from typing import Any

from procrastinate import App, PsycopgConnector

from benchmarks.compared import work
from benchmarks.compared.senders import Arguments, AsyncSender

app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]))
_FUNCTIONS = {
    "batch": work.batch_async,
    "tiny": work.tiny_async,
    "noop": work.noop_async,
    "note": work.note_async,
}


@app.task(name="run")
async def run(function: str, given: list[Any]) -> None:
    """Run one of `work`."""
    await _FUNCTIONS[function](*given)


async def _opened() -> App:
    await app.open_async()
    return app


async def _send(_: App, name: str, *args: Any) -> None:
    await run.defer_async(function=name, given=list(args))


async def _send_many(_: App, name: str, jobs: Sequence[Arguments]) -> None:
    await run.batch_defer_async(*({"function": name, "given": list(args)} for args in jobs))


def make_sender() -> AsyncSender:
    """Singly, or with `batch_defer`."""
    return AsyncSender(_opened, _send, _send_many, lambda opened: opened.close_async())
