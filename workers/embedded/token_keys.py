"""The key of accounts' tokens on one machine: made once in the home, for the database that is in the home too.

Who brings a database of his own brings the keys of what is in it, since processes elsewhere need the same ones.
"""

from collections.abc import Callable, Mapping

from penstock.workers.embedded.home import Home

SETTING = "PENSTOCK_TOKEN_KEYS"
#: The id of the key that is made here.
KEY_ID = "home"


def token_keys_of(home: Home, environment: Mapping[str, str]) -> dict[str, str]:
    """The variable that names the file of the home's keys; none where the environment names keys, or there are none."""
    named = f"{SETTING}_FILE"
    if environment.get(SETTING) or environment.get(named) or not home.token_keys_file.exists():
        return {}
    return {named: str(home.token_keys_file)}


def with_token_keys(home: Home, environment: Mapping[str, str], make: Callable[[str], str]) -> dict[str, str]:
    """The environment with the home's keys; where it names none, and there are none, `make` makes one of that id."""
    if not (environment.get(SETTING) or environment.get(f"{SETTING}_FILE")):
        home.ensure_token_keys(lambda: make(KEY_ID))
    return {**environment, **token_keys_of(home, environment)}
