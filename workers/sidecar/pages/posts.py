"""Posts: what goes out when, what is late or waits for somebody, and lists."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from penstock.workers.posts.filters import Standing
from penstock.workers.sidecar.pages.filters import chips, mapping_of, pairs_of
from penstock.workers.sidecar.pages.rendering import PageFor

router = APIRouter(include_in_schema=False)

#: The parameters that choose posts, and their order.
POST_FILTERS = ("state", "platform", "account", "owner", "tenant", "due_after", "due_before", "order")


@router.get("/posts")
def posts(page: PageFor) -> HTMLResponse:
    """The agenda, and the lists of work."""
    desk = page.desk
    return page.show("posts.html", agenda=desk.agenda(), posts_now=desk.posts_now(), next_posts=desk.next_posts())


@router.get("/posts/list")
def post_list(page: PageFor, cursor: str | None = None) -> HTMLResponse:
    """The posts that a filter chooses, by their instants, fifty a page."""
    pairs = pairs_of(page.request.query_params, POST_FILTERS)
    found = page.desk.posts(mapping_of(pairs), cursor)
    return page.show("post_list.html", posts=found, pairs=pairs, chips=chips(pairs), standings=list(Standing))
