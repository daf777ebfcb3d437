"""The producer that asks the gateway: for services that reach no Redis. Needs the extra `http`."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

from penstock.producers import batches
from penstock.producers.http_results import (
    AcceptedPost,
    Answer,
    AppliedForm,
    BatchStatus,
    PostStatus,
    RejectedRow,
    batch_status,
    job_record,
    post_status,
    rejected_row,
)
from penstock.producers.http_rows import Lines
from penstock.producers.http_transport import Ask, Transport
from penstock.producers.patience import OnFull, Patience, patience_of
from penstock.producers.queue.records import JobRecord
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.schemas.limits import Limits
from penstock.schemas.names import require_name
from penstock.schemas.scheduled_post import SchedulePost
from penstock.schemas.submission_batch import part_id

_PAGE = "500"
Durability = Literal["redis", "postgres"]


class HttpProducer:
    """Hands work to Penstock through its gateway. Safe to share between threads; close it, or use it in a `with` block.

    `submit`, `job`, `jobs`, `ping` and `close` are those of `Producer`. Whatever is sent has an idempotency key, so
    that it is sent again where the gateway or the network fails, for `retry_for`; what may not be done twice is not.
    `Retry-After` is honoured.

    Args:
        url: of the gateway, such as `https://penstock.example.org`.
        api_key: as `penstock keys create` printed it; None where the gateway asks for none. It names the tenant.
        limits: size limits, checked before anything is sent.
        timeout: the longest silence of the gateway.
        retry_for: how long what passes by itself is tried again.
        durability: of submissions: `postgres` has each batch in PostgreSQL's outbox before it is accepted, too.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        limits: Limits | None = None,
        timeout: timedelta = timedelta(seconds=60),
        retry_for: timedelta = timedelta(seconds=30),
        durability: Durability = "redis",
    ) -> None:
        self._durability = durability
        self.limits = limits or Limits()
        self._transport = Transport(url, api_key, timeout, retry_for)

    def put_form(self, form_id: str, definition: Mapping[str, Any]) -> AppliedForm:
        """Make a definition the latest version of a form; the same one again changes nothing.

        Raises:
            InvalidInputError: `FORM_INVALID`, with every fault in `details`.
            PenstockError: as any call: of the gateway's access (`AUTH_`), or `REQUEST_UNANSWERED`.
        """
        told = self._ask("PUT", _path("forms", form_id), body=dict(definition)).body
        return AppliedForm(told["form_id"], told["version"], told["created"])

    def form(self, form_id: str, version: int | None = None) -> Mapping[str, Any] | None:
        """A version of a form, the latest unless given; None where it is not there."""
        query = {} if version is None else {"version": str(version)}
        found: Mapping[str, Any] | None = self._found("GET", _path("forms", form_id), query)
        return found

    def submit(
        self,
        form_id: str,
        rows: Iterable[batches.Row],
        *,
        batch_id: str,
        options: batches.SubmitOptions | None = None,
        on_progress: Callable[[batches.Progress], None] | None = None,
    ) -> batches.Submitted:
        """Send rows of any number in one stream, in bounded memory; the gateway cuts them into batches.

        The same rows with the same `batch_id` are the same work, however often they are sent. Where the gateway or the
        network fails in the middle, all rows are sent again if they can be had again: those of a list or another
        collection, and of no generator.

        Args:
            form_id: the form that the rows answer.
            rows: as `Producer.submit`.
            batch_id: names the whole; its batches are `ID-0001`, `ID-0002` and so on.
            options: form version, and what to do where the queue is full. The size of batches is the gateway's.
            on_progress: called in this thread once the gateway has acknowledged all.

        Raises:
            InvalidInputError: naming the row (from 0) or the line (from 1) that can't be sent; batches before it may
                have been accepted, which `details["accepted"]` tells.
            ConflictError: `BATCH_CONFLICT` where `batch_id` was sent with other rows or to another form.
            UnavailableError: run the same call again, after `retry_after`.
        """
        chosen = options or batches.SubmitOptions()
        if chosen.batch_size is not None:
            raise InvalidInputError(Code.REQUEST_USAGE, "the gateway chooses the size of batches: give none")
        require_name(part_id(batch_id, 1), Code.BATCH_ID_INVALID, "a batch id (with its number)")
        lines = Lines(rows, self.limits)
        ask = Ask(
            "POST",
            f"{_path('forms', require_name(form_id, Code.FORM_ID_INVALID, 'a form id'))}/submissions",
            query=self._chosen(chosen),
            headers={"Idempotency-Key": f'"{batch_id}"'},
            stream=lines.pieces,
            is_spent=lines.is_spent,
        )
        told = self._transport.send(ask, patience_of(chosen.on_full)).body
        submitted = batches.Submitted(
            tuple(part_id(told["base_batch_id"], number) for number in range(1, told["batch_count"] + 1)), told["rows"]
        )
        if on_progress is not None:
            on_progress(batches.Progress(len(submitted.batch_ids), submitted.rows))
        return submitted

    def batch(self, batch_id: str) -> BatchStatus | None:
        """Where a batch stands, or all of a file by its id; None where nobody knows it."""
        found = self._found("GET", _path("batches", batch_id))
        return None if found is None else batch_status(found)

    def rejections(self, batch_id: str) -> Iterator[RejectedRow]:
        """The rejected rows of a batch or file, in order, page by page.

        Raises:
            NotFoundError: `BATCH_NOT_FOUND`.
        """
        return map(rejected_row, self._pages(f"{_path('batches', batch_id)}/rejections", {}))

    def schedule_post(
        self, post: SchedulePost, *, idempotency_key: str | None = None, on_full: OnFull | Patience = "raise"
    ) -> AcceptedPost:
        """Have a post published at its instant. The same key with the same post is the same post.

        Args:
            post: what and when.
            idempotency_key: the post's own key, or one that is made up, unless given.
            on_full: as `Producer.enqueue`.

        Raises:
            InvalidInputError: naming each fault of the post.
            NotFoundError: `ACCOUNT_NOT_FOUND`.
            ConflictError: where the key is known with another post.
        """
        key = idempotency_key or post.key or f"post-{uuid.uuid4()}"
        headers = {"Idempotency-Key": f'"{key}"'}
        body = post.model_dump(mode="json", exclude_none=True)
        ask = Ask("POST", "v1/posts", headers=headers, body=body)
        answer = self._transport.send(ask, patience_of(on_full))
        known = answer.headers.get("Idempotency-Replayed") == "true"
        return AcceptedPost(uuid.UUID(answer.body["post_id"]), answer.body["idempotency_key"], known)

    def post(self, post_id: uuid.UUID) -> PostStatus | None:
        """Where a post stands; None where nobody knows it."""
        found = self._found("GET", _path("posts", str(post_id)))
        return None if found is None else post_status(found)

    def posts(self, **filters: str) -> Iterator[PostStatus]:
        """The tenant's posts by their instants; filters are `owner`, `account_id`, `platform` and `state`."""
        return map(post_status, self._pages("v1/posts", filters))

    def reschedule_post(self, post_id: uuid.UUID, due_at: datetime, *, version: int | None = None) -> PostStatus:
        """Give a post another instant; with `version` only if it is still that one.

        Raises:
            ConflictError: `POST_CHANGED`, or where it is too late.
            UnavailableError: where nobody knows whether it was done: look at the post, then decide.
        """
        body = {"due_at": due_at.isoformat()} | ({} if version is None else {"version": version})
        return post_status(self._ask("PATCH", _path("posts", str(post_id)), body=body, is_safe=False).body)

    def cancel_post(self, post_id: uuid.UUID) -> PostStatus:
        """Cancel a post; one that was cancelled before stays so.

        Raises:
            NotFoundError: `POST_NOT_FOUND`.
            ConflictError: where it is too late.
        """
        return post_status(self._ask("DELETE", _path("posts", str(post_id))).body)

    def job(self, job_id: uuid.UUID) -> JobRecord | None:
        """Where a job stands; None where no job of that id is known (any more)."""
        found = self._found("GET", _path("jobs", str(job_id)))
        return None if found is None else job_record(found)

    def jobs(self, job_ids: list[uuid.UUID]) -> dict[uuid.UUID, JobRecord]:
        """Where several jobs stand, a request each; unknown ones are left out."""
        found = ((job_id, self.job(job_id)) for job_id in job_ids)
        return {job_id: record for job_id, record in found if record is not None}

    def ping(self) -> None:
        """Ask the gateway whether it can accept work.

        Raises:
            UnavailableError: where it can't, or does not answer.
        """
        self._ask("GET", "health/ready")

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _chosen(self, options: batches.SubmitOptions) -> dict[str, str]:
        version = {} if options.form_version is None else {"form_version": str(options.form_version)}
        # What the gateway does unasked is not said, so that an older one is asked as ever.
        return version | ({} if self._durability == "redis" else {"durability": self._durability})

    def _ask(self, method: str, path: str, **facts: Any) -> Answer:
        return self._transport.send(Ask(method, path, **facts))

    def _found(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        try:
            return self._ask(method, path, query=query or {}).body
        except NotFoundError as error:
            if error.code is Code.REQUEST_NOT_FOUND:
                raise
            return None

    def _pages(self, path: str, query: Mapping[str, str]) -> Iterator[Any]:
        cursor: dict[str, str] = {}
        while True:
            page = self._ask("GET", path, query={**query, "limit": _PAGE, **cursor}).body
            yield from page["items"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}


def _path(kind: str, name: str) -> str:
    return f"v1/{kind}/{quote(name, safe='')}"
