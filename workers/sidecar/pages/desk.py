"""The desk of a request: the services behind the pages, what they last knew, and which of their servers are away."""

from datetime import timedelta

from fastapi import Request

from penstock.workers.sidecar.pages.desk_gates import GateDesk
from penstock.workers.sidecar.pages.desk_letters import LetterDesk
from penstock.workers.sidecar.pages.desk_posts import PostDesk
from penstock.workers.sidecar.pages.desk_reads import FRESH_FOR
from penstock.workers.sidecar.pages.desk_replays import ReplayDesk
from penstock.workers.sidecar.pages.desk_search import SearchDesk
from penstock.workers.sidecar.pages.needs import Desk
from penstock.workers.sidecar.services import Services


class ServicesDesk(GateDesk, LetterDesk, PostDesk, ReplayDesk, SearchDesk):
    """A `Desk` at the sidecar's services."""


def desk_of(request: Request) -> Desk:
    """The desk at which this request's page asks and acts; tests put another one into the app's state."""
    made = getattr(request.app.state, "desk_of", None)
    if made is not None:
        found: Desk = made(request)
        return found
    services: Services = request.app.state.services
    # Whoever has just done something, or is about to, sees what is.
    acts = request.method == "POST" or "done" in request.query_params
    return ServicesDesk(services, timedelta(0) if acts else FRESH_FOR)
