"""A request to a process of the deployment, over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from penstock.schemas.errors import Code, UnavailableError
from penstock.workers.verify.target import Target


@contextmanager
def open_site(target: Target, url: str, named: str) -> Iterator[httpx.Client]:
    """A client for one address, without any credential; it follows no redirection.

    Args:
        target: says how long an answer may take.
        url: the address.
        named: what is asked, for the error.

    Raises:
        UnavailableError: `REQUEST_UNANSWERED`.
    """
    # Below the check's own time-out, so that it is this that is told.
    timeout = httpx.Timeout(target.limit.total_seconds() / 2)
    try:
        with httpx.Client(base_url=url, timeout=timeout, follow_redirects=False) as client:
            yield client
    except httpx.HTTPError as error:
        told = f"the {named} does not answer ({type(error).__name__})"
        remedy = f"See that it runs and listens there, and what stands between: {_place(url)}"
        raise UnavailableError(Code.REQUEST_UNANSWERED, told, remedy=remedy) from None


def body_of(response: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; empty where it has none."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _place(url: str) -> str:
    parts = httpx.URL(url)
    return f"{parts.host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
