"""A Mastodon server: statuses with idempotency keys, media, and an account's list."""

import html
from collections.abc import Callable
from datetime import datetime
from typing import Any

from penstock.workers.stand_in.exchange import Request, Response
from penstock.workers.stand_in.world import Publication, World

Action = Callable[[], Response]


class Mastodon:
    """The routes below `/mastodon`. A token `NAME.n` is the account `NAME`'s."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys: dict[tuple[str, str], tuple[datetime, Publication]] = {}
        self._media: dict[str, int] = world.keep("mastodon_media")

    def route(self, request: Request, path: list[str]) -> tuple[str, Action]:
        """The operation's name, and what does it."""
        name, action = self._operation(request, path)
        return name, lambda: self._token_error(request) or action()

    def _operation(self, request: Request, path: list[str]) -> tuple[str, Action]:
        account = request.token.rsplit(".", 1)[0]
        match [request.method, *path[2:]]:
            case ["POST", "statuses"]:
                return "mastodon.publish", lambda: self._post(account, request)
            case ["POST", "media"]:
                return "mastodon.media", lambda: self._upload(request)
            case ["GET", "statuses", status]:
                return "mastodon.read", lambda: self._read(status)
            case ["GET", "accounts", name, "statuses"]:
                return "mastodon.list", lambda: self._list(name)
        return "mastodon.unknown", lambda: Response(404, {"error": "Record not found"})

    def _token_error(self, request: Request) -> Response | None:
        refused = not request.token or request.token in self._world.knobs.tokens
        return Response(401, {"error": "The access token is invalid"}) if refused else None

    def _post(self, account: str, request: Request) -> Response:
        key = (account, request.headers.get("idempotency-key", ""))
        known = self._keys.get(key)
        if key[1] and known is not None and self._world.now() - known[0] < self._world.knobs.key_lives:
            return Response(body=self._status(known[1]))
        text, media = str(request.fields.get("status", "")), request.fields.get("media_ids") or []
        if not (text or media) or len(text) > 500 or any(one not in self._media for one in media):
            return Response(422, {"error": "Validation failed: stand-in"})
        made = self._world.publish("mastodon", account, "status", text, media=tuple(media))
        self._keys[key] = (self._world.now(), made)
        return Response(body=self._status(made))

    def _upload(self, request: Request) -> Response:
        if not request.file:
            return Response(422, {"error": "Validation failed: File can't be blank"})
        made = self._world.new_id()
        self._media[made] = len(request.file)
        return Response(body={"id": made, "type": "image"})

    def _read(self, status: str) -> Response:
        found = [one for one in self._world.publications("mastodon") if one.external_id == status]
        return Response(body=self._status(found[0])) if found else Response(404, {"error": "Record not found"})

    def _list(self, account: str) -> Response:
        found = reversed(self._world.publications("mastodon", account)[-40:])
        return Response(body=[self._status(one) for one in found])

    def _status(self, one: Publication) -> dict[str, Any]:
        url = f"{self._world.base}/@{one.account}/{one.external_id}"
        content = "<p>" + html.escape(one.text).replace("\n", "<br />") + "</p>"
        return {"id": one.external_id, "url": url, "content": content, "created_at": one.at.isoformat()}
