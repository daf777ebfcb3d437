"""Derived ids are the same everywhere and for ever: golden values, and uuid's own derivation."""

import hashlib
import uuid

import pytest

from penstock.schemas.identity import ROOT, SubmissionIds, form_namespace, job_id, parse_uuid, uuid7_unix_ms


def test_derived_ids_never_change() -> None:
    ids = SubmissionIds("default", "strikes")
    assert job_id("default", "submission_batch.write", "b-0001") == uuid.UUID("11e68547-3ad0-80ad-9324-8f842ba3c660")
    assert uuid.UUID(bytes=ids.of_external("row-1")) == uuid.UUID("d4077d4f-f202-5547-8ff9-c8cfd1ede004")
    assert uuid.UUID(bytes=ids.of_positions("b")(41)) == uuid.UUID("b8f0da7d-6807-5b63-b758-5b57e6a97095")


@pytest.mark.parametrize("name", ["b-0001", "", "é/x", "k" * 200])
def test_the_id_of_a_job_is_a_sha_256_in_the_shape_of_a_uuid(name: str) -> None:
    """As SQL derives it: sixteen bytes of the hash, with the bits of version 8 and of the variant set."""
    made = job_id("acme", "kind", name)
    hashed = hashlib.sha256(ROOT.bytes + f"job/acme/kind/{name}".encode()).digest()[:16]
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    differing = made.int ^ int.from_bytes(hashed)
    assert differing & ~(0xF << 76 | 0x3 << 62) == 0


def test_jobs_of_other_tenants_kinds_and_keys_are_other_jobs() -> None:
    made = {job_id(tenant, kind, key) for tenant in ("a", "b") for kind in ("k", "l") for key in ("1", "2")}
    assert len(made) == 8


def test_derivation_is_uuid5_of_the_forms_namespace() -> None:
    namespace = form_namespace("acme", "f")
    assert uuid.UUID(bytes=SubmissionIds("acme", "f").of_external("x/é")) == uuid.uuid5(namespace, "id/x/é")
    assert uuid.UUID(bytes=SubmissionIds("acme", "f").of_positions("b")(7)) == uuid.uuid5(namespace, "row/b/7")


def test_forms_and_tenants_do_not_share_ids() -> None:
    made = {SubmissionIds(tenant, form).of_external("1") for tenant in ("a", "b") for form in ("f", "g")}
    assert len(made) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0193f2a0-0000-7000-8000-000000000000", True),
        ("0193F2A0-0000-7000-8000-000000000000", True),
        ("{0193f2a0-0000-7000-8000-000000000000}", False),
        ("0193f2a0000070008000000000000000", False),
        ("urn:uuid:0193f2a0-0000-7000-8000-000000000000", False),
        ("0193f2a0-0000-7000-8000-000000000000\n", False),
        ("row-1", False),
    ],
)
def test_only_the_hyphenated_form_is_a_uuid(text: str, expected: bool) -> None:
    assert (parse_uuid(text) is not None) is expected


def test_the_instant_of_a_uuid7() -> None:
    # RFC 9562, appendix A.6: 2022-02-22T19:22:22.000Z.
    assert uuid7_unix_ms(uuid.UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")) == 1_645_557_742_000
    assert uuid7_unix_ms(uuid.uuid4()) is None
