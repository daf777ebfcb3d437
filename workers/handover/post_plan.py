"""A file of posts as jobs: each line checked as its platform's rules say, and known again when it is sent again."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from pydantic import ValidationError

from penstock.producers.storage.posts import find_digests
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.identity import job_id
from penstock.schemas.names import require_name
from penstock.schemas.post_content import ContentFault, PostContent
from penstock.schemas.scheduled_post import LONGEST_AHEAD, SchedulePost, post_digest
from penstock.workers.accounts.account import Account
from penstock.workers.handover.post_accounts import PostAccounts
from penstock.workers.handover.post_lines import LineFault, PostLine, faults_of

#: All that is wrong with a post for a platform.
Validate = Callable[[str, PostContent], Sequence[ContentFault]]
#: Posts that one look asks for.
PAGE = 1_000
#: What a name may not have.
_UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_LENGTH = 180


@dataclass(frozen=True, slots=True)
class PlannedPost:
    """A line that can be sent. The post's id is the id of its job."""

    line: int
    post_id: UUID
    platform: str
    job: SchedulePost


@dataclass(slots=True)
class PostPlan:
    """What a file comes to. `known`: stored before, as they are."""

    posts: list[PlannedPost] = field(default_factory=list)
    faults: list[LineFault] = field(default_factory=list)
    known: set[UUID] = field(default_factory=set)

    @property
    def faulty_lines(self) -> int:
        """How many lines have a fault."""
        return len({fault.line for fault in self.faults})


class PostPlanner:
    """Makes plans for one tenant.

    Args:
        tenant: whose posts.
        accounts: finds the accounts that lines name.
        validate: the platforms' rules.
        now: what instants are held against, aware.
    """

    def __init__(self, tenant: str, accounts: PostAccounts, validate: Validate, now: datetime | None = None) -> None:
        self._tenant = tenant
        self._accounts = accounts
        self._validate = validate
        self._now = now or datetime.now(UTC)

    def plan(
        self, connection: "psycopg.Connection[Any]", lines: Iterable[tuple[int, PostLine | list[LineFault]]], name: str
    ) -> PostPlan:
        """Check all lines, and compare them with what is stored.

        Args:
            connection: to PostgreSQL.
            lines: of the file.
            name: of the file's work: a line without a key of its own gets one of this name and its number.
        """
        plan = PostPlan()
        places: dict[UUID, int] = {}
        for number, line in lines:
            made = line if isinstance(line, list) else self._make(number, line, name)
            if isinstance(made, PlannedPost):
                first = places.setdefault(made.post_id, number)
                if first == number:
                    plan.posts.append(made)
                    continue
                made = [LineFault(number, "key", Code.POST_CONFLICT, f"line {first} has the same key")]
            plan.faults += made
        self._compare(connection, plan)
        return plan

    def _make(self, number: int, line: PostLine, name: str) -> PlannedPost | list[LineFault]:
        account = self._accounts.of_line(number, line)
        faults = list(self._instant_faults(number, line))
        try:
            content = line.content()
        except ValidationError as error:
            return [*faults, *faults_of(number, error), *([account] if isinstance(account, LineFault) else [])]
        if isinstance(account, LineFault):
            return [*faults, account]
        found = self._validate(account.platform, content)
        faults += [LineFault(number, fault.field, fault.code, fault.message) for fault in found]
        return faults or self._planned(number, line, content, account, name)

    def _instant_faults(self, number: int, line: PostLine) -> Iterator[LineFault]:
        if line.due_at - self._now > LONGEST_AHEAD:
            told = f"it is over {LONGEST_AHEAD.days // 366} years ahead"
            yield LineFault(number, "due_at", Code.POST_SCHEDULE_INVALID, told)

    def _planned(self, number: int, line: PostLine, content: PostContent, account: Account, name: str) -> PlannedPost:
        job = SchedulePost(
            account_id=account.account_id,
            due_at=line.due_at,
            content=content,
            owner=line.owner,
            lateness_policy=line.lateness_policy,
            grace_seconds=line.grace_seconds,
            key=line.key or f"{name}-{number:06d}",
        )
        identity = job_id(self._tenant, SchedulePost.kind, job.key or "")
        return PlannedPost(number, identity, account.platform, job)

    def _compare(self, connection: "psycopg.Connection[Any]", plan: PostPlan) -> None:
        """Find out which posts are stored already; one that is stored with other content is a fault."""
        conflicts: set[UUID] = set()
        for start in range(0, len(plan.posts), PAGE):
            page = {post.post_id: post for post in plan.posts[start : start + PAGE]}
            for post_id, digest in find_digests(connection, self._tenant, list(page)).items():
                (plan.known if digest == post_digest(page[post_id].job) else conflicts).add(post_id)
        told = "its key is known with another post; where the file is another one, say --batch-id"
        in_conflict = [post for post in plan.posts if post.post_id in conflicts]
        plan.faults += [LineFault(post.line, "key", Code.POST_CONFLICT, told) for post in in_conflict]
        plan.faults.sort(key=lambda fault: fault.line)
        plan.posts = [post for post in plan.posts if post.post_id not in conflicts]


def name_of(path: Path, batch_id: str | None) -> str:
    """What the file's work is called: `batch_id`, else the file's name; standard input has a new one each time.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where `batch_id` is no name, or leaves no room for the line's number.
    """
    if batch_id is not None:
        if len(batch_id) > _NAME_LENGTH:
            raise InvalidInputError(
                Code.REQUEST_USAGE, f"a batch id of posts has {_NAME_LENGTH} characters at the most"
            )
        return require_name(batch_id, Code.REQUEST_USAGE, "a batch id")
    if str(path) == "-":
        return f"posts-{uuid4()}"
    return _UNNAMED.sub("-", path.name)[:_NAME_LENGTH] or "posts"
