"""What the tests of the page know of each gateway: its test cards, and the words of its fields."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.acceptance.running import Running

GENERIC = "Your card was declined. No money was taken."


@dataclass(frozen=True)
class Gateway:
    """A gateway's card fields. The currency is the one that goes to it here (ROUTES)."""

    name: str
    currency: str
    amount_shown: str
    amount_on_the_phone: str
    good: str
    other_good: str
    declines: tuple[tuple[str, str], ...]
    """Cards that are declined, and what the customer is told."""
    challenged: str
    wrong: tuple[str, str]
    """A number that cannot be, and what is said to it."""
    expiry_label: str
    code_label: str
    leaves_the_page: bool
    """Whether the bank asks on a page of its own."""

    @property
    def declined(self) -> str:
        return self.declines[-1][0]

    def url(self, running: Running) -> str:
        return running.stripe_url if self.name == "stripe" else running.braintree_url

    def script_origin(self, running: Running) -> str:
        """Where its script and its card fields come from."""
        return f"http://js.{self.name}.localhost:{urlsplit(self.url(running)).port}"


STRIPE = Gateway(
    name="stripe",
    currency="EUR",
    amount_shown="€19.99",
    amount_on_the_phone=r"19,99.€",
    good="4242424242424242",
    other_good="5555555555554444",
    declines=(
        ("4000000000009995", "does not have enough funds"),
        ("4000000000009987", GENERIC),
        ("4000000000000002", GENERIC),
    ),
    challenged="4000000000003220",
    wrong=("4242424242424241", "Your card number is invalid."),
    expiry_label="Expiry date (MM / YY)",
    code_label="Security code (CVC)",
    leaves_the_page=True,
)
BRAINTREE = Gateway(
    name="braintree",
    currency="USD",
    amount_shown="US$19.99",
    amount_on_the_phone=r"19,99.\$",
    good="4111111111111111",
    other_good="4000000000001000",
    declines=(
        ("3566002020360505", "could not process the payment just now"),
        ("5105105105105100", GENERIC),
        ("4000111111111115", GENERIC),
    ),
    challenged="4000000000001091",
    wrong=(
        "4111111111111112",
        "Please check the card details: they are not complete, or not right.",
    ),
    expiry_label="Expiration (MM / YY)",
    code_label="Security code (CVV)",
    leaves_the_page=False,
)
ROUTES = """
[[rule]]
name = "dollars go to Braintree"
currency = "USD"
use = "braintree"
"""
