"""Every code is documented, and stays in its family."""

from penstock.schemas.errors import CATALOGUE, Code, PenstockError

FAMILIES = {
    "FORM", "ANSWER", "SUBMISSION", "BATCH", "POST", "ACCOUNT", "PLATFORM", "RATE", "CIRCUIT", "QUEUE", "JOB",
    "STORAGE", "AUTH", "CONFIG", "REQUEST", "INTERNAL",
}  # fmt: skip


def test_every_code_has_a_cause_and_a_remedy_and_no_code_is_documented_twice() -> None:
    assert set(CATALOGUE) == set(Code)
    assert all(entry.cause.endswith(".") and entry.remedy.endswith(".") for entry in CATALOGUE.values())


def test_every_code_names_itself_and_belongs_to_a_family() -> None:
    assert [code.name for code in Code] == [code.value for code in Code]
    assert {code.split("_")[0] for code in Code} <= FAMILIES


def test_an_error_tells_code_message_and_remedy() -> None:
    error = PenstockError(Code.FORM_NOT_FOUND, "no form 'x'")
    assert error.as_dict() == {
        "code": "FORM_NOT_FOUND",
        "message": "no form 'x'",
        "remedy": CATALOGUE[Code.FORM_NOT_FOUND].remedy,
    }
