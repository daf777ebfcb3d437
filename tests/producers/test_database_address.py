"""DATABASE_URL is looked at before anybody connects, and what is wrong is told without any part of it."""

from pathlib import Path

import psycopg
import pytest

from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.settings import ProducerSettings
from penstock.producers.storage.address import require_usable
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.refusals import refusal_of
from penstock.workers.settings import WorkerSettings

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("sslmode=verify_full", "sslmode must be one of"),
        ("sslmode=VERIFY-FULL", "sslmode must be one of"),
        ("sslmode=requrie", "sslmode must be one of"),
        ("sslmode=on", "sslmode must be one of"),
        ("sslmode=", "sslmode must be one of"),
        ("sslmod=verify-full", "is sslmode meant"),
        ("sslMode=verify-full", "is sslmode meant"),
        ("ssl_root_cert=/ca.pem", "is sslrootcert meant"),
        ("ssl=yes", "unknown parameter"),
        ("sslnegotiation=directly", "sslnegotiation must be one of"),
        ("channel_binding=yes", "channel_binding must be one of"),
        ("sslmode=require&sslrootcert=/no/ca.pem", "sslrootcert names is not there"),
        ("sslmode=verify-full&sslcert=/no/client.pem", "sslcert names is not there"),
        ("sslmode=verify-full&sslkey=/no/client.key", "sslkey names is not there"),
    ],
)
@pytest.mark.parametrize("settings", [WorkerSettings, GatewaySettings])
def test_a_mistyped_switch_is_an_error(settings: type[ProducerSettings], rest: str, told: str) -> None:
    url = f"postgresql://worker:{SECRET}@127.0.0.1:1/penstock?{rest}"
    with pytest.raises(InvalidInputError, match=told) as caught:
        settings.from_environment({"REDIS_URL": "redis://127.0.0.1/0", "DATABASE_URL": url})
    assert caught.value.code is Code.CONFIG_INVALID
    assert SECRET not in str(caught.value.as_dict())


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://worker:{SECRET}@host/penstock",
        f"host=127.0.0.1 password={SECRET}",
        f"postgresql://worker@host/penstock?{SECRET}=1",
        f"postgresql://worker:{SECRET}%zz@host/penstock",
        f"postgresql://worker:{SECRET}@[::1/penstock",
    ],
)
def test_no_part_of_an_unreadable_address_is_told(url: str) -> None:
    with pytest.raises(ValueError, match=r"must begin|can't be read|unknown parameter") as caught:
        require_usable(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_what_means_something_is_let_be(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    for rest in (
        "",
        "?sslmode=disable",
        "?ssl=true",
        f"?sslmode=verify-full&sslrootcert={authority}",
        "?sslmode=verify-full&sslrootcert=system",
        "?sslmode=verify-full&sslkey=pkcs11:token%3Dt&sslnegotiation=direct",
        "?target_session_attrs=read-write&application_name=x",
    ):
        url = f"postgresql://worker:{SECRET}@one:1,two:2/penstock{rest}"
        assert require_usable(url) == url


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("SSL error: certificate verify failed", "sslrootcert"),
        ('server certificate for "a" (and 1 other name) does not match host name "b"', "another host name"),
        ("server does not support SSL, but SSL was required", "no TLS"),
        ("FATAL:  connection requires a valid client certificate", "client certificate"),
        ("SSL error: tlsv1 alert unknown ca", "authority of the client certificate"),
        ("SSL error: sslv3 alert certificate expired", "refuses the client certificate"),
        ("connection refused\n\tIs the server running on that host?", None),
        ("FATAL:  the database system is starting up", None),
    ],
)
def test_a_refusal_is_told_apart_from_an_absence(said: str, told: str | None) -> None:
    found = refusal_of(psycopg.OperationalError(said))
    assert (found is None) == (told is None)
    assert (told or "") in (found or "")
