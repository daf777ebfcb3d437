"""What holds for every form and every row: the fast path, totality, idempotence, and what jsonb takes."""

import json
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.schemas.forms import Form
from penstock.schemas.text import WHITE_SPACE
from penstock.workers.answers.form_rules import FormRules
from tests.conftest import BlankDatabase
from tests.recovery.servers import full

OPTIONS = ["Ja", " Nein\u00a0", 'say "x"', "back\\slash", "Größe", "5", "N/A"]
SETTINGS: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "max_length": 8},
    "emptied text": {"type": "text", "empty_values": ["N/A", "5"]},
    "textarea": {"type": "textarea"},
    "email": {"type": "email"},
    "phone": {"type": "phone", "region": "DE"},
    "number": {"type": "number"},
    "bounded": {"type": "number", "min": "-0.1", "max": "100"},
    "emptied number": {"type": "number", "min": 0, "empty_values": ["5"]},
    "oddly bounded": {"type": "number", "min": "0.10000000000000000001", "max": "9223372036854775808"},
    "far": {"type": "number", "min": "1e25"},
    "date": {"type": "date"},
    "emptied date": {"type": "date", "empty_values": ["1900-01-01"]},
    "time": {"type": "time"},
    "datetime": {"type": "datetime"},
    "select": {"type": "select", "options": OPTIONS, "empty_values": [" N/A"]},
    "radio": {"type": "radio", "options": OPTIONS},
    "multiselect": {"type": "multiselect", "options": OPTIONS},
    "checkbox": {"type": "checkbox"},
    "checkboxes": {"type": "checkbox", "options": OPTIONS},
    "boolean": {"type": "boolean", "empty_values": ["no"]},
    "rating": {"type": "rating"},
    "rating in words": {"type": "rating", "options": OPTIONS},
    "file": {"type": "file"},
}
RULES = FormRules(
    Form.model_validate(
        {
            "title": "Every type",
            "timezone": "America/New_York",
            "questions": [{"id": id_, "text": id_, **question} for id_, question in SETTINGS.items()],
        }
    )
)


class Literally(str):
    """JSON text that stands as it is."""

    __slots__ = ()


def _quoted(text: str, escaped: bool) -> str:
    return json.dumps(text, ensure_ascii=escaped)


SPACES = st.text(st.sampled_from(WHITE_SPACE + "\x1c"), max_size=2)
CHARACTERS = st.one_of(
    st.characters(), st.sampled_from('"\\,:[]{}0129eE.+-/@ \n\x00\u00a0\u2003é🎉'), st.just("\ud800"), st.just("\udc00")
)
INTERESTING = st.sampled_from(
    [
        *OPTIONS,
        *("true", "NO", "yes", "1900-01-01", "2024-02-29", "2023-02-29", "23:59", "24:00"),
        *("2026-03-08 02:30", "2026-11-01T01:30:00", "2026-01-01T00:00:00.120Z", "2026-01-01T00:00:00+01:00"),
        *("a@example.org", "A@EXAMPLE.org", "+4930123456", "030 123456", "70000.", ".5", "1e3", "NaN"),
    ]
)
TEXTS = st.one_of(
    INTERESTING, st.text(CHARACTERS, max_size=9), INTERESTING.flatmap(lambda t: SPACES.map(lambda s: s + t + s))
)
DIGITS = st.text(st.sampled_from("0123456789"), min_size=1, max_size=20)
NUMBERS = st.one_of(
    st.integers(-3, 12).map(str),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["-0", "-0.0", "1E5", "0.1", "0.10000000000000000001", "-0.1", "100.0", "1e-400", "1e400", "5.0"]),
    st.sampled_from(["9223372036854775807", "9223372036854775808", "-9223372036854775809", "0.10000000000000001"]),
    st.builds("{}.{}".format, st.integers(-9, 9), DIGITS),
    st.builds("{}e{}".format, st.integers(-9, 9), st.integers(-20_000, 20_000)),
)
BOOLEANS = st.booleans()
FILES = st.fixed_dictionaries(
    {
        "url": st.sampled_from(["https://a.example/b", "http://a.example", "https://"]) | TEXTS,
        "name": TEXTS,
        "size": NUMBERS.map(Literally),
        "content_type": st.sampled_from(["image/png", "pdf"]),
    },
    optional={"sha256": st.sampled_from(["a" * 64, "A" * 64, "a" * 63]), "more": TEXTS},
)
ANSWERS = st.one_of(
    TEXTS, NUMBERS.map(Literally), BOOLEANS, st.lists(TEXTS, max_size=3), st.none(), FILES, st.just({"a": [[]]})
)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "number": NUMBERS.map(Literally),
    "boolean": BOOLEANS,
    "checkbox": BOOLEANS,
    "rating": NUMBERS.map(Literally),
    "multiselect": st.lists(st.sampled_from(OPTIONS), max_size=3),
    "select": st.sampled_from(OPTIONS),
    "file": FILES,
}


