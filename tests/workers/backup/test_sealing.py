"""The encrypted file: what was written is read, and nothing else is."""

import io
import re

import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.backup.keys import BackupKeys, generate_key
from penstock.workers.backup.sealing import FRAME_BYTES, TAG_BYTES, SealedReader, SealedWriter

NAME = "penstock-20261121T020000Z-0a1b2c3d"
KEYS = BackupKeys.from_setting(generate_key("2026a"))
FRAME = FRAME_BYTES + TAG_BYTES


def seal(clear: bytes, keys: BackupKeys = KEYS, name: str = NAME) -> tuple[bytes, str]:
    file = io.BytesIO()
    writer = SealedWriter(file, keys, name)
    for start in range(0, len(clear), 100_000):
        writer.write(clear[start : start + 100_000])
    writer.finish()
    assert writer.count == len(file.getvalue())
    return file.getvalue(), writer.sha256


def unseal(sealed: bytes, sha256: str, keys: BackupKeys = KEYS, name: str = NAME) -> bytes:
    reader = SealedReader(io.BytesIO(sealed), keys, name)
    clear = b"".join(iter(lambda: reader.read(70_000), b""))
    reader.require_end(sha256)
    return clear


def code_of(sealed: bytes, sha256: str, keys: BackupKeys = KEYS, name: str = NAME) -> Code:
    with pytest.raises(PenstockError) as raised:
        unseal(sealed, sha256, keys, name)
    return raised.value.code


def content(size: int) -> bytes:
    return (b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1)))[:size]


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES, 1_000_000])
def test_what_was_written_is_read(size: int) -> None:
    sealed, sha256 = seal(content(size))
    assert unseal(sealed, sha256) == content(size)
    assert size < 100 or content(size)[:50] not in sealed


def test_a_changed_byte_is_noticed_wherever_it_stands() -> None:
    sealed, sha256 = seal(content(3 * FRAME_BYTES + 17))
    header = sealed.index(b"}") + 1
    places = [*range(header), header, header + FRAME - 1, header + FRAME, header + 2 * FRAME + 5, len(sealed) - 1]
    codes = {place: code_of(_flipped(sealed, place), sha256) for place in places}
    # Of the header, what concerns the key may be told as another key.
    assert set(codes.values()) <= {Code.STORAGE_BACKUP_DAMAGED, Code.STORAGE_BACKUP_KEY_UNKNOWN}
    assert {codes[place] for place in places[header:]} == {Code.STORAGE_BACKUP_DAMAGED}


def test_nothing_of_a_changed_frame_is_given_out() -> None:
    sealed, _ = seal(content(3 * FRAME_BYTES))
    header = sealed.index(b"}") + 1
    reader = SealedReader(io.BytesIO(_flipped(sealed, header + FRAME + 9)), KEYS, NAME)
    given = reader.read(FRAME_BYTES)
    assert given == content(3 * FRAME_BYTES)[:FRAME_BYTES]
    with pytest.raises(PenstockError, match="frame 1 "):
        reader.read(1)


def test_a_missing_end_is_noticed_even_at_a_frames_border() -> None:
    sealed, sha256 = seal(content(3 * FRAME_BYTES + 17))
    header = sealed.index(b"}") + 1
    cuts = [header, header + 5, header + FRAME, header + 2 * FRAME, header + 3 * FRAME, len(sealed) - 1]
    assert {code_of(sealed[:cut], sha256) for cut in cuts} == {Code.STORAGE_BACKUP_DAMAGED}


def test_frames_in_another_order_twice_or_beyond_the_end_are_noticed() -> None:
    sealed, sha256 = seal(content(3 * FRAME_BYTES + 17))
    header = sealed.index(b"}") + 1
    first, second = sealed[header : header + FRAME], sealed[header + FRAME : header + 2 * FRAME]
    rest = sealed[header + 2 * FRAME :]
    for other in (second + first + rest, first + first + second + rest, first + rest, first + second + rest + b"x"):
        assert code_of(sealed[:header] + other, sha256) is Code.STORAGE_BACKUP_DAMAGED


def test_a_frame_of_another_file_is_noticed() -> None:
    (sealed, sha256), (other, _) = seal(content(3 * FRAME_BYTES)), seal(content(3 * FRAME_BYTES))
    header = sealed.index(b"}") + 1
    mixed = sealed[: header + FRAME] + other[header + FRAME : header + 2 * FRAME] + sealed[header + 2 * FRAME :]
    assert code_of(mixed, sha256) is Code.STORAGE_BACKUP_DAMAGED


def test_a_whole_file_stands_in_for_no_other() -> None:
    sealed, sha256 = seal(content(100))
    assert code_of(sealed, sha256, name="penstock-20261122T020000Z-0a1b2c3d") is Code.STORAGE_BACKUP_DAMAGED
    again, _ = seal(content(100))
    assert code_of(again, sha256) is Code.STORAGE_BACKUP_DAMAGED


def test_a_wrong_key_is_told_as_such() -> None:
    sealed, sha256 = seal(content(100))
    for setting in (generate_key("2026a"), generate_key("2026b")):
        assert code_of(sealed, sha256, BackupKeys.from_setting(setting)) is Code.STORAGE_BACKUP_KEY_UNKNOWN


def test_an_older_key_still_opens_what_it_closed() -> None:
    old, new = generate_key("2026a"), generate_key("2026b")
    sealed, sha256 = seal(content(100), BackupKeys.from_setting(old))
    both = BackupKeys.from_setting(f"{new},{old}")
    assert unseal(sealed, sha256, both) == content(100)
    sealed, sha256 = seal(content(100), both)
    assert unseal(sealed, sha256, BackupKeys.from_setting(new)) == content(100)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (None, "is not set"),
        ("secret-without-id", "its key 1 is not `id:key`"),
        ("a:" + "A" * 42, "its key 1 is not 32 bytes"),
        ("a:" + "A" * 43 + "=,a:" + "B" * 43 + "=", "two keys of one id"),
    ],
)
def test_a_faulty_setting_is_told_without_its_value(setting: str | None, told: str) -> None:
    with pytest.raises(PenstockError, match=re.escape(told)) as raised:
        BackupKeys.from_setting(setting)
    assert raised.value.code is Code.CONFIG_INVALID
    assert "AAAA" not in str(raised.value.as_dict())
    assert "secret" not in str(raised.value.as_dict())


def _flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)
