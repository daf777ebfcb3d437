"""What bounds each request: its time, the size of its body, and what becomes of a fault in it."""

import asyncio
from datetime import timedelta

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.schemas.errors import Code, InvalidInputError, PenstockError, UnavailableError
from penstock.workers.sidecar.presence import within
from penstock.workers.sidecar.problems import answer, unexpected

#: A page or a question is answered by then, whatever is frozen; what it asks for has a little less.
READ_LIMIT = timedelta(seconds=1.9)
READ_WORK_LIMIT = timedelta(seconds=1.7)
#: What changes something may take its time while the servers are there. One that goes away ends it sooner.
WRITE_LIMIT = timedelta(seconds=20)
WRITE_WORK_LIMIT = timedelta(seconds=19)
#: A body that comes slower than this is not waited for.
BODY_WAIT = timedelta(seconds=10)
BODY_LIMIT = 1024 * 1024

_API = "/api/"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Below these a body can hold a whole payload.
_EDITS = ("/dead-letters/", "/api/v1/dead-letters/")
#: The last part of addresses whose answer goes on as long as it is read.
_STREAMS = ("/export",)


class Bounds:
    """Answers in time whatever the routes do.

    A route's thread can't be interrupted; where its time is over the asker gets an answer and the thread ends by the
    same limit, which the connections to PostgreSQL and Redis know of.

    Args:
        app: what is bounded.
        message_bytes: the longest payload, which an edit may send.
    """

    def __init__(self, app: ASGIApp, message_bytes: int) -> None:
        self._app = app
        # Each character of a form's field can take three.
        self._edit_limit = 3 * message_bytes + BODY_LIMIT
        self._left: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outcome = _Outcome(send)
        task = asyncio.create_task(self._run(scope, receive, outcome))
        begun = asyncio.create_task(outcome.begun.wait())
        try:
            limit = READ_LIMIT if scope["method"] in _READS else WRITE_LIMIT
            await asyncio.wait({task, begun}, timeout=limit.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
            if task.done() or outcome.begun.is_set():
                await task
                return
        finally:
            begun.cancel()
        self._left.add(task)
        task.add_done_callback(self._left.discard)
        outcome.is_over = True
        error = UnavailableError(
            Code.REQUEST_TIMEOUT,
            "a server did not answer in time" if scope["method"] in _READS else "the work was not done in time",
            remedy="Look whether it was done, and try again.",
        )
        await answer(Request(scope), error)(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, outcome: "_Outcome") -> None:
        bounded = _bounded(receive, self._limit_of(scope["path"]), outcome)
        try:
            _require_text(scope)
            if scope["path"].endswith(_STREAMS):
                await self._app(scope, bounded, outcome.send)
                return
            with within(READ_WORK_LIMIT if scope["method"] in _READS else WRITE_WORK_LIMIT):
                _require_short(scope, self._limit_of(scope["path"]))
                await self._app(scope, bounded, outcome.send)
        except PenstockError as error:
            await outcome.fail(scope, error)
        except Exception as error:
            await outcome.fail(scope, unexpected(error))
        if outcome.refusal is not None:
            await outcome.fail(scope, outcome.refusal)

    def _limit_of(self, path: str) -> int:
        return self._edit_limit if path.startswith(_EDITS) else BODY_LIMIT


class _Outcome:
    """The answer as it goes out; nothing of it does once the asker has another one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = asyncio.Event()
        self.is_over = False
        self.refusal: InvalidInputError | None = None

    async def send(self, message: Message) -> None:
        """As ASGI wants it."""
        if self.is_over or (self.refusal is not None and not self.begun.is_set()):
            return
        if message["type"] == "http.response.start":
            self.begun.set()
        await self._send(message)

    async def fail(self, scope: Scope, error: PenstockError) -> None:
        """Answer with an error, where no answer has begun."""
        if not self.begun.is_set():
            self.refusal = None
            await answer(Request(scope), error)(scope, _nothing, self.send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _too_large(limit: int) -> InvalidInputError:
    return InvalidInputError(Code.REQUEST_BODY_TOO_LARGE, f"the body is longer than {limit:,} bytes")


def _require_short(scope: Scope, limit: int) -> None:
    told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not told.isdigit() or int(told[:20]) > limit:
        raise _too_large(limit)


def _require_text(scope: Scope) -> None:
    """Refuse U+0000: PostgreSQL can't be asked for it, and no name of ours has it.

    In its query a page deals with it in its own way: who searches for what can't be there finds nothing.
    """
    is_api = scope["path"].startswith(_API)
    if "\0" in scope["path"] or (is_api and b"%00" in scope["query_string"]):
        raise InvalidInputError(Code.REQUEST_INVALID, "the address has U+0000")


def _bounded(receive: Receive, limit: int, outcome: _Outcome) -> Receive:
    read, is_whole = 0, False

    def refuse(error: InvalidInputError) -> InvalidInputError:
        # Whoever reads the body may take this for a body that is no JSON, and answer so; this answer is the true one.
        outcome.refusal = error
        return error

    async def bounded() -> Message:
        nonlocal read, is_whole
        # After the body only the end of the connection is waited for, and that may take long.
        try:
            async with asyncio.timeout(None if is_whole else BODY_WAIT.total_seconds()):
                message = await receive()
        except TimeoutError:
            raise refuse(InvalidInputError(Code.REQUEST_INVALID, "the request's body did not come")) from None
        if message["type"] == "http.request":
            is_whole = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > limit:
                raise refuse(_too_large(limit))
        return message

    return bounded
