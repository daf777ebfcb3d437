"""Looks for a video among a channel's uploads: only where its session is gone and its last piece was sent.

The list costs a unit; a search would cost one of a hundred a day.
"""

from collections.abc import Mapping
from typing import Any

from penstock.workers.platforms.answers import Phase
from penstock.workers.platforms.http import Call
from penstock.workers.platforms.judge import Judge
from penstock.workers.platforms.matching import CLOCK_SKEW, instant_of, same_text
from penstock.workers.platforms.platform import Found, NotFound, Publication, Secret, Sighting, Unknown


def find_upload(judge: Judge, base: str, publication: Publication, token: Secret) -> Sighting:
    """The upload with this title since the first try; where there is none, a new session may begin."""
    channel = Call("GET", f"{base}/channels", "/channels", {"part": "contentDetails", "mine": "true"}, token=token)
    found, reply = judge.call(channel, Phase.LOOK_UP, publication.account, wanted="items")
    playlist = _playlist_of(found)
    if playlist is None:
        raise judge.fault(reply, Phase.LOOK_UP, publication.account, "unreadable")
    fields = {"part": "snippet,contentDetails", "maxResults": "50", "playlistId": playlist}
    listing = Call("GET", f"{base}/playlistItems", "/playlistItems", fields, token=token)
    listed, _ = judge.call(listing, Phase.LOOK_UP, publication.account)
    items = listed.get("items")
    videos = {video for item in (items if isinstance(items, list) else ()) if (video := _match(publication, item))}
    if len(videos) > 1:
        return Unknown(f"the channel has {len(videos)} videos of the same title since the first try")
    if videos:
        video = videos.pop()
        return Found(video, f"https://www.youtube.com/watch?v={video}")
    return NotFound(certain=False, handle_usable=False)


def _playlist_of(found: Mapping[str, Any]) -> str | None:
    items = found.get("items")
    first: Any = items[0] if isinstance(items, list) and items else None
    try:
        playlist = first["contentDetails"]["relatedPlaylists"]["uploads"]
    except (KeyError, TypeError):
        return None
    return playlist if isinstance(playlist, str) else None


def _match(publication: Publication, item: Any) -> str | None:
    """The video's id where an item of the list may be this publication."""
    try:
        snippet, video = item["snippet"], item["contentDetails"]["videoId"]
        title, published = snippet["title"], instant_of(snippet.get("publishedAt"))
    except (KeyError, TypeError, AttributeError):
        return None
    armed = publication.armed_at
    if armed is not None and published is not None and published < armed - CLOCK_SKEW:
        return None
    return str(video) if same_text(str(publication.content.options.get("title", "")), title) else None
