"""The client with an API key against a real gateway: posts, what a key may not, and the durability of PostgreSQL."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from penstock.producers import Code
from penstock.producers.async_http_client import AsyncHttpProducer
from penstock.producers.http_client import HttpProducer
from penstock.schemas.api_key import Scope
from penstock.schemas.errors import ConflictError, InvalidInputError, NotFoundError, PenstockError
from penstock.schemas.post_content import PostContent
from penstock.schemas.scheduled_post import SchedulePost
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.store import add_account
from tests.posts_kit import given, post_of
from tests.producers.gateway.gateway_kit import FORM, FORM_ID, Gateway, serving
from tests.producers.gateway.key_kit import SECRET, Desk
from tests.system import Database, WorkerProcess, wait_for

TENANT = "acme"
DUE = datetime(2027, 1, 1, 8, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Keyed:
    """A gateway that wants keys, and who makes them."""

    gateway: Gateway
    desk: Desk

    def producer(self, *scopes: Scope, tenant: str = TENANT) -> HttpProducer:
        return HttpProducer(self.gateway.url, api_key=self.key(*scopes, tenant=tenant))

    def key(self, *scopes: Scope, tenant: str = TENANT) -> str:
        return self.desk.make(tenant=tenant, scopes=list(scopes or Scope)).key.text


@pytest.fixture(scope="module")
def keyed(environment: dict[str, str], database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with serving(environment, tmp_path_factory.mktemp("keyed"), PENSTOCK_API_KEY_SECRET=SECRET) as found:
        yield Keyed(found, Desk(database))


@pytest.fixture(scope="module")
def account(database: Database) -> UUID:
    account_id = uuid4()
    with psycopg.connect(database.admin_url) as connection:
        add_account(connection, TENANT, NewAccount(account_id, "press", "mastodon", "1", "Us", {}), given(account_id))
    return account_id


@pytest.fixture
def producer(keyed: Keyed) -> Iterator[HttpProducer]:
    with keyed.producer() as made:
        yield made


def take_in(producer: HttpProducer, post: SchedulePost, key: str) -> UUID:
    """Schedule a post, and wait until a worker has it."""
    post_id = producer.schedule_post(post, idempotency_key=key).post_id

    def is_taken() -> bool:
        found = producer.post(post_id)
        return found is not None and found.state == "scheduled"

    wait_for(is_taken, "the post to be taken in")
    return post_id


def test_a_post_is_accepted_once_for_its_key(producer: HttpProducer, account: UUID) -> None:
    post = post_of(account, DUE)
    first, again = (producer.schedule_post(post, idempotency_key="once") for _ in range(2))
    assert (first.post_id, first.known, again.post_id, again.known) == (again.post_id, False, first.post_id, True)
    with pytest.raises(ConflictError) as caught:
        producer.schedule_post(post_of(account, DUE, content=PostContent(text="Another")), idempotency_key="once")
    assert caught.value.code is Code.POST_CONFLICT
    made_up = producer.schedule_post(post)
    assert made_up.post_id != first.post_id
    assert producer.schedule_post(post, idempotency_key=made_up.idempotency_key).known


def test_every_member_of_a_post_arrives(producer: HttpProducer, account: UUID, worker: WorkerProcess) -> None:
    content = {"text": "Hello", "media": [{"url": "https://cdn.penstock.io/a.jpg", "alt": "A river", "width": 800}]}
    post = post_of(
        account,
        DUE,
        content=PostContent.model_validate(content | {"options": {"visibility": "unlisted"}}),
        owner="newsroom",
        lateness_policy="hold",
        grace_seconds=60,
    )
    found = producer.post(take_in(producer, post, "members"))
    assert found is not None
    assert PostContent.model_validate(found.told["content"]) == post.content
    assert (found.told["owner"], found.told["lateness_policy"], found.told["grace_seconds"]) == ("newsroom", "hold", 60)


def test_every_fault_of_a_post_is_told(producer: HttpProducer, account: UUID) -> None:
    bad = post_of(account, DUE, content=PostContent(text="x" * 501, link="https://a.io", options={"reel": True}))
    with pytest.raises(InvalidInputError) as caught:
        producer.schedule_post(bad)
    assert caught.value.code is Code.POST_TEXT_TOO_LONG
    assert [fault["at"] for fault in caught.value.details["errors"]] == [
        "content.text",
        "content.link",
        "content.options.reel",
    ]
    with pytest.raises(NotFoundError) as unknown:
        producer.schedule_post(post_of(uuid4(), DUE))
    assert unknown.value.code is Code.ACCOUNT_NOT_FOUND


def test_a_post_is_found_moved_and_cancelled(producer: HttpProducer, account: UUID, worker: WorkerProcess) -> None:
    post_id = take_in(producer, post_of(account, DUE, owner="desk"), "moved")
    assert [found.post_id for found in producer.posts(owner="desk", state="scheduled")] == [post_id]
    later = DUE + timedelta(hours=1)
    moved = producer.reschedule_post(post_id, later, version=1)
    assert (moved.state, moved.told["version"]) == ("scheduled", 2)
    with pytest.raises(ConflictError) as caught:
        producer.reschedule_post(post_id, DUE, version=1)
    assert caught.value.code is Code.POST_CHANGED
    assert [producer.cancel_post(post_id).state for _ in range(2)] == ["cancelled"] * 2
    assert producer.post(uuid4()) is None
    with pytest.raises(NotFoundError):
        producer.cancel_post(uuid4())


def test_a_keys_tenant_sees_its_own_alone(keyed: Keyed, producer: HttpProducer, account: UUID) -> None:
    mine = producer.schedule_post(post_of(account, DUE), idempotency_key="mine").post_id
    producer.put_form(FORM_ID, FORM)
    producer.submit(FORM_ID, [{"answers": {"q": "x"}}], batch_id="tenants")
    with keyed.producer(tenant="globex") as stranger:
        assert stranger.post(mine) is None
        assert stranger.job(mine) is None
        assert stranger.batch("tenants") is None
        assert stranger.form(FORM_ID) is None
        assert list(stranger.posts()) == []


def test_what_a_key_may_not_is_told_with_the_scope(keyed: Keyed, account: UUID) -> None:
    with keyed.producer(Scope.STATUS_READ) as reader:
        calls: dict[str, Callable[[], object]] = {
            "posts:write": lambda: reader.schedule_post(post_of(account, DUE)),
            "posts:read": lambda: reader.post(uuid4()),
            "forms:write": lambda: reader.put_form(FORM_ID, FORM),
            "submissions:write": lambda: reader.submit(FORM_ID, [{"answers": {}}], batch_id="forbidden"),
        }
        for scope, call in calls.items():
            with pytest.raises(PenstockError) as caught:
                call()
            assert (caught.value.code, scope in caught.value.message) == (Code.AUTH_SCOPE_MISSING, True)
        assert reader.batch("none") is None


@pytest.mark.parametrize(("key", "code"), [(None, Code.AUTH_REQUIRED), ("pk_wrong", Code.AUTH_TOKEN_INVALID)])
def test_no_key_and_a_wrong_one_are_told_apart_and_not_tried_again(keyed: Keyed, key: str | None, code: Code) -> None:
    with HttpProducer(keyed.gateway.url, api_key=key) as nobody, pytest.raises(PenstockError) as caught:
        nobody.batch("x")
    assert caught.value.code is code


def test_rows_are_in_postgresql_before_they_are_accepted(keyed: Keyed, database: Database) -> None:
    rows = [{"answers": {"q": f"row {number}"}} for number in range(1_500)]
    count = "SELECT count(*) FROM penstock.outbox WHERE tenant = %s AND idempotency_key LIKE %s"
    with HttpProducer(keyed.gateway.url, api_key=keyed.key(), durability="postgres") as producer:
        producer.put_form(FORM_ID, FORM)
        told = producer.submit(FORM_ID, rows, batch_id="safe")
        assert database.value(count, TENANT, "safe-%") == 2
        assert producer.submit(FORM_ID, rows, batch_id="safe") == told
        assert database.value(count, TENANT, "safe-%") == 2
        with pytest.raises(ConflictError) as caught:
            producer.submit(FORM_ID, rows[:-1], batch_id="safe")
        assert caught.value.code is Code.BATCH_CONFLICT

    async def awaited() -> None:
        async with AsyncHttpProducer(keyed.gateway.url, api_key=keyed.key(), durability="postgres") as producer:
            await producer.submit(FORM_ID, rows[:1], batch_id="awaited")

    asyncio.run(awaited())
    assert database.value(count, TENANT, "awaited-%") == 1
