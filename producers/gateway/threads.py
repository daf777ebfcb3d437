"""Calls that block, in threads of their own, with the context of whoever calls."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Threads:
    """A bounded number of threads. A server that hangs takes these, and no others."""

    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        """What the call returns or raises."""
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: context.run(call, *args, **options))

    def close(self) -> None:
        """Take no more calls; those that run end by their own limits."""
        self._executor.shutdown(wait=False, cancel_futures=True)
