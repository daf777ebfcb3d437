"""Text from outside on a page: escaped, control characters and direction marks visible, long texts cut."""

import json
import re
from typing import Any

from markupsafe import Markup, escape

#: Characters that change how others are shown, or that can't be seen: C0 and C1 controls, direction marks,
#: zero-width ones, line separators, tags, unpaired surrogates and the byte order mark.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_NAMES = {
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200d": "ZWJ",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
    "\u061c": "ALM",
    "\ufeff": "BOM",
}
#: Characters of one text that a page shows; the whole is a click away.
CUT_AT = 600
#: Characters of a payload that a page shows.
PAYLOAD_CUT_AT = 24_000
_DEPTH = 40


def visible(text: str) -> str:
    """The text with a symbol in the place of each character that could not be seen, or would move others.

    Tab and line feed stay. What comes out has no power over what stands around it.
    """
    return _UNSEEN.sub(lambda found: _symbol(found[0]), text)


def _symbol(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"⟨{_NAMES.get(character) or f'U+{code:04X}'}⟩"


def finalize(value: Any) -> Any:
    """What every expression of every template goes through before it is escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def isolated(value: object, cut_at: int = CUT_AT) -> Markup:
    """Text in a direction of its own, cut where it is long."""
    text = "" if value is None else str(value)
    if len(text) <= cut_at:
        return Markup("<bdi>{}</bdi>").format(visible(text))
    return Markup('<bdi>{}</bdi><span class="cut">… {} characters more</span>').format(
        visible(text[:cut_at]), f"{len(text) - cut_at:,}"
    )


_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b')


def pretty_json(value: Any) -> str:
    """JSON to read and to edit: indented, with escapes for what can't be seen. It parses to the same value."""
    return escaped_json(json.dumps(value, ensure_ascii=False, indent=2))


def escaped_json(text: str) -> str:
    """JSON with escapes for what can't be seen; such characters stand within strings alone."""
    return _UNSEEN.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def coloured_json(text: str) -> Markup:
    """Indented JSON with its parts marked."""
    parts: list[Markup] = []
    at = 0
    for found in _TOKEN.finditer(text):
        parts += [escape(visible(text[at : found.start()])), _marked(found)]
        at = found.end()
    parts.append(escape(visible(text[at:])))
    return Markup("").join(parts)


def _marked(found: re.Match[str]) -> Markup:
    string, colon, digits, word = found.groups()
    if string is None:
        return Markup('<span class="j-{}">{}</span>').format("n" if digits else "w", digits or word)
    kind = "k" if colon else "s"
    return Markup('<span class="j-{}">{}</span>{}').format(kind, visible(string), colon or "")


class Excerpt:
    """What a page shows of a payload: long texts are cut, and so is what comes after so many characters.

    Attributes:
        value: what is left; where something is left out, it says how much.
        is_cut: whether something is.
    """

    def __init__(self, payload: Any, limit: int = PAYLOAD_CUT_AT) -> None:
        self._left = limit
        self.is_cut = False
        self.value = self._short(payload, 0)

    def _short(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        self._left -= 8
        if isinstance(value, dict | list) and depth > _DEPTH:
            self.is_cut = True
            return "… deeper than a page shows"
        if isinstance(value, dict):
            return self._members(value, depth)
        return self._elements(value, depth) if isinstance(value, list) else value

    def _text(self, text: str) -> str:
        self._left -= min(len(text), CUT_AT)
        if len(text) <= CUT_AT:
            return text
        self.is_cut = True
        return f"{text[:CUT_AT]}… {len(text) - CUT_AT:,} characters more"

    def _members(self, members: dict[Any, Any], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for place, (name, value) in enumerate(members.items()):
            if self._left <= 0:
                self.is_cut = True
                shown["…"] = f"{len(members) - place:,} more"
                break
            shown[self._text(str(name))] = self._short(value, depth + 1)
        return shown

    def _elements(self, elements: list[Any], depth: int) -> list[Any]:
        shown: list[Any] = []
        for place, value in enumerate(elements):
            if self._left <= 0:
                self.is_cut = True
                shown.append(f"… {len(elements) - place:,} more")
                break
            shown.append(self._short(value, depth + 1))
        return shown
