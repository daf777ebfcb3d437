import phonenumbers
import pytest

from penstock.workers.answers.contacts import EmailRule, PhoneRule


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_e164_is_read_as_itself_in_every_region(region: str) -> None:
    example = phonenumbers.example_number(region)
    assert example is not None
    national = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.NATIONAL)
    stored = PhoneRule(region).read(national)
    assert stored == phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    assert PhoneRule(None).read(stored) == stored


@pytest.mark.parametrize(
    "address",
    ["JANE@BÜCHER.example", "jane@bu\u0308cher.example", "dömi@fußball.example", "a@xn--fuball-cta.example"],
)
def test_normal_form_is_read_as_itself(address: str) -> None:
    stored = EmailRule().read(address)
    assert EmailRule().read(stored) == stored
