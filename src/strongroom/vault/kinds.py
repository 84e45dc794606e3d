"""The kinds of secrets: what each looks like, and for how long one may be used."""

import hashlib
import re
from datetime import timedelta
from typing import Final, Literal

from msgspec import Struct

from strongroom.config import ConfigurationError
from strongroom.ids import Prefix
from strongroom.vault.secret import Secret

DUE_DAYS: Final = 14
"""So long before its date a secret is called due: time for somebody on holiday."""
SECRET_BYTES_MAX: Final = 512

Environment = Literal["stand_in", "sandbox", "live"]


class SecretKind(Struct, frozen=True, kw_only=True):
    """One kind. `days`: a new one has to take its place after so many."""

    name: str
    gateway: str
    days: int
    why: str
    """Why so many days, in a few words."""
    form: str
    """A regular expression. It may have groups `live` and `test`, by which mode it is for."""
    shape: str
    """The form as an operator reads it."""
    owner: Prefix = "gwa"
    """What it is of: an account at `gateway`, or an endpoint of ours."""

    @property
    def lives(self) -> timedelta:
        """From its entry to the date by which it is replaced."""
        return timedelta(days=self.days)


STRIPE_API_KEY: Final = "stripe_api_key"
STRIPE_WEBHOOK_SECRET: Final = "stripe_webhook_secret"  # noqa: S105 - the name of a kind

BRAINTREE_KEYS: Final = "braintree_keys"
BRAINTREE_WEBHOOK_KEY: Final = "braintree_webhook_key"

WEBHOOK_URL: Final = "webhook_url"
WEBHOOK_SIGNING_SECRET: Final = "webhook_signing_secret"  # noqa: S105 - the name of a kind

KINDS: Final = {
    kind.name: kind
    for kind in (
        SecretKind(
            name=STRIPE_API_KEY,
            gateway="stripe",
            days=90,
            why="whoever has it can refund and pay out; it leaves this deployment with each call",
            form=r"(?:sk|rk)_(?:(?P<live>live)|(?P<test>test))_[A-Za-z0-9]{8,}",
            shape="sk_test_…, rk_test_…, sk_live_… or rk_live_…",
        ),
        SecretKind(
            name=STRIPE_WEBHOOK_SECRET,
            gateway="stripe",
            days=180,
            why="whoever has it can only tell lies about payments, which are asked after",
            form=r"whsec_[A-Za-z0-9+/=_-]{8,}",
            shape="whsec_…",
        ),
        SecretKind(
            name=BRAINTREE_KEYS,
            gateway="braintree",
            days=90,
            why="whoever has them can charge, refund and sign webhooks; they do not say which mode",
            form=r"[A-Za-z0-9_-]{3,64}:[A-Za-z0-9_]{8,64}:[A-Za-z0-9_]{16,64}",
            shape="MERCHANT_ID:PUBLIC_KEY:PRIVATE_KEY",
        ),
        SecretKind(
            name=BRAINTREE_WEBHOOK_KEY,
            gateway="braintree",
            days=90,
            why="made of braintree_keys; whoever has it can only tell lies about payments",
            form=r"[A-Za-z0-9_]{8,64}:[0-9a-f]{40}",
            shape="PUBLIC_KEY:SHA1_OF_THE_PRIVATE_KEY",
        ),
        SecretKind(
            name=WEBHOOK_SIGNING_SECRET,
            gateway="",
            days=365,
            why="made here for one receiver; whoever has it can only tell that receiver lies",
            form=r"whsec_[A-Za-z0-9+/]{32,88}={0,2}",
            shape="whsec_…",
            owner="whe",
        ),
        SecretKind(
            name=WEBHOOK_URL,
            gateway="",
            days=3650,
            why="where a receiver is, often with a token of its own in the path",
            form=r"https?://[!-~]{1,500}",
            shape="https://…",
            owner="whe",
        ),
    )
}


DERIVED: Final = {BRAINTREE_KEYS: BRAINTREE_WEBHOOK_KEY}
"""By kind, the kind that is made of it and entered with it."""


def derived_of(name: str, secret: Secret) -> tuple[str, Secret] | None:
    """The secret that is made of one of this kind, with the name of its own; None for most kinds.

    Of Braintree's keys, what checks its webhooks: an HMAC's key, which is the SHA-1 of the private
    key (`braintree.util.crypto`). Who has it can do nothing else.
    """
    if name != BRAINTREE_KEYS:
        return None
    _, public_key, private_key = secret.reveal_text().split(":")
    key = hashlib.sha1(private_key.encode("ascii"), usedforsecurity=False).hexdigest()
    return BRAINTREE_WEBHOOK_KEY, Secret(f"{public_key}:{key}")


def kind_of(name: str) -> SecretKind:
    """The kind of this name. Raises ConfigurationError."""
    if name not in KINDS:
        raise ConfigurationError("there is no such kind of secret; kinds are: " + ", ".join(KINDS))
    return KINDS[name]


def checked(kind: SecretKind, environment: str, secret: Secret) -> Secret:
    """The secret, if it can be one of this kind for an account in this environment.

    Raises ConfigurationError, which does not show it.
    """
    content = secret.reveal()
    found = None
    if len(content) <= SECRET_BYTES_MAX:
        found = re.fullmatch(kind.form.encode(), content)
    if found is None:
        raise ConfigurationError(f"this is no {kind.name}: it has to look like {kind.shape}")
    modes = found.groupdict()
    if environment == "live" and modes.get("test"):
        raise ConfigurationError("this is a key for tests, and the account is live.")
    if environment != "live" and modes.get("live"):
        raise ConfigurationError(
            f"this is a live key, and the account is a {environment}: it would charge real cards. "
            "Somebody has seen it in the wrong place: roll it at the gateway."
        )
    return secret
