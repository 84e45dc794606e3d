"""What may be a gateway's token: every id that a gateway makes, and no card number."""

import pytest

from strongroom.errors import Invalid
from strongroom.http.bodies import check_token
from strongroom_sandbox.stripe.outcome import new_id

NUMBER = "4111111111111111"


@pytest.mark.parametrize(
    ("gateway", "token"),
    [
        ("stripe", "pm_1NkZyA2eZvKYlo2C7Yq0aB3d"),
        ("stripe", "pm_card_visa"),
        ("braintree", "tokencc_bh_rdjmsc_76vnhw_jnf8tc_9fy7qd_3z7"),
        # A nonce may be a UUID, whose last group is digits alone once in 280.
        ("braintree", "0a6e4bd2-9c1f-0d5e-7b3a-123456789012"),
        ("braintree", "fake-valid-nonce"),
    ],
)
def test_an_id_of_the_gateway_is_taken(gateway: str, token: str) -> None:
    check_token(gateway, token)


@pytest.mark.parametrize(
    ("gateway", "token"),
    [
        ("stripe", NUMBER),
        ("stripe", f"pm_{NUMBER}"),
        ("stripe", "pm_4222222222222"),
        ("stripe", "tok_visa"),
        ("braintree", NUMBER),
        ("braintree", f"nonce-{NUMBER}"),
        ("braintree", "123456"),
        ("braintree", "a" * 256),
    ],
)
def test_what_could_hold_a_card_number_is_not(gateway: str, token: str) -> None:
    with pytest.raises(Invalid, match="instrument_token_malformed"):
        check_token(gateway, token)


def test_no_token_of_the_stand_in_is_ever_refused() -> None:
    """Among ten thousand in hexadecimal some fifty would be."""
    for _ in range(10_000):
        check_token("stripe", new_id("pm"))
