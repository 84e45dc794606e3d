"""``transaction.sale``: from its parameters to a transaction, or to what is wrong with them."""

from dataclasses import dataclass

from msgspec.structs import replace

from strongroom_sandbox.braintree.books import (
    TAKEN,
    Change,
    Customer,
    Method,
    Moment,
    Nonce,
    Transaction,
)
from strongroom_sandbox.braintree.cards import (
    Card,
    ThreeDSecure,
    decline_of_amount,
    rejection_of_amount,
)
from strongroom_sandbox.braintree.currencies import AMOUNT_MAX, minor, whole_units
from strongroom_sandbox.braintree.errors import flaw
from strongroom_sandbox.braintree.nonces import IN_SALE, find_nonce
from strongroom_sandbox.braintree.scene import Outcome, Scene, network_id, new_id
from strongroom_sandbox.braintree.signatures import is_true
from strongroom_sandbox.braintree.wire import Tree

ORDER_CHARACTERS_MAX = 255
HOLD_DAYS = 7
HOLD_DAYS_OF = {"Discover": 10}
SOURCES = (
    "recurring_first", "recurring", "unscheduled", "installment_first", "installment", "moto",
    "merchant",
)  # fmt: skip
BY_MERCHANT = ("recurring", "unscheduled", "installment", "merchant", "moto")
"""Sources for which nobody could be asked to authenticate."""
VAULT_STATUSES = ("will_vault", "vaulted")


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is charged."""

    card: Card
    nonce: Nonce | None = None
    nonce_id: str | None = None
    method: Method | None = None
    three_d_secure: ThreeDSecure | None = None


def sell(scene: Scene, params: Tree) -> Outcome:
    """Make a transaction of a sale. Raises Invalid; then nothing was made and no nonce is used."""
    _check_type(params)
    account, currency = merchant_account(scene, params.get("merchant_account_id"))
    amount = read_amount(params.get("amount"), currency)
    _check_texts(params)
    instrument = _instrument(scene, params)
    options = params.get("options") or {}
    _check_agreed(instrument.three_d_secure, amount, currency, account)
    customer = _customer(scene, params, instrument)
    change = Change(time=scene.now)
    if instrument.nonce is not None:
        change.nonces.append(replace(instrument.nonce, consumed=True))
    made = Transaction(
        id=new_id(),
        kind="sale",
        status="authorizing",
        amount=amount,
        authorized=amount,
        currency=currency,
        merchant_account=account,
        created=scene.now,
        updated=scene.now,
        card=instrument.card,
        order_id=params.get("order_id"),
        nonce=instrument.nonce_id,
        token=None if instrument.method is None else instrument.method.token,
        customer=customer,
        channel=params.get("channel"),
        source=_source(params),
        three_d_secure=instrument.three_d_secure,
        previous_network_transaction_id=(params.get("external_vault") or {}).get(
            "previous_network_transaction_id"
        ),
        api_request_key=scene.key,
        submits=is_true(options.get("submit_for_settlement")),
    )
    rejection = _rejection(scene, made, options)
    if scene.stays_open:
        made = replace(made, history=(Moment(status="authorizing", at=scene.now, amount=amount),))
    elif rejection is not None:
        made = ended(made, "gateway_rejected", scene.now, rejection=rejection)
    else:
        made = answered(scene, made)
        made = _vault(scene, made, params, change)
    change.transactions.append(made)
    return Outcome(change, transaction=made.id)


def answered(scene: Scene, made: Transaction) -> Transaction:
    """What the issuer says to it."""
    units = whole_units(made.amount, made.currency)
    code = made.card.decline or decline_of_amount(units)
    shifted = made.three_d_secure is not None and made.three_d_secure.liability_shifted
    if code is None and made.card.sca and not shifted and not _is_exempt(made):
        code = "2099"
    if code is not None:
        status = "failed" if code == "3000" else "processor_declined"
        return ended(made, status, scene.now, response=code)
    days = HOLD_DAYS_OF.get(made.card.brand, HOLD_DAYS)
    expires = scene.now + days * 24 * 3600
    made = replace(
        made,
        status="authorized",
        response="1000",
        network_transaction_id=network_id(),
        expires_at=expires,
        next_at=expires,
        next_status="authorization_expired",
        history=(*made.history, Moment(status="authorized", at=scene.now, amount=made.amount)),
    )
    return submitted(scene, made, made.amount) if made.submits else made


def submitted(scene: Scene, held: Transaction, amount: int) -> Transaction:
    """The transaction on its way to settlement, for its amount or less."""
    return replace(
        held,
        status="submitted_for_settlement",
        amount=amount,
        updated=scene.now,
        next_at=scene.now + scene.knobs.settling_seconds,
        next_status="settling",
        history=(
            *held.history,
            Moment(status="submitted_for_settlement", at=scene.now, amount=amount),
        ),
    )


def ended(
    made: Transaction,
    status: str,
    now: int,
    *,
    response: str | None = None,
    rejection: str | None = None,
) -> Transaction:
    """A transaction that takes nothing and never will."""
    return replace(
        made,
        status=status,
        updated=now,
        response=response or made.response,
        rejection=rejection,
        next_at=None,
        next_status=None,
        history=(*made.history, Moment(status=status, at=now, amount=made.amount)),
    )


def merchant_account(scene: Scene, given: str | None) -> tuple[str, str]:
    """A merchant account and its currency; without a name, the default. Raises Invalid."""
    account = given or next(iter(scene.accounts))
    if account not in scene.accounts:
        raise flaw("merchant_account_id", "91513", "Merchant account ID is invalid.")
    return account, scene.accounts[account]


def read_amount(text: str | None, currency: str) -> int:
    """An amount in the minor unit. Raises Invalid as Braintree does."""
    if text is None:
        raise flaw("amount", "81502", "Amount is required.")
    amount = minor(text, currency)
    if amount is None:
        raise flaw("amount", "81503", "Amount is an invalid format.")
    if amount < 0:
        raise flaw("amount", "81501", "Amount cannot be negative.")
    if amount == 0:
        raise flaw("amount", "81531", "Amount must be greater than zero.")
    if amount > AMOUNT_MAX:
        raise flaw("amount", "81528", "Amount is too large.")
    return amount


def _check_type(params: Tree) -> None:
    match params.get("type"):
        case "sale":
            return
        case None:
            raise flaw("type", "91524", "Type is required.")
        case "credit":
            raise flaw("base", "91546", "Credits are not supported by this account.")
        case _:
            raise flaw("type", "91523", "Type is invalid.")


def _check_texts(params: Tree) -> None:
    if len(params.get("order_id") or "") > ORDER_CHARACTERS_MAX:
        raise flaw("order_id", "91501", "Order ID is too long.")
    source = params.get("transaction_source")
    if source is not None and source not in SOURCES:
        raise flaw("transaction_source", "915133", "Transaction source is invalid.")
    vault = params.get("external_vault") or {}
    if vault and vault.get("status") not in VAULT_STATUSES:
        raise flaw("status", "915175", "Status is invalid.", "transaction.external_vault")
    previous = vault.get("previous_network_transaction_id")
    if previous is not None and vault["status"] != "vaulted":
        raise flaw(
            "status", "915177", "Status has to be vaulted with a previous network transaction ID.",
            "transaction.external_vault",
        )  # fmt: skip
    if previous is not None and not (previous.isascii() and previous.isalnum()):
        raise flaw(
            "previous_network_transaction_id", "915179",
            "Previous network transaction ID is invalid.", "transaction.external_vault",
        )  # fmt: skip


def _instrument(scene: Scene, params: Tree) -> Instrument:
    nonce, token = params.get("payment_method_nonce"), params.get("payment_method_token")
    if nonce is not None and token is not None:
        raise flaw("base", "91515", "Give one payment method only.")
    customer = params.get("customer_id")
    if nonce is not None:
        card, three_d_secure, made = find_nonce(scene, nonce, IN_SALE)
        return Instrument(card, made, nonce, None, three_d_secure)
    if token is not None:
        method = scene.books.method(token)
        if method is None:
            raise flaw("payment_method_token", "91518", "Payment method token is invalid.")
        if customer is not None and method.customer != customer:
            raise flaw("base", "91516", "Cannot find the payment method with this customer.")
        return Instrument(method.card, method=method)
    if customer is None:
        raise flaw("base", "91508", "Cannot determine payment method.")
    methods = scene.books.methods_of(customer)
    if not methods:
        raise flaw("customer_id", "91511", "Customer does not have any credit cards.")
    return Instrument(methods[0].card, method=methods[0])


def _check_agreed(agreed: ThreeDSecure | None, amount: int, currency: str, account: str) -> None:
    """What the customer authenticated is what is charged."""
    if agreed is None:
        return
    if agreed.amount is not None and minor(agreed.amount, currency) != amount:
        raise flaw("amount", "91585", "Amount does not match the 3D Secure amount.")
    if agreed.merchant_account not in (None, account):
        raise flaw(
            "merchant_account_id", "91584", "Merchant account does not match that of 3D Secure."
        )


def _customer(scene: Scene, params: Tree, instrument: Instrument) -> str | None:
    if instrument.method is not None:
        return instrument.method.customer
    customer: str | None = params.get("customer_id")
    if customer is not None and scene.books.customer(customer) is None:
        raise flaw("customer_id", "91510", "Customer ID is invalid.")
    wanted = (params.get("customer") or {}).get("id")
    if wanted is not None and scene.books.customer(wanted) is not None:
        raise flaw("id", "91609", "Customer ID has already been taken.", "transaction.customer")
    return customer


def _source(params: Tree) -> str | None:
    source: str | None = params.get("transaction_source")
    return source or ("recurring" if is_true(params.get("recurring")) else None)


def _is_exempt(made: Transaction) -> bool:
    """Whether an issuer lets it pass unauthenticated: the merchant's, with an agreement before."""
    agreed = made.token is not None or made.previous_network_transaction_id is not None
    return made.source in BY_MERCHANT and agreed


