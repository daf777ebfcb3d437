"""The desk's part for the search: any id, from any page."""

import re
from collections.abc import Iterator
from urllib.parse import urlencode
from uuid import UUID

from penstock.producers.queue.job_view import JobView
from penstock.schemas.errors import NotFoundError, PenstockError, UnavailableError
from penstock.schemas.identity import job_id, parse_uuid
from penstock.schemas.names import DEFAULT_TENANT, NAME_PATTERN, Queue
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import Letter
from penstock.workers.sidecar.pages.desk_reads import POSTGRESQL, REDIS, Reads
from penstock.workers.sidecar.pages.needs import Found

_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
#: Tenants among whom a batch of that name is looked for.
_TENANTS_TRIED = 20
_SHOWN = 20
_POST = "The post"


class SearchDesk(Reads):
    """Finds what an id names."""

    def search(self, text: str) -> Found:
        """A job, dead letters, or addresses of what has that name."""
        identity = parse_uuid(text.lower())
        if identity is not None:
            return self._of_id(identity)
        links = list(self._links(text))
        if not _NAME.match(text):
            return Found(links=links, words=_address("text", text) if text.isprintable() else "")
        job = self._of_batch(text)
        letters = self._letters(LetterFilter(state=None, payload=(("batch_id", text),)))
        if self._letters(LetterFilter(state=None, form_id=text)):
            links.append((f"Letters of the form {text}", _address("form", text)))
        return Found(job, letters, links)

    def _of_id(self, identity: UUID) -> Found:
        job = self._find(identity)
        letters = self._letters(LetterFilter(state=None, job_id=identity))
        links = list(self._links_of(identity))
        # A post has the id of the job that scheduled it.
        return Found(job, letters, [link for link in links if link[0] == _POST] if job or letters else links)

    def _links_of(self, identity: UUID) -> Iterator[tuple[str, str]]:
        for what, show, path in (
            ("The dead letter", self._services.letters.show, "/dead-letters/"),
            ("The replay", self._services.replays.show, "/replays/"),
            (_POST, self._services.posts.tenant_of, "/posts/"),
        ):
            try:
                show(identity)
                yield what, f"{path}{identity}"
            except (NotFoundError, UnavailableError):
                continue

    def _links(self, text: str) -> Iterator[tuple[str, str]]:
        if text in set(Queue):
            yield f"The queue {text}", f"/queues/{text}"
        if _FINGERPRINT.fullmatch(text):
            try:
                self._services.groups.show(text)
                yield f"The group {text}", f"/dead-letters/groups/{text}"
            except PenstockError:
                return

    def _find(self, identity: UUID) -> JobView | None:
        return self._read_or(REDIS, ("job", identity), lambda: self._services.queues.find(identity), None)

    def _of_batch(self, text: str) -> JobView | None:
        """The job that writes the batch of that id, of any tenant that has jobs; a file's first batch stands for it."""
        for tenant in self._tenants():
            for name in (text, f"{text}-0001"):
                found = self._find(job_id(tenant, WriteSubmissionBatch.kind, name))
                if found is not None:
                    return found
        return None

    def _tenants(self) -> list[str]:
        nobody: dict[str, int] = {}
        counts = self._read_or(
            REDIS, "submissions", lambda: self._services.queues.counts(Queue.SUBMISSIONS).ready_by_tenant, nobody
        )
        tenants = [DEFAULT_TENANT, getattr(self._services.settings, "tenant", DEFAULT_TENANT), *counts]
        return list(dict.fromkeys(tenants))[:_TENANTS_TRIED]

    def _letters(self, chosen: LetterFilter) -> list[Letter]:
        page = self._read_or(
            POSTGRESQL,
            ("found", tuple(chosen.as_query())),
            lambda: self._services.letters.list(chosen, limit=_SHOWN),
            None,
        )
        return list(page.items) if page else []


def _address(name: str, text: str) -> str:
    return "/dead-letters/list?" + urlencode({name: text, "state": "any"})
