"""The gateway and the sidecar, as others reach them: they answer, and tell nothing to whoever is nobody."""

from collections.abc import Iterator, Sequence

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from penstock.schemas.errors import Code
from penstock.workers.verify.asking import body_of, open_site
from penstock.workers.verify.places import stays_here
from penstock.workers.verify.result import Result
from penstock.workers.verify.target import Target

#: What nobody may read without a credential.
_GUARDED_SIDECAR = ("/api/v1/dead-letters", "/api/v1/queues", "/")
_GUARDED_GATEWAY = ("/v1/forms/penstock-probe", "/v1/posts")
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
#: Where a log-in is asked for, a credential is, or there is no such thing at that address.
_REFUSED = frozenset({401, 403, 404})
_TO_LOG_IN = frozenset({302, 303, 307})


def check_sidecar(target: Target, url: str) -> Iterator[Result]:
    """Whether it lives, and is ready.

    Raises:
        UnavailableError: `REQUEST_UNANSWERED`.
    """
    yield from _lives(target, url, "sidecar")


def check_gateway(target: Target, url: str) -> Iterator[Result]:
    """Whether it lives, and takes jobs.

    Raises:
        UnavailableError: `REQUEST_UNANSWERED`.
    """
    yield from _lives(target, url, "gateway")


def _lives(target: Target, url: str, named: str) -> Iterator[Result]:
    with open_site(target, url, named) as client:
        live, ready = client.get("/health/live"), client.get("/health/ready")
    if live.status_code != httpx.codes.OK or body_of(live).get("status") != "live":
        told = f"what answers there is no {named} that lives (status {live.status_code})"
        yield Result.fail(named, told, f"See the address, and the log of the {named}.")
        return
    down = [str(check.get("name")) for check in body_of(ready).get("checks", ()) if _is_down(str(check.get("status")))]
    if ready.status_code != httpx.codes.OK:
        told = ": ".join(["it lives and is not ready", *([", ".join(down)] if down else [])])
        yield Result.fail(named, told, "See the checks of the servers that it asks, and its log.")
        return
    yield Result.ok(named, "it lives and is ready")


def _is_down(status: str) -> bool:
    return status in {"down", "CRITICAL", "UNKNOWN"}


def check_metrics(target: Target, url: str) -> Iterator[Result]:
    """Whether the sidecar's metrics can be read as Prometheus reads them.

    Raises:
        UnavailableError: `REQUEST_UNANSWERED`.
    """
    name = "sidecar_metrics"
    with open_site(target, url, "sidecar") as client:
        answer = client.get("/metrics", headers={"Accept": _OPENMETRICS})
    if answer.status_code != httpx.codes.OK:
        remedy = "Give Prometheus the address of PENSTOCK_SIDECAR_PROBE_LISTEN, which wants no log-in."
        yield Result.fail(name, f"/metrics answers {answer.status_code}", remedy)
        return
    try:
        parsed = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]  # it has no types
        families = [family.name for family in parsed]
    except ValueError as error:
        yield Result.fail(name, f"they can't be parsed ({type(error).__name__})", "See what answers at that address.")
        return
    own = [family for family in families if family.startswith("penstock_")]
    if not own:
        yield Result.fail(name, "none of them is Penstock's", "See what answers at that address.")
        return
    yield Result.ok(name, f"{len(own)} families of Penstock's can be read")


def check_sidecar_access(target: Target, url: str) -> Iterator[Result]:
    """Whether the sidecar shows its pages and its API to nobody who has not logged in.

    Raises:
        UnavailableError: `REQUEST_UNANSWERED`.
    """
    remedy = "Set PENSTOCK_SIDECAR_CREDENTIALS, or have it listen on 127.0.0.1."
    yield _access(target, url, "sidecar", _GUARDED_SIDECAR, remedy)


def check_gateway_access(target: Target, url: str) -> Iterator[Result]:
    """Whether the gateway does nothing for whoever has no API key.

    Raises:
        UnavailableError: `REQUEST_UNANSWERED`.
    """
    remedy = "Set PENSTOCK_API_KEY_SECRET and make keys (docs/keys.md), or have it listen on 127.0.0.1."
    yield _access(target, url, "gateway", _GUARDED_GATEWAY, remedy)


def _access(target: Target, url: str, named: str, paths: Sequence[str], remedy: str) -> Result:
    name = f"{named}_access"
    with open_site(target, url, named) as client:
        opened = [path for path in paths if not _is_refused(client.get(path))]
    if not opened:
        return Result.ok(name, "nobody gets in without a credential")
    told = f"{', '.join(opened)} open{'s' if len(opened) == 1 else ''} without a credential"
    if stays_here(httpx.URL(url).host):
        return Result.ok(name, f"{told}, on this machine alone")
    return Result.fail(name, told, remedy)


def _is_refused(answer: httpx.Response) -> bool:
    if answer.status_code in _TO_LOG_IN:
        return "/log-in" in answer.headers.get("Location", "")
    if answer.status_code == httpx.codes.NOT_FOUND:
        # A form that is not there was looked for: whoever asked was let in.
        return body_of(answer).get("code") != str(Code.FORM_NOT_FOUND)
    return answer.status_code in _REFUSED