def _rejection(scene: Scene, made: Transaction, options: Tree) -> str | None:
    required = is_true((options.get("three_d_secure") or {}).get("required"))
    info = made.three_d_secure
    if required and (
        info is None or (info.liability_shift_possible and not info.liability_shifted)
    ):
        return "three_d_secure"
    if made.card.rejection is not None:
        return made.card.rejection
    reason = rejection_of_amount(whole_units(made.amount, made.currency))
    if reason is None and _is_duplicate(scene, made):
        return "duplicate"
    return reason


def _is_duplicate(scene: Scene, made: Transaction) -> bool:
    if made.order_id is None:
        return False
    since = scene.now - scene.knobs.duplicate_seconds
    return any(
        other.kind == "sale"
        and other.created > since
        and (other.amount, other.currency) == (made.amount, made.currency)
        and other.card == made.card
        and other.status in ("authorized", *TAKEN)
        for other in scene.books.with_order(made.order_id)
    )


def _vault(scene: Scene, made: Transaction, params: Tree, change: Change) -> Transaction:
    options = params.get("options") or {}
    on_success = is_true(options.get("store_in_vault_on_success"))
    if made.token is not None or not (on_success or is_true(options.get("store_in_vault"))):
        return made
    if on_success and made.status not in ("authorized", *TAKEN):
        return made
    customer = made.customer
    if customer is None:
        customer = (params.get("customer") or {}).get("id") or new_id()
        change.customers.append(Customer(id=customer, created=scene.now))
    method = Method(token=new_id(), customer=customer, card=made.card, created=scene.now)
    change.methods.append(method)
    return replace(made, token=method.token, customer=customer)
