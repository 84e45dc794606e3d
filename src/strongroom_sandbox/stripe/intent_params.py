"""The parameters of PaymentIntent operations, read into commands.

Parameters that the SDK's types name and that this server does not act on are refused as such;
names that the SDK does not know are ``parameter_unknown``.
"""

from dataclasses import dataclass, field
from typing import Any

from strongroom_sandbox.stripe.attempt import Terms
from strongroom_sandbox.stripe.currencies import check_amount, checked_currency
from strongroom_sandbox.stripe.errors import invalid
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.params import TYPES, Params

DESCRIPTOR_CHARACTERS_MAX = 22
DESCRIPTION_CHARACTERS_MAX = 1000
EMAIL_CHARACTERS_MAX = 800
CUSTOMER_PREFIX = "cus_"
METHOD_TYPES = frozenset(("card", "link"))
CAPTURE_METHODS = ("automatic", "automatic_async", "manual")
CANCELLATION_REASONS = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")
EXPAND = frozenset(("latest_charge", "payment_method"))
OFF_SESSION_WORDS = ("one_off", "recurring")

NOTES = ("description", "metadata", "receipt_email", "shipping", "expand")
DESCRIPTORS = ("statement_descriptor", "statement_descriptor_suffix")
CONFIRMING = ("off_session", "error_on_requires_action", "return_url", "use_stripe_sdk")
METHOD = ("payment_method", "payment_method_options", "setup_future_usage", "capture_method")
CREATE = frozenset(
    (
        *NOTES, *DESCRIPTORS, *CONFIRMING, *METHOD, "amount", "currency", "confirm", "customer",
        TYPES, "automatic_payment_methods", "confirmation_method",
    )
)  # fmt: skip
UPDATE = frozenset((*NOTES, *DESCRIPTORS, *METHOD, "amount", "currency", "customer", TYPES))
CONFIRM = frozenset(
    ("receipt_email", "shipping", "expand", *CONFIRMING, *METHOD, "amount_to_confirm")
)
CAPTURE = frozenset(
    ("amount_to_capture", "final_capture", "metadata", "expand", "statement_descriptor_suffix")
)
UNSUPPORTED = frozenset(
    (
        "amount_details", "application_fee_amount",
        "confirmation_token", "customer_account", "excluded_payment_method_types", "hooks",
        "mandate", "mandate_data", "on_behalf_of", "payment_details",
        "payment_method_configuration", "payment_method_data", "radar_options", "transfer_data",
        "transfer_group",
    )
)  # fmt: skip
CARD_OPTIONS_UNSUPPORTED = (
    "capture_method", "cvc_token", "installments", "mandate_options", "moto", "network",
    "request_extended_authorization", "request_incremental_authorization",
    "request_multicapture", "request_overcapture", "require_cvc_recollection",
    "setup_future_usage", "statement_descriptor_suffix_kana", "statement_descriptor_suffix_kanji",
    "three_d_secure",
)  # fmt: skip


@dataclass(slots=True)
class Create:
    """Parameters of create. ``fields`` are those of the Intent, as they stand."""

    amount: int
    currency: str
    fields: dict[str, Any]
    payment_method: str | None
    confirm: bool
    terms: Terms
    expand: tuple[str, ...]


@dataclass(slots=True)
class Update:
    """Parameters of update. ``metadata`` is to be merged with what the intent has."""

    fields: dict[str, Any]
    metadata: dict[str, str] | None
    payment_method: str | None
    touches_money: bool
    expand: tuple[str, ...]


@dataclass(slots=True)
class Confirm:
    """Parameters of confirm."""

    fields: dict[str, Any]
    payment_method: str | None
    amount_to_confirm: int | None
    terms: Terms = field(default_factory=Terms)
    expand: tuple[str, ...] = ()


def read_create(tree: Tree) -> Create:
    """Read the parameters of create. Raises Refusal (400)."""
    params = Params(tree, CREATE, UNSUPPORTED)
    amount = params.required_integer("amount")
    currency = checked_currency(params.required_text("currency"))
    check_amount(amount, currency)
    confirm = params.boolean("confirm") or False
    fields = _notes(params) | _method_fields(params) | _payment_types(params)
    fields["metadata"] = {k: v for k, v in (params.metadata() or {}).items() if v != ""}
    method = params.choice("confirmation_method", ("automatic", "manual"))
    if method is not None:
        fields["confirmation_method"] = method
    if confirm:
        fields |= _confirming(params)
    else:
        # docs.stripe.com/api/payment_intents/create: "only with confirm=true".
        for name in CONFIRMING[:3]:
            if name in params:
                raise invalid(f"{name} can only be used with confirm=true", param=name)
        fields["uses_sdk"] = params.boolean("use_stripe_sdk") or False
    return Create(
        amount, currency, fields, params.text("payment_method"), confirm, _terms(params),
        params.expand(EXPAND),
    )  # fmt: skip


def read_update(tree: Tree) -> Update:
    """Read the parameters of update. Raises Refusal (400)."""
    params = Params(tree, UPDATE, UNSUPPORTED)
    fields = _notes(params) | _method_fields(params)
    amount = params.integer("amount")
    if amount is not None:
        fields["amount"] = amount
    if "currency" in params:
        fields["currency"] = checked_currency(params.required_text("currency"))
    if TYPES in params:
        fields |= _payment_types(params)
    money = any(name in params for name in ("amount", "currency", *METHOD[1:], "customer"))
    return Update(
        fields, params.metadata(), params.text("payment_method"), money, params.expand(EXPAND)
    )


