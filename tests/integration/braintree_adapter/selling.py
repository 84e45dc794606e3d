"""Attempts and refunds to ask Braintree about, an account, and a server that answers anything."""

import itertools
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from strongroom.gateways.braintree.client import BraintreeAdapter
from strongroom.gateways.port import Account, MerchantAccount
from strongroom.payments.refunds import Refund
from strongroom.payments.states import Answer, Attempt, Call, Unknown
from strongroom.vault.errors import SecretMissing
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Slot
from tests.sandbox.braintree_server import MERCHANT, PRIVATE_KEY, PUBLIC_KEY, RunningBraintree
from tests.unit.examples import ACCOUNT, AMOUNT, ENTITY, START, attempt, payment

EUR: Final = MerchantAccount("eur", three_d_secure=False)
KEYS: Final = f"{MERCHANT}:{PUBLIC_KEY}:{PRIVATE_KEY}"
NONCE: Final = "fake-valid-nonce"
numbers = itertools.count(1)


class Keys:
    """An account's keys, as the vault would give them: by version."""

    def __init__(self, *oldest_first: str) -> None:
        self.held = dict(enumerate(oldest_first, 1))

    async def versions(self, slot: Slot) -> list[int]:
        assert slot.kind == "braintree_keys"
        if not self.held:
            raise SecretMissing
        return sorted(self.held, reverse=True)

    async def open(self, slot: Slot, version: int) -> Secret:
        return Secret(self.held[version])


def account_at(url: str) -> Account:
    return Account(
        legal_entity_id=ENTITY,
        gateway_account_id=ACCOUNT,
        gateway="braintree",
        environment="stand_in",
        base_url=url,
    )


def new_attempt(
    gateway: BraintreeAdapter,
    token: str = NONCE,
    paid_to: MerchantAccount | None = EUR,
    *,
    saves: bool = False,
    **fields: Any,
) -> Attempt:
    number = next(numbers)
    payment_id = UUID(int=ENTITY.int + (number << 40))
    of = payment(instrument_token=token, payment_id=payment_id, gateway="braintree", **fields)
    return attempt(
        gateway="braintree",
        staged=False,
        kind="authorize" if of.capture == "manual" else "sale",
        gateway_key=f"sr_{number}_{payment_id.hex}",
        gateway_object_id=None,
        amount_minor=of.amount_minor,
        currency=of.currency,
        parameters=dict(gateway.parameters(of, paid_to, saves=saves)),
    )


def order_id(one: Attempt) -> str:
    text: str = one.parameters["sale"]["order_id"]
    return text


async def sold(
    gateway: BraintreeAdapter, account: Account, *more: Any, **fields: Any
) -> tuple[Attempt, Answer, Call]:
    """An attempt that was sent, with its object's id as it is committed with the answer."""
    one = new_attempt(gateway, *more, **fields)
    answer, call = await gateway.send(account, one)
    return replace(one, gateway_object_id=call.object_id), answer, call


def new_refund(
    gateway: BraintreeAdapter, of: Attempt, amount_minor: int = AMOUNT, **fields: Any
) -> Refund:
    number = next(numbers)
    refund = Refund(
        legal_entity_id=ENTITY,
        refund_id=UUID(int=ENTITY.int + (number << 40)),
        payment_id=UUID(int=ENTITY.int + (1 << 40)),
        status="processing",
        amount_minor=amount_minor,
        currency=of.currency,
        gateway="braintree",
        gateway_account_id=ACCOUNT,
        gateway_key=f"sr_refund_{number}",
        opened_at=START,
        digest_salt=bytes(16),
        created_at=START,
        updated_at=START,
        **fields,
    )
    paid = payment(status="succeeded", captured_minor=of.amount_minor)
    return replace(refund, parameters=dict(gateway.refund_parameters(paid, of, refund)))


def fault(server: RunningBraintree, operation: str, name: str, **more: Any) -> None:
    server.knobs(
        {"match": {"operation": "transactions." + operation, "first_n": 1}, "fault": name, **more}
    )


def settle(server: RunningBraintree, transaction: str | None, *, succeed: bool = True) -> None:
    server.control("POST", "/_settle", {"transaction": transaction, "succeed": succeed})


def charges(server: RunningBraintree, one: Attempt) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.charges(order_id=order_id(one))
    return found


LOST: Final = Unknown("connection_lost")
BROKEN: Final = Unknown("gateway_error")