def _json(value: Any, escaped: bool, space: str) -> str:
    if isinstance(value, Literally):
        return value
    if isinstance(value, str):
        return _quoted(value, escaped)
    if isinstance(value, list):
        return f"[{f',{space}'.join(_json(item, escaped, space) for item in value)}]"
    if isinstance(value, dict):
        return _members(list(value.items()), escaped, space)
    return json.dumps(value)


def _members(members: list[tuple[str, Any]], escaped: bool, space: str) -> str:
    written = (f"{_quoted(name, escaped)}:{space}{_json(value, escaped, space)}" for name, value in members)
    return "{" + f",{space}".join(written) + "}"


def _member() -> st.SearchStrategy[tuple[str, Any]]:
    def answers_to(name: str) -> st.SearchStrategy[tuple[str, Any]]:
        fitting = FITTING.get(str(SETTINGS[name]["type"]), TEXTS) if name in SETTINGS else ANSWERS
        return st.tuples(st.just(name), fitting | fitting | ANSWERS)

    return st.sampled_from([*SETTINGS] * 9 + ["unknown", "\ud800"]).flatmap(answers_to)


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """Rows of one to three answers, most of the type that is wanted, written in all the ways JSON has."""
    members = draw(st.lists(_member(), min_size=1, max_size=3))
    text = _members(members, draw(st.booleans()), draw(st.sampled_from(["", " ", "\n\t"])))
    return text.encode(errors="surrogatepass")


MANY = settings(max_examples=500 if full() else 150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(rows())
@example(b'{"emptied number":0.0}')
@example(b'{"bounded":-0.1000000000000000000001}')
@example(b'{"oddly bounded":0.10000000000000000001}')
@example(b'{"file":{"url":"https://a.example","name":"a","size":-0,"content_type":"a/b"}}')
def test_the_fast_path_says_yes_only_where_the_rules_change_nothing(sent: bytes) -> None:
    assert RULES.check(sent) == RULES.judge(sent)


@MANY
@given(st.lists(rows(), max_size=5))
@example([b'{"text":"a"}', b'{"text":" a"}', b'{"text":"a\xc2\xa0"}', b'{"text":"\\u0000"}', b'{"text":"a "}'])
def test_several_rows_are_judged_as_each_by_itself(sent: list[bytes]) -> None:
    several = [one for one in sent if _is_one_value(one)]
    assert list(RULES.check_all(several)) == [RULES.judge(one) for one in several]


def _is_one_value(text: bytes) -> bool:
    """What a decoder can have cut out of a batch."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


@MANY
@given(rows())
def test_canonical_answers_stay_as_they_are(sent: bytes) -> None:
    canonical = RULES.check(sent)
    if isinstance(canonical, bytes):
        assert RULES.check(canonical) is canonical
        assert RULES.judge(canonical) is canonical


@MANY
@given(
    st.binary() | rows().flatmap(lambda sent: st.integers(0, len(sent)).map(lambda at: sent[:at] + b"\\" + sent[at:]))
)
def test_any_bytes_are_judged(sent: bytes) -> None:
    outcome = RULES.check(sent)
    assert outcome == RULES.judge(sent)
    assert outcome


@pytest.mark.parametrize("question", [pytest.param(name, id=name) for name in SETTINGS])
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_each_type_alone(question: str, data: st.DataObject) -> None:
    fitting = FITTING.get(SETTINGS[question]["type"], TEXTS)
    sent = _members([(question, data.draw(fitting))], data.draw(st.booleans()), "").encode(errors="surrogatepass")
    assert RULES.check(sent) == RULES.judge(sent)


def test_jsonb_takes_what_is_accepted_and_every_fault(blank_database: BlankDatabase) -> None:
    with psycopg.connect(blank_database.admin_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE answers (sent jsonb)")

        @settings(MANY, max_examples=300 if full() else 100)
        @given(rows())
        @example(b'{"number":0e99999}')
        @example(b'{"number":"0e-16383"}')
        @example(b'{"number":-0.0}')
        @example(b'{"number":1e-16383}')
        @example(b'{"number":' + b"0." + b"0" * 16_382 + b"1}")
        @example(b'{"number":0.' + b"0" * 20_000 + b"1e19999}")
        @example(b'{"number":' + b"1" + b"0" * 307 + b"}")
        def insert(sent: bytes) -> None:
            outcome = RULES.check(sent)
            if isinstance(outcome, bytes):
                stored = outcome.decode()
            else:
                stored = json.dumps([fault.as_dict() for fault in outcome])
            connection.execute("INSERT INTO answers VALUES (%s::jsonb)", [stored])

        insert()
        (count,) = connection.execute("SELECT count(*) FROM answers").fetchone() or (0,)
        assert count >= 50
