"""The form of keys: what is made is read, and nothing else is."""

import string

from hypothesis import example, given
from hypothesis import strategies as st

from penstock.schemas.api_key import ApiKey, Scope

ALPHABET = string.ascii_letters + string.digits
KEYS = st.builds(
    "pk_{}_{}".format, st.text(ALPHABET, min_size=12, max_size=12), st.text(ALPHABET, min_size=43, max_size=43)
)


def test_a_key_that_was_made_is_read_and_has_256_random_bits() -> None:
    made = [ApiKey.make() for _ in range(200)]
    assert [ApiKey.parse(key.text) for key in made] == made
    assert len({key.text for key in made} | {key.prefix for key in made}) == 400
    secrets = [key.text.removeprefix(f"pk_{key.prefix}_") for key in made]
    assert len(ALPHABET) ** len(secrets[0]) > 2**256
    # Each character of the alphabet is drawn: 8,600 draws leave one out with a chance of 1e-59.
    assert set("".join(secrets)) == set(ALPHABET)


def test_a_key_is_not_shown() -> None:
    key = ApiKey.make()
    assert key.text not in repr(key)
    assert key.text[16:] not in f"{key}"


@given(KEYS)
def test_what_has_the_form_is_read_whole(text: str) -> None:
    found = ApiKey.parse(text)
    assert found is not None
    assert (found.text, found.prefix) == (text, text.split("_")[1])


@given(KEYS, st.data())
def test_one_character_more_less_or_other_is_no_key(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character not in ALPHABET))
    assert ApiKey.parse(text[:place] + other + text[place:]) is None
    assert ApiKey.parse(text + "\n") is None
    if place < len(text):
        assert ApiKey.parse(text[:place] + text[place + 1 :]) is None
        if text[place] != other:
            assert ApiKey.parse(text[:place] + other + text[place + 1 :]) is None


@given(st.text())
@example("pk__")
@example("pk_" + "a" * 12 + "_" + "é" * 43)
@example("pk_" + "٣" * 12 + "_" + "3" * 43)
@example("PK_" + "a" * 12 + "_" + "a" * 43)
@example("pk_" + "a" * 100_000)
def test_any_text_is_read_or_refused(text: str) -> None:
    found = ApiKey.parse(text)
    assert found is None or (found.text == text and text.isascii() and len(text) == 59)


def test_scopes_stand_for_themselves_alone() -> None:
    assert all(scope.count(":") == 1 and "*" not in scope for scope in Scope)
