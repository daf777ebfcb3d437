"""Instagram's containers: made, worked on for a while, published; 50 a day, and void after 24 h."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from penstock.workers.stand_in.exchange import Request, Response
from penstock.workers.stand_in.faults import meta_error
from penstock.workers.stand_in.meta import refreshed, token_error, with_usage, written
from penstock.workers.stand_in.world import World

Action = Callable[[], Response]
_DAY = timedelta(hours=24)
_HASHTAG = re.compile(r"#\w")


@dataclass(slots=True)
class Container:
    """What is prepared, and has been seen by nobody."""

    account: str
    caption: str
    kind: str
    media: tuple[str, ...]
    created_at: datetime
    polls_left: int
    lives: timedelta
    published: list[str] = field(default_factory=list)


class Instagram:
    """The routes below `/instagram`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._containers: dict[str, Container] = world.keep("instagram")

    def route(self, request: Request, path: list[str]) -> tuple[str, Action]:
        """The operation's name, and what does it."""
        if path == ["refresh_access_token"]:
            return "instagram.refresh", lambda: refreshed(self._world, request.token)
        account, edge = path[1] if len(path) > 1 else "", path[2] if len(path) > 2 else ""
        polled = account in self._containers
        actions: dict[tuple[str, str], tuple[str, Action]] = {
            ("POST", "media"): ("instagram.create", lambda: self._create(account, request)),
            ("POST", "media_publish"): ("instagram.publish", lambda: self._publish(account, request)),
            ("GET", "media"): ("instagram.list", lambda: self._list(account)),
            ("GET", "content_publishing_limit"): ("instagram.quota", lambda: self._quota(account)),
            ("GET", ""): ("instagram.poll" if polled else "instagram.read", lambda: self._status_or_media(account)),
        }
        name, action = actions.get((request.method, edge), ("instagram.unknown", lambda: meta_error(100, 33)))
        return name, lambda: with_usage(
            self._world, account, "instagram", token_error(self._world, request) or action()
        )

    def _create(self, account: str, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        fields = request.fields
        media = tuple(str(fields[name]) for name in ("image_url", "video_url") if name in fields)
        children = [child for child in str(fields.get("children", "")).split(",") if child]
        if children:
            if any(self._status(self._containers.get(child)) != "FINISHED" for child in children):
                return meta_error(9007, 2207027)
            media = tuple(url for child in children for url in self._containers[child].media)
        kind = "carousel" if children else "reel" if "video_url" in fields else "image"
        made, knobs = self._world.new_id(), self._world.knobs_of(account)
        caption = str(fields.get("caption", ""))
        lives = timedelta(seconds=knobs.container_lives.pop(0)) if knobs.container_lives else _DAY
        self._containers[made] = Container(account, caption, kind, media, self._world.now(), knobs.polls, lives)
        return Response(body={"id": made})

    def _refusal(self, request: Request) -> Response | None:
        fields = request.fields
        caption, image = str(fields.get("caption", "")), str(fields.get("image_url", ""))
        carousel = fields.get("media_type") == "CAROUSEL"
        rules = (
            (len(caption) > 2_200, (36004, 2207010)),
            (len(_HASHTAG.findall(caption)) > 30, (100, 2207040)),
            (carousel and not 2 <= len(str(fields.get("children", "")).split(",")) <= 10, (100, 2207028)),
            (image.partition("?")[0].endswith(".png"), (36001, 2207005)),
            ("3x1" in image, (36003, 2207009)),
            (not carousel and not image and "video_url" not in fields, (100, 2207023)),
        )
        return next((meta_error(*code) for broken, code in rules if broken), None)

    def _status(self, container: Container | None) -> str:
        if container is None:
            return "EXPIRED"
        if container.published:
            return "PUBLISHED"
        if self._world.now() - container.created_at > container.lives:
            return "EXPIRED"
        if container.polls_left > 0:
            return "IN_PROGRESS"
        return "ERROR" if self._world.knobs_of(container.account).container_error else "FINISHED"

    def _status_or_media(self, name: str) -> Response:
        return self._poll(name) if name in self._containers else self._read(name)

    def _poll(self, name: str) -> Response:
        container = self._containers[name]
        knobs = self._world.knobs_of(container.account)
        if knobs.unreadable_looks > 0:
            knobs.unreadable_looks -= 1
            return meta_error(100, 33)
        status = self._status(container)
        container.polls_left = max(0, container.polls_left - 1)
        told = knobs.container_error if status == "ERROR" else status
        return Response(body={"status_code": status, "status": told, "id": name})

    def _publish(self, account: str, request: Request) -> Response:
        container = self._containers.get(str(request.fields.get("creation_id", "")))
        status = self._status(container)
        if container is None or status == "EXPIRED":
            return meta_error(24, 2207008)
        if status in {"IN_PROGRESS", "ERROR"}:
            return meta_error(9007, 2207027)
        if self._world.within("instagram", account, _DAY) >= self._world.knobs_of(account).instagram_daily:
            return meta_error(9, 2207042)
        # What the platform does with a second call for one container is not known: here it is the worst.
        made = self._world.publish("instagram", account, container.kind, container.caption, media=container.media)
        container.published.append(made.external_id)
        return Response(body={"id": made.external_id})

    def _list(self, account: str) -> Response:
        found = reversed(self._world.publications("instagram", account)[-50:])
        listed = [
            {
                "id": one.external_id,
                "caption": one.text,
                "permalink": f"{self._world.base}/p/{one.external_id}",
                "timestamp": written(one.at),
                "media_product_type": "REELS" if one.kind == "reel" else "FEED",
            }
            for one in found
        ]
        return Response(body={"data": listed})

    def _read(self, media: str) -> Response:
        if media not in {one.external_id for one in self._world.publications("instagram")}:
            return meta_error(100, 33)
        return Response(body={"id": media, "permalink": f"{self._world.base}/p/{media}"})

    def _quota(self, account: str) -> Response:
        used = self._world.within("instagram", account, _DAY)
        config = {"quota_total": self._world.knobs_of(account).instagram_daily, "quota_duration": 86_400}
        return Response(body={"data": [{"quota_usage": used, "config": config}]})
