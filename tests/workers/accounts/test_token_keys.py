"""Tokens at rest open with their key, for their account, and show themselves nowhere."""

import copy
import json
import logging
import pickle
import uuid
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet

from penstock.schemas.errors import InvalidInputError, PenstockError
from penstock.workers.accounts.secret import Secret
from penstock.workers.accounts.token_keys import TokenKeys
from penstock.workers.settings import WorkerSettings
from tests.posts_kit import KEY, KEYS, tokens_of

ACCOUNT = uuid.uuid4()
NEW_KEY = Fernet.generate_key().decode()
HIDDEN = "tell-nobody"


def test_a_secret_shows_itself_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(HIDDEN)
    logging.getLogger("penstock.test").error("%s %r", secret, {"token": secret})
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}", repr(tokens_of(HIDDEN)), caplog.text]
    assert not any(HIDDEN in text for text in shown)
    assert secret.get_secret_value() == HIDDEN


@pytest.mark.parametrize("write", [pickle.dumps, copy.deepcopy, json.dumps], ids=lambda write: write.__name__)
def test_a_secret_is_not_written_anywhere(write: object) -> None:
    with pytest.raises(TypeError):
        write(Secret(HIDDEN))  # type: ignore[operator]


def test_what_is_sealed_opens_and_its_text_is_not_in_it() -> None:
    sealed = KEYS.seal(ACCOUNT, tokens_of(HIDDEN, None))
    assert KEYS.open(ACCOUNT, sealed) == tokens_of(HIDDEN, None)
    assert HIDDEN.encode() not in sealed.access
    assert HIDDEN not in repr(sealed)


def test_the_first_key_seals_and_all_open() -> None:
    old = KEYS.seal(ACCOUNT, tokens_of())
    both = TokenKeys.from_setting(f"k2:{NEW_KEY}\nk1:{KEY}\n")
    assert both.open(ACCOUNT, old) == tokens_of()
    new = both.seal(ACCOUNT, tokens_of())
    assert (old.key_id, new.key_id) == ("k1", "k2")
    with pytest.raises(PenstockError, match=r"ACCOUNT_TOKEN_UNREADABLE.*'k2', which PENSTOCK_TOKEN_KEYS lacks"):
        KEYS.open(ACCOUNT, new)


def test_tokens_of_another_account_or_place_or_key_do_not_open() -> None:
    sealed = KEYS.seal(ACCOUNT, tokens_of())
    swapped = replace(sealed, access=sealed.refresh, refresh=sealed.access)
    broken = replace(sealed, access=sealed.access[:-1])
    other_key = TokenKeys.from_setting(f"k1:{NEW_KEY}")
    for keys, account, tokens in (
        (KEYS, uuid.uuid4(), sealed),
        (KEYS, ACCOUNT, swapped),
        (KEYS, ACCOUNT, broken),
        (other_key, ACCOUNT, sealed),
    ):
        with pytest.raises(PenstockError, match="ACCOUNT_TOKEN_UNREADABLE"):
            keys.open(account, tokens)


WRONG = {
    "nothing": None,
    "white space": " ,\n",
    "no id": KEY,
    "an id that is none": f"a b:{KEY}",
    "a key that is short": f"k1:{KEY[:-4]}",
    "two of one id": f"k1:{KEY},k1:{NEW_KEY}",
}


@pytest.mark.parametrize("setting", WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_told_without_its_value(setting: str | None) -> None:
    with pytest.raises(InvalidInputError, match="CONFIG_INVALID: PENSTOCK_TOKEN_KEYS") as refused:
        TokenKeys.from_setting(setting)
    assert KEY[:20] not in str(refused.value.as_dict())


def test_keys_may_come_from_a_file_and_are_not_shown(tmp_path: object) -> None:
    file = tmp_path / "keys"  # type: ignore[operator]
    file.write_text(f"k2:{NEW_KEY}\nk1:{KEY}\n")
    environment = {"REDIS_URL": "redis://r", "DATABASE_URL": "postgresql://d", "PENSTOCK_TOKEN_KEYS_FILE": str(file)}
    settings = WorkerSettings.from_environment(environment)
    assert TokenKeys.from_setting(settings.token_keys).current == "k2"
    assert KEY not in repr(settings)
