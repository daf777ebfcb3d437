"""`penstock posts reschedule`, `cancel`, `approve` and `settle`: what an operator decides of posts."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import click

from penstock.producers.storage.posts_changes import ChangedPost
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.cli.instants import INSTANT
from penstock.workers.cli.operator import login_name, reason_option, yes_option
from penstock.workers.cli.output import emit, json_option
from penstock.workers.cli.transactions import Store, open_store
from penstock.workers.dead_letters.post_decisions import PostDecisions
from penstock.workers.posts.search import PostSearch

Command = Callable[..., Any]
#: Decides on the post of a tenant.
Decide = Callable[[PostDecisions, str, UUID], ChangedPost]

id_argument: Callable[[Command], Command] = click.argument("post_id", metavar="ID", type=click.UUID)
_ids_argument: Callable[[Command], Command] = click.argument(
    "ids", metavar="ID...", nargs=-1, type=click.UUID, required=True
)


@click.command(epilog="Example: penstock posts reschedule ID +2h --reason 'the shop opens later'")
@id_argument
@click.argument("when", type=INSTANT)
@reason_option
@yes_option
@json_option
def reschedule(post_id: UUID, when: datetime, reason: str, yes: bool, as_json: bool) -> None:
    """Publish a post at WHEN (RFC 3339, or +10m) instead, at once where that has passed.

    One that has expired, is held or is dead gets a new life by it.
    """
    _ask(f"Publish the post {post_id} at {_shown(when)}?", yes)
    changed = _decide_one(post_id, lambda it, tenant, post: it.reschedule(login_name(), reason, tenant, post, when))
    emit(_value(changed), as_json, lambda: _tell(changed))


@click.command(epilog="Example: penstock posts cancel ID --reason 'the offer is over'")
@_ids_argument
@reason_option
@yes_option
@json_option
def cancel(ids: tuple[UUID, ...], reason: str, yes: bool, as_json: bool) -> None:
    """See that posts are not published. One that was cancelled before stays so."""
    _ask(f"Cancel {len(ids)} post(s)?", yes)
    _decide_all(ids, lambda it, tenant, post: it.cancel(login_name(), reason, tenant, post), as_json)


@click.command(epilog="Example: penstock posts approve ID --at +10m --reason 'still true'")
@_ids_argument
@click.option("--at", "when", type=INSTANT, help="When: RFC 3339, or +10m; at once if absent.")
@reason_option
@yes_option
@json_option
def approve(ids: tuple[UUID, ...], when: datetime | None, reason: str, yes: bool, as_json: bool) -> None:
    """Let held posts go. How late they are counts from the new instant."""
    _ask(f"Publish {len(ids)} post(s) {'at once' if when is None else f'at {_shown(when)}'}?", yes)
    _decide_all(ids, lambda it, tenant, post: it.approve(login_name(), reason, tenant, post, due_at=when), as_json)


@click.command(epilog="Example: penstock posts settle ID --live 17895695668004550 --reason 'I see it on the page'")
@id_argument
@click.option("--live", "external_id", metavar="EXTERNAL_ID", help="It is live, with this id at the platform.")
@click.option("--url", help="Its address there.")
@click.option("--publish-again", is_flag=True, help="It is not live: publish it once more, at once.")
@reason_option
@yes_option
@json_option
def settle(
    post_id: UUID,
    external_id: str | None,
    url: str | None,
    publish_again: bool,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Say what became of a post of unknown outcome, once you have looked at its account. Its dead letter is closed."""
    if (external_id is None) != publish_again or (publish_again and url is not None):
        told = "say --live EXTERNAL_ID (and --url), or --publish-again, one of them"
        raise InvalidInputError(Code.REQUEST_USAGE, told)
    if publish_again:
        _ask(f"Publish the post {post_id} once more? If it is live after all, it is there twice.", yes)
    else:
        _ask(f"Note that the post {post_id} is live?", yes)

    def decide(decisions: PostDecisions, tenant: str, post: UUID) -> ChangedPost:
        if external_id is None:
            return decisions.publish_again(login_name(), reason, tenant, post)
        return decisions.settle_as_live(login_name(), reason, tenant, post, external_id, url)

    changed = _decide_one(post_id, decide)
    emit(_value(changed), as_json, lambda: _tell(changed))


def _decide_one(post_id: UUID, decide: Decide) -> ChangedPost:
    with open_store(None) as store:
        return _decided(store, post_id, decide)


def _decide_all(ids: tuple[UUID, ...], decide: Decide, as_json: bool) -> None:
    """Decide on each by itself, tell what was done, and raise the first refusal, if any.

    Raises:
        PenstockError: of the first that was refused, telling how many were.
    """
    done: list[ChangedPost] = []
    refused: list[tuple[UUID, PenstockError]] = []
    with open_store(None) as store:
        for post_id in dict.fromkeys(ids):
            try:
                done.append(_decided(store, post_id, decide))
            except PenstockError as error:
                refused.append((post_id, error))
    if done:
        emit({"items": [_value(one) for one in done]}, as_json, lambda: "\n".join(_tell(one) for one in done))
    if refused:
        raise _first_refusal(refused, len(done))


def _first_refusal(refused: list[tuple[UUID, PenstockError]], done: int) -> PenstockError:
    _, first = refused[0]
    if len(refused) + done == 1:
        return first
    details = {"refused": [{"post_id": str(one), "code": str(error.code)} for one, error in refused]}
    told = f"{first.message} ({len(refused)} of {len(refused) + done} posts were refused)"
    return type(first)(first.code, told, remedy=first.remedy, details=details)


def _decided(store: Store, post_id: UUID, decide: Decide) -> ChangedPost:
    tenant = PostSearch(store.pool).tenant_of(post_id)
    return decide(PostDecisions(store.transactions), tenant, post_id)


def _value(changed: ChangedPost) -> dict[str, Any]:
    return {
        "post_id": str(changed.post_id),
        "state": changed.state,
        "version": changed.version,
        "due_at": changed.due_at.isoformat(),
    }


def _tell(changed: ChangedPost) -> str:
    due = f" for {_shown(changed.due_at)}" if changed.state == "scheduled" else ""
    return f"{changed.post_id} is {changed.state}{due}"


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _ask(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)
