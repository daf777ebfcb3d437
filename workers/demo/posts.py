"""The demonstration's posts: texts of our own, for the stand-in of the platforms alone."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

#: What the stand-in knows the demonstration's accounts by; a token of its is `NAME.n`.
ACCOUNT = "penstock-demo"


@dataclass(frozen=True, slots=True)
class DemoPost:
    """A post. `files` are names of files that the stand-in makes up, with their sizes in bytes."""

    platform: str
    text: str
    ahead: timedelta
    files: tuple[tuple[str, int], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


#: Instagram works on a picture for some seconds, so its posts are the later ones: none is late.
POSTS = (
    DemoPost("mastodon", "The gate opens in three seconds. This was written well before.", timedelta(seconds=3)),
    DemoPost(
        "facebook",
        "A penstock leads water from a reservoir to a turbine, and its gate decides how much.",
        timedelta(seconds=5),
    ),
    DemoPost("facebook", "The gate house in spring, from both banks.", timedelta(seconds=8), (("gate.jpg", 60_000),)),
    DemoPost(
        "youtube",
        "The turbine starts: one minute, no music.",
        timedelta(seconds=10),
        (("turbine.mp4", 400_000),),
        {"title": "The turbine starts"},
    ),
    DemoPost("mastodon", "Reservoir 84 %, two of three gates open.", timedelta(seconds=12), (("level.png", 20_000),)),
    DemoPost("instagram", "First light on the reservoir #dam", timedelta(seconds=15), (("reservoir.jpg", 90_000),)),
    DemoPost("facebook", "Nothing was published twice today, and nothing was late.", timedelta(seconds=17)),
    DemoPost("instagram", "One gate, seen from below #engineering", timedelta(seconds=19), (("below.jpg", 50_000),)),
)
