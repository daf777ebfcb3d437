"""The secrets of digests: any of them checks, the first digests, and a wrong setting is told without its value."""

import hashlib
import hmac
from pathlib import Path

import pytest

from penstock.producers.settings import ApiKeySettings
from penstock.producers.storage.api_key_secrets import KeySecrets
from penstock.schemas.api_key import ApiKey
from penstock.schemas.errors import InvalidInputError

OLD, NEW = "o" * 32, "n" * 40
KEY = ApiKey.make()


def test_the_digest_is_hmac_sha_256_of_the_whole_key() -> None:
    digests = KeySecrets.from_setting(f"k1:{OLD}").digests(KEY)
    assert digests == {"k1": hmac.new(OLD.encode(), KEY.text.encode(), hashlib.sha256).digest()}


def test_an_older_secret_still_checks_its_keys() -> None:
    before, after = KeySecrets.from_setting(f"k1:{OLD}"), KeySecrets.from_setting(f"k2:{NEW},\n k1:{OLD}\n")
    stored = before.digests(KEY)["k1"]
    assert after.current == "k2"
    assert after.match(after.digests(KEY), "k1", stored)
    assert not after.match(after.digests(KEY), "k2", stored)
    assert not after.match(after.digests(ApiKey.make()), "k1", stored)


def test_a_secret_that_is_gone_matches_nothing_not_even_a_digest_of_zeros() -> None:
    secrets = KeySecrets.from_setting(f"k2:{NEW}")
    for secret_id in ("k1", ""):
        assert not secrets.match(secrets.digests(KEY), secret_id, bytes(32))
        assert not secrets.match(secrets.digests(KEY), secret_id, secrets.digests(KEY)["k2"])


WRONG = {
    "nothing": None,
    "white space": " ,\n",
    "no id": OLD,
    "an id that is none": f"a b:{OLD}",
    "a secret that is short": f"k1:{OLD[:-1]}",
    "a secret with a space": f"k1:{OLD[:-1]} x",
    "two of one id": f"k1:{OLD},k1:{NEW}",
}


@pytest.mark.parametrize("setting", WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_told_without_its_value(setting: str | None) -> None:
    with pytest.raises(InvalidInputError, match="CONFIG_INVALID: PENSTOCK_API_KEY_SECRET") as refused:
        KeySecrets.from_setting(setting)
    assert OLD[:20] not in str(refused.value.as_dict())


def test_secrets_may_come_from_a_file_and_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"k2:{NEW}\nk1:{OLD}\n")
    settings = ApiKeySettings.from_environment({"PENSTOCK_API_KEY_SECRET_FILE": str(file)})
    assert KeySecrets.from_setting(settings.api_key_secret).current == "k2"
    assert OLD not in repr(settings)
