"""Words of a dead letter that can be searched for: the same cutting for what is stored and what is asked."""

import re
from collections.abc import Iterable
from typing import Any

#: What parts words. PostgreSQL's own parser reads host names, numbers and signs into ids; it is given bare words.
_BREAK = re.compile(r"[\W_]+")
#: A piece of a query: quoted, or a word with what precedes it.
_PIECE = re.compile(r'(-?)"([^"]*)"?|(\S+)')
#: PostgreSQL ignores words over 2,046 bytes, and its vectors end at a megabyte.
_WORD_LIMIT = 200
_TEXT_LIMIT = 20_000
#: Parts of a piece from which on it is joined.
_PARTS_LIMIT = 8


def searchable(texts: Iterable[str | None]) -> str:
    """These texts as bare words in small letters, parted by spaces.

    What has breaks within (`BATCH_CONFLICT`, `psycopg.errors.UniqueViolation`, an id) is there by its parts, and joined
    from each part on: one word is found by the index alone, where a phrase has to be looked for in each letter.
    """
    text = " ".join(text for text in texts if text)[:_TEXT_LIMIT]
    joined = {whole for piece in text.split() for whole in _joined(_words(piece))}
    return " ".join([*_words(text), *sorted(joined)])


def _joined(parts: list[str]) -> list[str]:
    return ["".join(parts[place:])[:_WORD_LIMIT] for place in range(min(len(parts) - 1, _PARTS_LIMIT))]


def text_condition(name: str, text: str, parameters: dict[str, Any]) -> str:
    """The condition in SQL on the column `search`; adds its parameters, whose names begin with `name`."""
    pieces = [found.groups() for found in _PIECE.finditer(text)]
    last = _words(pieces[-1][2]) if pieces and pieces[-1][2] and not pieces[-1][2].startswith("-") else []
    if [word for word in last if word not in {"or", "and"}]:
        pieces.pop()
    else:
        last = []
    asked = " ".join(filter(None, (_websearch(*piece) for piece in pieces)))
    # An `or` before the last word belongs to it; PostgreSQL would take it for a word that is looked for.
    either = asked.endswith(" or")
    asked = asked.removesuffix(" or")
    queries = []
    if asked:
        parameters[name] = asked
        queries.append(f"websearch_to_tsquery('simple', %({name})s)")
    if last:
        parameters[f"{name}_last"] = f"{''.join(last)[:_WORD_LIMIT]}:*"
        queries.append(f"to_tsquery('simple', %({name}_last)s)")
    return f"search @@ ({(' || ' if either else ' && ').join(queries)})" if queries else "false"


def _websearch(sign: str, quoted: str | None, word: str | None) -> str:
    """A piece for `websearch_to_tsquery`; a word that has breaks within is asked for joined."""
    if word is not None:
        sign, quoted = ("-", word[1:]) if word.startswith("-") else ("", word)
        if quoted.lower() == "or":
            return "or"
        return f'{sign}"{whole}"' if (whole := "".join(_words(quoted))[:_WORD_LIMIT]) else ""
    words = _words(quoted or "")
    return f'{sign}"{" ".join(words)}"' if words else ""


def _words(text: str) -> list[str]:
    return [word[:_WORD_LIMIT] for word in _BREAK.split(text.lower()) if word]