def read_confirm(tree: Tree) -> Confirm:
    """Read the parameters of confirm. Raises Refusal (400)."""
    params = Params(tree, CONFIRM, UNSUPPORTED)
    return Confirm(
        _notes(params) | _method_fields(params) | _confirming(params),
        params.text("payment_method"),
        params.integer("amount_to_confirm"),
        _terms(params),
        params.expand(EXPAND),
    )


def read_cancel(tree: Tree) -> tuple[str | None, tuple[str, ...]]:
    """Read the parameters of cancel: (reason, expand). Raises Refusal (400)."""
    params = Params(tree, ("cancellation_reason", "expand"))
    return params.choice("cancellation_reason", CANCELLATION_REASONS), params.expand(EXPAND)


def read_capture(tree: Tree) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read the parameters of capture: (fields, expand). Raises Refusal (400)."""
    # For a card charge Stripe refuses the whole descriptor and takes the suffix.
    params = Params(tree, CAPTURE, UNSUPPORTED | {"statement_descriptor"})
    if params.boolean("final_capture") is False:
        raise invalid("This stand-in captures once per intent.", param="final_capture")
    amount = params.integer("amount_to_capture")
    if amount is not None and amount < 1:
        raise invalid(
            "This value must be greater than or equal to 1.",
            param="amount_to_capture",
            code="parameter_invalid_integer",
        )
    fields = {
        "amount_to_capture": amount,
        "metadata": params.metadata(),
        "statement_descriptor_suffix": params.text(
            "statement_descriptor_suffix", characters_max=DESCRIPTOR_CHARACTERS_MAX
        ),
    }
    return fields, params.expand(EXPAND)


def _notes(params: Params) -> dict[str, Any]:
    """Read texts; one that is given empty unsets its field."""
    fields: dict[str, Any] = {}
    for name, characters_max in (
        ("description", DESCRIPTION_CHARACTERS_MAX),
        ("receipt_email", EMAIL_CHARACTERS_MAX),
        ("statement_descriptor", DESCRIPTOR_CHARACTERS_MAX),
        ("statement_descriptor_suffix", DESCRIPTOR_CHARACTERS_MAX),
    ):
        if name in params:
            fields[name] = params.text(name, characters_max=characters_max)
    email = fields.get("receipt_email")
    if email is not None and "@" not in email:
        raise invalid("Invalid email address", param="receipt_email", code="email_invalid")
    if "customer" in params:
        customer = params.text("customer")
        if customer is not None and not customer.startswith(CUSTOMER_PREFIX):
            raise invalid(
                f"No such customer: '{customer[:100]}'", param="customer", code="resource_missing"
            )
        fields["customer"] = customer
    if "shipping" in params:
        fields["shipping"] = _shipping(params)
    return fields


def _shipping(params: Params) -> dict[str, Any] | None:
    names = ("carrier", "name", "phone", "tracking_number")
    lines = ("city", "country", "line1", "line2", "postal_code", "state")
    given = params.within("shipping", (*names, "address"))
    if given is None:
        return None
    address = given.within("address", lines)
    shown: dict[str, Any] = {name: given.text(name) for name in names}
    shown["address"] = {line: None if address is None else address.text(line) for line in lines}
    return shown


def _method_fields(params: Params) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "setup_future_usage" in params:
        fields["setup_future_usage"] = params.choice(
            "setup_future_usage", ("off_session", "on_session")
        )
    capture_method = params.choice("capture_method", CAPTURE_METHODS)
    if capture_method is not None:
        fields["capture_method"] = capture_method
    options = params.within("payment_method_options", ("card",))
    card = None if options is None else options.within(
        "card", ("request_three_d_secure",), CARD_OPTIONS_UNSUPPORTED
    )  # fmt: skip
    if card is not None:
        wish = card.choice("request_three_d_secure", ("any", "automatic", "challenge"))
        fields["request_three_d_secure"] = wish or "automatic"
    return fields


def _payment_types(params: Params) -> dict[str, Any]:
    """Read which methods are accepted; without a word Stripe chooses (since API 2023-08-16)."""
    types = params.words(TYPES)
    automatic = params.within("automatic_payment_methods", ("enabled", "allow_redirects"))
    if types:
        if automatic is not None:
            raise invalid(
                f"You may give only one of {TYPES}, automatic_payment_methods.", param=TYPES
            )
        unknown = [name for name in types if name not in METHOD_TYPES]
        if unknown:
            raise invalid(
                f"The payment method type {unknown[0][:50]} is not enabled on this account.",
                param=TYPES,
            )
        return {"payment_method_types": types, "redirects": None}
    if automatic is None:
        return {"redirects": "always"}
    enabled = automatic.boolean("enabled")
    if enabled is None:
        raise invalid(
            "Missing required param: automatic_payment_methods[enabled].",
            param="automatic_payment_methods[enabled]",
            code="parameter_missing",
        )
    redirects = automatic.choice("allow_redirects", ("always", "never")) or "always"
    return {"redirects": redirects if enabled else None}


def _confirming(params: Params) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "return_url" in params:
        fields["return_url"] = params.url("return_url")
    if "use_stripe_sdk" in params:
        fields["uses_sdk"] = params.boolean("use_stripe_sdk") or False
    return fields


def _terms(params: Params) -> Terms:
    # off_session may also be a word that says which kind of agreement it stands on.
    word = params.text("off_session")
    off_session = word in OFF_SESSION_WORDS or bool(params.boolean("off_session"))
    return Terms(off_session, params.boolean("error_on_requires_action") or False)
