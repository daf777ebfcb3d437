"""All pages, as one router."""

from fastapi import APIRouter

from penstock.workers.sidecar.pages import (
    accounts,
    assets,
    audit,
    circuits,
    codes,
    errors,
    groups,
    letter,
    letters,
    overview,
    post,
    posts,
    queues,
    replay_new,
    replays,
    search,
)

router = APIRouter(include_in_schema=False)
# A letter's address would take those of groups and lists, a replay's that of a new one, and a post's that of the list,
# so they come first.
for part in (
    assets,
    errors,
    overview,
    queues,
    groups,
    letters,
    letter,
    replay_new,
    replays,
    circuits,
    codes,
    posts,
    post,
    accounts,
    audit,
    search,
):
    router.include_router(part.router)
