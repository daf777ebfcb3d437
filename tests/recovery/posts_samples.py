"""Posts for trials: real texts where the samples are at hand, made-up ones elsewhere; each text is one of a kind."""

import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.schemas.post_content import Media, PostContent
from penstock.schemas.post_rules import FACEBOOK, INSTAGRAM, MASTODON, YOUTUBE, ContentRules, content_faults

#: `posts.jsonl`, one `{"platform", "text", "media"?}` a line. The project does not hold it.
FILE = Path(
    os.environ.get("PENSTOCK_TEST_POSTS") or Path(__file__).parents[3] / "shared" / "data" / "posts" / "posts.jsonl"
)
RULES: dict[str, ContentRules] = {
    "facebook": FACEBOOK,
    "instagram": INSTAGRAM,
    "mastodon": MASTODON,
    "youtube": YOUTUBE,
}
#: The address of a file of a name and a size in bytes.
FileAddress = Callable[[str, int], str]

#: The samples know no Mastodon: of the Facebook ones that are short enough, each so-many-th goes there.
_MASTODON_EVERY = 4
_PICTURE_BYTES, _VIDEO_BYTES = 1_000, 40_000


@dataclass(frozen=True, slots=True)
class Sample:
    """A post that was not made for a trial."""

    platform: str
    text: str
    pictures: int


@dataclass(frozen=True, slots=True)
class PlannedPost:
    """A post that its platform takes, without account and instant."""

    platform: str
    content: PostContent


def samples() -> list[Sample]:
    """The samples, with some given to Mastodon."""
    found = list(_read() if FILE.is_file() else _made_up())
    short = itertools.count()
    return [
        Sample("mastodon", sample.text, sample.pictures)
        if sample.platform == "facebook" and len(sample.text) <= 450 and next(short) % _MASTODON_EVERY == 0
        else sample
        for sample in found
    ]


def planned_posts(count: int, file: FileAddress) -> list[PlannedPost]:
    """So many posts, samples by turns; what breaks a platform's rule is cut or added."""
    made = [_planned(sample, number, file) for number, sample in enumerate(itertools.islice(_endless(), count))]
    for post in made:
        assert content_faults(RULES[post.platform], post.content, {"127.0.0.1"}) == []
    return made


def _endless() -> Iterator[Sample]:
    return itertools.cycle(samples())


def _planned(sample: Sample, number: int, file: FileAddress) -> PlannedPost:
    # Two posts of one text can't be told apart in a record.
    text = _cut(sample, f" [{number:05}]")
    options: dict[str, Any] = {}
    media: tuple[Media, ...] = ()
    if sample.platform == "youtube":
        media = (Media(url=file(f"v{number}.mp4", _VIDEO_BYTES), kind="video"),)
        options = {"title": f"[{number:05}] {text.splitlines()[0]}"[:100]}
    elif sample.pictures or sample.platform == "instagram":
        media = (Media(url=file(f"p{number}.jpg", _PICTURE_BYTES), kind="image"),)
    return PlannedPost(sample.platform, PostContent(text=text, media=media, options=options))


def _cut(sample: Sample, tag: str) -> str:
    rules, text = RULES[sample.platform], sample.text
    for character in rules.text_without:
        text = text.replace(character, "")
    while rules.measure(text + tag) > rules.text_limit:
        text = text[: len(text) * 9 // 10]
    return text.rstrip() + tag


def _read() -> Iterator[Sample]:
    for line in FILE.read_text("utf-8").splitlines():
        row = json.loads(line)
        yield Sample(row["platform"], row["text"], len(row.get("media", ())))


def _made_up() -> Iterator[Sample]:
    """The proportions of the samples, in words of our own."""
    words = (
        "Rain",
        "Läuft wieder",
        "開館時間",
        "Расписание",
        "🌉 Bridge closed",
        "Minutes of the meeting\n\nAll agreed",
    )
    platforms = ("facebook",) * 6 + ("instagram",) * 2 + ("youtube",) * 2
    for number in range(200):
        yield Sample(platforms[number % 10], f"{words[number % len(words)]} & more, no. {number}", int(number % 7 == 0))
