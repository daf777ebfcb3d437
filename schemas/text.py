"""Text as people send it: what white space is, and what PostgreSQL's jsonb can't hold."""

import re

#: The characters with the Unicode property White_Space (PropList.txt), which has been the same since Unicode 6.3.
#: `str.strip()` would take U+001C to U+001F too, which Unicode calls separators of data.
WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def trim(text: str) -> str:
    """`text` without white space at its ends, no-break spaces included."""
    return text.strip(WHITE_SPACE)


def is_storable(text: str) -> bool:
    """Whether `jsonb` can hold `text`: it has neither U+0000 nor an unpaired surrogate."""
    return _UNSTORABLE.search(text) is None
