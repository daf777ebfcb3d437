"""DATABASE_URL looked at before anybody connects: libpq tells of a mistyped switch only then, and again and again."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

DATABASE_SCHEMES = ("postgresql://", "postgres://")

#: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_VALUES: Mapping[str, frozenset[str]] = {
    "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
    "sslnegotiation": frozenset({"postgres", "direct"}),
    "sslcertmode": frozenset({"disable", "allow", "require"}),
    "channel_binding": frozenset({"disable", "prefer", "require"}),
    "gssencmode": frozenset({"disable", "prefer", "require"}),
}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir")
#: The authorities that the machine trusts, in place of a file.
_SYSTEM = "system"


def require_usable(url: str) -> str:
    """See that libpq can read the URL, and that what it says of TLS has a meaning; returns the URL.

    A file that is not there is an error as well: libpq goes on without a client certificate, and with
    `sslmode=require` without looking at the server's.

    Raises:
        ValueError: tells what is wrong and no part of the URL.
    """
    if not url.startswith(DATABASE_SCHEMES):
        raise ValueError(f"must begin with one of {', '.join(DATABASE_SCHEMES)}")
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ValueError(_unreadable(str(error))) from None
    for name, values in _VALUES.items():
        if parameters.get(name, next(iter(values))) not in values:
            raise ValueError(f"its parameter {name} must be one of {', '.join(sorted(values))}")
    for name in _FILES:
        given = str(parameters.get(name) or _SYSTEM)
        if given != _SYSTEM and not _is_uri(given) and not Path(given).expanduser().exists():
            raise ValueError(f"what its parameter {name} names is not there")
    return url


def _unreadable(said: str) -> str:
    if "invalid URI query parameter" not in said:
        return "can't be read; write postgresql://user:password@host:port/database, special characters %-encoded"
    # The name itself may be part of a password that has an unencoded question mark.
    known = [option.keyword.decode() for option in Conninfo.get_defaults()]
    wrong = said.partition('"')[2].partition('"')[0]
    like = get_close_matches(wrong.lower(), known, n=1, cutoff=0.7)
    return "has an unknown parameter" + (f"; is {like[0]} meant?" if like else "")


def _is_uri(value: str) -> bool:
    """Whether it names a key in a piece of hardware, which libpq takes for sslkey, and not a file."""
    return ":" in value and not value.startswith(("/", ".", "~"))
