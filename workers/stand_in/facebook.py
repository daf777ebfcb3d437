"""A Facebook page: its feed, unpublished pictures, and its tokens; videos are `facebook_video.py`'s."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

from penstock.workers.stand_in.exchange import Request, Response
from penstock.workers.stand_in.facebook_video import FacebookVideo
from penstock.workers.stand_in.faults import meta_error
from penstock.workers.stand_in.meta import refreshed, token_error, with_usage, written
from penstock.workers.stand_in.world import World

Action = Callable[[], Response]
#: How far ahead a page's own schedule reaches.
_SOONEST, _LATEST = timedelta(minutes=10), timedelta(days=30)


class Facebook:
    """The routes below `/facebook`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._photos: dict[str, str] = world.keep("facebook_photos")
        self._video = FacebookVideo(world)

    def route(self, request: Request, path: list[str]) -> tuple[str, Action]:
        """The operation's name, and what does it."""
        page, edge = path[1] if len(path) > 1 else "", path[2] if len(path) > 2 else ""
        actions: dict[tuple[str, str], tuple[str, Action]] = {
            ("POST", "feed"): ("facebook.feed", lambda: self._feed(page, request)),
            ("POST", "photos"): ("facebook.photo", lambda: self._photo(request)),
            ("POST", "videos"): self._video.route(page, request, "video"),
            ("POST", "video_reels"): self._video.route(page, request, "reel"),
            ("GET", "published_posts"): ("facebook.posts", lambda: self._posts(page, scheduled=False)),
            ("GET", "scheduled_posts"): ("facebook.posts", lambda: self._posts(page, scheduled=True)),
            ("GET", ""): ("facebook.video_status", lambda: self._video.status(page))
            if self._video.knows(page)
            else ("facebook.read", lambda: self._read(page)),
        }
        if path[1:] == ["me", "accounts"]:
            return "facebook.accounts", lambda: token_error(self._world, request) or self._accounts(request)
        if path[1:] == ["oauth", "access_token"]:
            old = str(request.fields.get("fb_exchange_token", ""))
            return "facebook.exchange", lambda: refreshed(self._world, old)
        name, action = actions.get((request.method, edge), ("facebook.unknown", lambda: meta_error(100, 33)))
        return name, lambda: with_usage(self._world, page, "pages", token_error(self._world, request) or action())

    def upload(self, request: Request, video: str) -> tuple[str, Action]:
        """The route of reels' bytes, below `/rupload`."""
        return "facebook.upload", lambda: token_error(self._world, request) or self._video.upload(request, video)

    def _feed(self, page: str, request: Request) -> Response:
        text, link = str(request.fields.get("message", "")), str(request.fields.get("link", ""))
        attached = json.loads(str(request.fields.get("attached_media", "[]")))
        if not (text or link or attached):
            return meta_error(100)
        media = tuple(self._photos.get(str(photo["media_fbid"]), "") for photo in attached)
        if "" in media:
            return meta_error(100, 33)
        at = request.fields.get("scheduled_publish_time")
        if at is not None and not self._takes(str(at)):
            return meta_error(100)
        posts = self._world.publications("facebook", page)
        knobs = self._world.knobs_of(page)
        if knobs.refuse_duplicates and posts and posts[-1].text == text:
            return meta_error(*knobs.duplicate_error)
        kind = "photo" if media else "link" if link else "text"
        name = f"{page}_{self._world.new_id()}"
        self._world.publish("facebook", page, kind, text, external_id=name, media=media, scheduled=at is not None)
        return Response(body={"id": name, "permalink_url": f"{self._world.base}/posts/{name}"})

    def _takes(self, at: str) -> bool:
        if not (at.isascii() and at.isdecimal()):
            return False
        ahead = datetime.fromtimestamp(int(at), self._world.now().tzinfo) - self._world.now()
        return _SOONEST <= ahead <= _LATEST

    def _photo(self, request: Request) -> Response:
        url = str(request.fields.get("url", ""))
        if not url or request.fields.get("published") != "false":
            return meta_error(100)
        made = self._world.new_id()
        self._photos[made] = url
        return Response(body={"id": made})

    def _posts(self, page: str, *, scheduled: bool) -> Response:
        found = [one for one in self._world.publications("facebook", page) if one.scheduled is scheduled]
        listed = [
            {
                "id": one.external_id,
                "message": one.text,
                "created_time": written(one.at),
                "permalink_url": f"{self._world.base}/posts/{one.external_id}",
            }
            for one in reversed(found[-100:])
            if one.kind in {"text", "link", "photo"}
        ]
        return Response(body={"data": listed})

    def _read(self, name: str) -> Response:
        if name not in {one.external_id for one in self._world.publications("facebook")}:
            return meta_error(100, 33)
        return Response(body={"id": name, "permalink_url": f"{self._world.base}/posts/{name}"})

    def _accounts(self, request: Request) -> Response:
        """The person `NAME` has the page `NAME`; its token is new each time."""
        name = request.token.rsplit(".", 1)[0]
        page = {"id": name, "name": name, "access_token": f"{name}.{self._world.new_id()}", "tasks": ["CREATE_CONTENT"]}
        return Response(body={"data": [page]})
