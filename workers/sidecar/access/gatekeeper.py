"""Stands before each request: whose it is, and whether a browser was talked into sending it."""

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import unquote_plus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.sidecar.access.access import Access
from penstock.workers.sidecar.access.operator import LOOPBACK, Operator, Role
from penstock.workers.sidecar.access.require import CSRF_FIELD, CSRF_HEADER, ForbiddenError, NotLoggedInError
from penstock.workers.sidecar.access.sessions import COOKIE, LIFETIME, Session
from penstock.workers.sidecar.problems import answer
from penstock.workers.sidecar.security_headers import is_encrypted

#: What kubelet, Prometheus and KEDA ask for; nothing of it is personal.
PROBES = frozenset({"/metrics", "/health", "/health/live", "/health/ready", "/api/v1/autoscale"})
#: What a browser needs to get in.
_DOOR = frozenset({"/log-in", "/log-out"})
_STATIC = "/static/"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
#: A proxy adds one of these: who is behind it is not on this machine.
_PROXIES = ("forwarded", "x-forwarded-for", "x-real-ip")
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class _Visit:
    """Who sent a request. `is_new`: the session is not the browser's yet."""

    operator: Operator | None
    session: Session
    is_new: bool
    by_token: bool = False


class Gatekeeper:
    """Refuses what nobody may do, and tells the routes who asks, by `require` and `csrf_of`."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            visit = self._admit(request)
            if request.method not in _SAFE:
                receive = await self._require_own_page(request, visit, receive)
        except PenstockError as error:
            await answer(request, error)(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["operator"], state["session"] = visit.operator, visit.session
        state["csrf"] = self._access.sessions.csrf_token(visit.session)
        gives_cookie = visit.is_new and request.method in _SAFE and "text/html" in request.headers.get("accept", "")
        await self._app(
            scope, receive, _with_cookie(scope, send, self._access, visit.session) if gives_cookie else send
        )

    def _admit(self, request: Request) -> _Visit:
        path = request.url.path
        if path in PROBES and "authorization" not in request.headers and "cookie" not in request.headers:
            return _Visit(self._nearby(request), self._access.sessions.begin(), is_new=False)
        if path not in PROBES:
            self._require_known_host(request)
        visit = self._identify(request)
        is_open = path in PROBES or path in _DOOR or path.startswith(_STATIC)
        if visit.operator is None and not is_open:
            raise NotLoggedInError(Code.AUTH_REQUIRED, "nobody is logged in")
        return visit

    def _nearby(self, request: Request) -> Operator | None:
        """Loopback, where that needs no log-in."""
        if self._access.credentials.any or not _is_of_this_machine(request):
            return None
        is_known = host_of(request.headers) in _LOOPBACK_NAMES | self._access.hosts
        return Operator(LOOPBACK, Role.ADMIN) if is_known else None

    def _require_known_host(self, request: Request) -> None:
        """A page of another site may have its name lead to this address; then the name is its own."""
        if self._access.credentials.any and not self._access.hosts:
            return
        host = host_of(request.headers)
        if host not in _LOOPBACK_NAMES | self._access.hosts:
            raise ForbiddenError(Code.REQUEST_HOST_UNKNOWN, f"this server does not stand for {host[:100]!r}")

    def _identify(self, request: Request) -> _Visit:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._by_token(request, token.strip())
        found = self._session_of(request)
        session = found or self._access.sessions.begin()
        if self._access.credentials.any:
            return _Visit(self._logged_in(session), session, is_new=found is None)
        if not _is_of_this_machine(request):
            raise NotLoggedInError(
                Code.AUTH_REQUIRED,
                "the request came through a proxy or from another machine",
                remedy="Set PENSTOCK_SIDECAR_CREDENTIALS; see: penstock sidecar credential --help",
            )
        return _Visit(Operator(LOOPBACK, Role.ADMIN, session.id), session, is_new=found is None)

    def _by_token(self, request: Request, token: str) -> _Visit:
        credential = self._access.credentials.of_token(token)
        if credential is None:
            self._access.refuse_token(address_of(request))
            raise NotLoggedInError(Code.AUTH_CREDENTIAL_INVALID, "the token is none of ours")
        operator = Operator(credential.name, credential.role)
        return _Visit(operator, self._access.sessions.begin(), is_new=False, by_token=True)

    def _session_of(self, request: Request) -> Session | None:
        value = cookie_parser(request.headers.get("cookie", "")).get(COOKIE)
        return None if value is None else self._access.sessions.decode(value)

    def _logged_in(self, session: Session) -> Operator | None:
        credential = None if session.name is None else self._access.credentials.named(session.name)
        if credential is None or credential.mark != session.mark:
            return None
        return Operator(credential.name, credential.role, session.id)

    async def _require_own_page(self, request: Request, visit: _Visit, receive: Receive) -> Receive:
        """See that a page of ours had the browser send this; returns what gives the body, where it was read.

        Raises:
            ForbiddenError: `AUTH_CSRF_INVALID`.
        """
        headers = request.headers
        if visit.by_token or (not self._access.credentials.any and _is_program(headers)):
            return receive
        if headers.get("sec-fetch-site") == "cross-site":
            raise ForbiddenError(Code.AUTH_CSRF_INVALID, "a page of another site sent this request")
        token = headers.get(CSRF_HEADER)
        if token is None and headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
            body = await request.body()
            token, receive = _field(body, CSRF_FIELD), _replay(body, receive)
        if visit.is_new or token is None or not self._access.sessions.is_csrf_token(visit.session, token):
            raise ForbiddenError(Code.AUTH_CSRF_INVALID, "the request lacks the token of its page")
        return receive


def host_of(headers: Headers) -> str:
    """The host that a request names, without its port, in lower case."""
    host = headers.get("host", "").strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] or host if host.count(":") == 1 else host


def address_of(request: Request) -> str:
    """The address of the other side of the connection."""
    return request.client.host if request.client is not None else ""


def is_loopback(address: str) -> bool:
    """Whether an address or `localhost` leads to this machine alone."""
    if address == "localhost":
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def hosts_of(text: str) -> frozenset[str]:
    """The names of PENSTOCK_SIDECAR_HOSTS."""
    return frozenset(name.strip().lower().strip("[]") for name in text.split(",") if name.strip())


def _is_of_this_machine(request: Request) -> bool:
    return is_loopback(address_of(request)) and not _has_any(request.headers, _PROXIES)


def _has_any(headers: Headers, names: Iterable[str]) -> bool:
    return any(name in headers for name in names)


def _is_program(headers: Headers) -> bool:
    """Whether no browser sent this, since each adds one of these to what changes something.

    JSON on top: a page of another site can't send that without leave.
    """
    if _has_any(headers, ("origin", "sec-fetch-site", "sec-fetch-mode", "cookie", "referer")):
        return False
    return headers.get("content-type", "application/json").partition(";")[0].strip().lower() == "application/json"


def _field(body: bytes, name: str) -> str | None:
    start = f"{name}=".encode()
    found: Collection[bytes] = [pair for pair in body.split(b"&") if pair.startswith(start)]
    return unquote_plus(next(iter(found))[len(start) :].decode("latin-1")) if len(found) == 1 else None


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_cookie(scope: Scope, send: Send, access: Access, session: Session) -> Send:
    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            # A route that began a session of its own, at a log-in, has set it already.
            if not any(value.startswith(f"{COOKIE}=") for value in headers.getlist("set-cookie")):
                headers.append("set-cookie", cookie_of(access.sessions.encode(session), is_encrypted(scope)))
        await send(message)

    return send_with_cookie


def cookie_of(value: str, secure: bool) -> str:
    """The header that gives a browser its session; an empty value takes it away."""
    lifetime = int(LIFETIME.total_seconds()) if value else 0
    told = f"{COOKIE}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Strict"
    return f"{told}; Secure" if secure else told
