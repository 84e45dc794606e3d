"""What saves instruments, at every gateway: saved once or not at all, whatever becomes of answers.

A card that was saved twice could be charged after it was let go; one that is called failed though
it is saved could never be let go.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple
from uuid import UUID

import braintree as braintree_sdk
import pytest
import stripe as stripe_sdk
from braintree.exceptions import NotFoundError
from msgspec.structs import replace

from strongroom.clock import SystemClock
from strongroom.customers.saving import Detached, Made, Saved, Saving
from strongroom.gateways.braintree.wallet import BraintreeWallet
from strongroom.gateways.port import Prepared
from strongroom.gateways.stripe.wallet import StripeWallet
from strongroom.gateways.wallet import Wallet
from strongroom.payments.states import (
    ActionRequired,
    Approved,
    Canceled,
    Declined,
    NotSent,
    Unknown,
)
from tests.conformance.braintree import BraintreeRig
from tests.conformance.matrix import FAULTS, TIMEOUTS, Condition
from tests.conformance.stripe import ASKS, StripeRig
from tests.conformance.test_conformance import DEADLINE_SECONDS, PATIENCE_SECONDS, TimedOut
from tests.conformance.wallets import NAMES, READS, WALLET_CELLS, WalletOperation
from tests.integration.braintree_adapter.selling import KEYS
from tests.integration.braintree_adapter.selling import Keys as BraintreeKeys
from tests.integration.braintree_adapter.selling import new_attempt as braintree_attempt
from tests.integration.stripe_adapter.asking import RETURN_URL, Keys
from tests.integration.stripe_adapter.asking import new_attempt as stripe_attempt
from tests.sandbox.braintree_server import MERCHANT, PRIVATE_KEY, PUBLIC_KEY
from tests.sandbox.conftest import SECRET_KEY
from tests.unit.examples import ENTITY
from tests.unit.test_saving import NEW

NOT_DONE: Final = frozenset(
    {
        Condition.TIMEOUT_BEFORE, Condition.ERROR_BEFORE, Condition.RATE_LIMITED,
        Condition.LOST_BEFORE,
    }
)  # fmt: skip
DECLINED: Final = {
    "stripe": "pm_card_chargeDeclined", "braintree": "fake-processor-declined-visa-nonce",
}  # fmt: skip
UNKNOWN_CARD: Final = "pm_nobody_knows"
HOLD_SECONDS: Final = 5
DELAY_MILLISECONDS: Final = 300
TURNS_MAX: Final = 8
numbers = itertools.count(1)


class Ready(NamedTuple):
    """What an operation is asked for, whose it is, how that ends well, and the cards left then."""

    saving: Saving
    owner: str
    well: type[object]
    left: int


class Wallets:
    """One wallet before its stand-in, and what that really holds."""

    def __init__(self, rig: StripeRig | BraintreeRig) -> None:
        self.rig, self.name, self.account, self.turn = rig, rig.name, rig.account, 0
        self.patience = PATIENCE_SECONDS
        self.wallet: Wallet
        if isinstance(rig, StripeRig):
            keys = Keys(SECRET_KEY)
            self.wallet = StripeWallet(SystemClock(), keys, RETURN_URL, mode="dev")
        else:
            self.wallet = BraintreeWallet(SystemClock(), BraintreeKeys(KEYS), mode="dev")

    def new(self, offered: str | None = None) -> Saving:
        """A card that is fine, of a customer of its own; of one use, as browsers give them."""
        number = next(numbers)
        if offered is None:
            offered = "pm_card_visa" if self.name == "stripe" else self._nonce()
        return replace(
            NEW,
            legal_entity_id=ENTITY,
            gateway=self.name,
            gateway_account_id=self.account.gateway_account_id,
            customer_id=UUID(int=ENTITY.int + (number << 40) + 1),
            payment_method_id=UUID(int=ENTITY.int + (number << 40) + 2),
            offered=offered,
        )

    def _nonce(self) -> str:
        minted = self.rig.server.control("POST", "/_nonces", {"like": "fake-valid-visa-nonce"})
        return str(minted["nonce"])

    async def customer(self, saving: Saving) -> str:
        made, _ = await self.wallet.make_customer(
            self.account, saving.customer_id, f"sr_{saving.customer_id.hex}"
        )
        assert isinstance(made, Made), made
        return made.object_id

    async def prepared(self, saving: Saving) -> tuple[Saving, str]:
        owner = await self.customer(saving)
        made, _ = await self.wallet.prepare(self.account, saving, owner)
        assert isinstance(made, Made), made
        return replace(saving, setup_object=made.object_id), owner

    async def saved(self) -> tuple[Saving, str]:
        """As it is once its token is on disk."""
        saving, owner = await self.prepared(self.new())
        answer, _ = await self.wallet.save(self.account, saving)
        assert isinstance(answer, Saved), answer
        return replace(saving, status="ready", token=answer.token), owner

    async def paid(self, *, saves: bool = True) -> tuple[Saving, str]:
        """A card that has paid, and the customer that it is to be kept for."""
        saving, rig = self.new(), self.rig
        owner = await self.customer(saving)
        if isinstance(rig, StripeRig):
            attempt = stripe_attempt(rig.stripe, saves=saves)
            made, _ = await rig.stripe.prepare(self.account, attempt)
            assert isinstance(made, Prepared), made
            paid_by: str | None = made.object_id
            attempt = replace(attempt, gateway_object_id=paid_by)
            answer, _ = await rig.stripe.send(self.account, attempt)
        else:
            attempt = braintree_attempt(rig.braintree, saving.offered, saves=saves)
            answer, call = await rig.braintree.send(self.account, attempt)
            paid_by = call.object_id
        assert isinstance(answer, Approved), answer
        return replace(saving, setup_object=paid_by), owner

    async def ready_for(self, operation: WalletOperation) -> Ready:
        match operation:
            case WalletOperation.CUSTOMER:
                return Ready(self.new(), "", Made, 0)
            case WalletOperation.PREPARE:
                saving = self.new()
                return Ready(saving, await self.customer(saving), Made, 0)
            case WalletOperation.SAVE:
                return Ready(*await self.prepared(self.new()), Saved, 1)
            case WalletOperation.LOOK:
                saving, owner = await self.saved()
                return Ready(replace(saving, status="processing", token=None), owner, Saved, 1)
            case WalletOperation.CANCEL:
                return Ready(*await self.prepared(self.new()), Canceled, 0)
            case WalletOperation.KEEP:
                return Ready(*await self.paid(), Saved, 1)
            case WalletOperation.LOOK_AT_SAVED:
                return Ready(*await self.saved(), Saved, 1)
            case WalletOperation.DETACH:
                return Ready(*await self.saved(), Detached, 0)

    def strike(self, operation: WalletOperation, fault: str) -> None:
        match: dict[str, object] = {"operation": NAMES[self.name][operation]}
        if operation not in READS[self.name]:
            match["first_n"] = 1
        more: dict[str, object] = {}
        if fault.startswith("withhold"):
            more = {"hold_seconds": HOLD_SECONDS}
        if fault == "delay":
            more = {"delay_ms": DELAY_MILLISECONDS}
        withheld = fault.startswith("withhold")
        self.patience = DEADLINE_SECONDS if withheld else PATIENCE_SECONDS
        self.rig.server.knobs({"match": match, "fault": fault, **more})

    def held(self, owner: str, saving: Saving) -> list[str]:
        """The tokens of a customer, as the merchant sees them at the gateway.

        What a sale has put into Braintree's vault is at a customer of its own there.
        """
        if self.name == "stripe":
            client = stripe_sdk.StripeClient(
                SECRET_KEY, base_addresses={"api": self.rig.server.url}
            )
            return [one.id for one in client.v1.payment_methods.list({"customer": owner}).data]
        port = self.rig.server.url.rpartition(":")[2]
        at = braintree_sdk.Environment(
            "standin", "127.0.0.1", port, "http://127.0.0.1", False, None, "", port
        )
        gateway = braintree_sdk.BraintreeGateway(
            braintree_sdk.Configuration(
                environment=at,
                merchant_id=MERCHANT,
                public_key=PUBLIC_KEY,
                private_key=PRIVATE_KEY,
            )
        )
        try:
            found = [one.token for one in gateway.customer.find(owner).payment_methods]
        except NotFoundError:
            found = []
        if saving.setup_object and saving.setup_object != saving.payment_method_id.hex:
            sale = gateway.transaction.find(saving.setup_object)
            if sale.credit_card_details.token:
                of = gateway.payment_method.find(sale.credit_card_details.token).customer_id
                found += [one.token for one in gateway.customer.find(of).payment_methods]
        return found

    def _asking(self, operation: WalletOperation, of: Ready) -> Any:
        wallet, account, saving = self.wallet, self.account, of.saving
        match operation:
            case WalletOperation.CUSTOMER:
                key = f"sr_{saving.customer_id.hex}_{self.turn}"
                return wallet.make_customer(account, saving.customer_id, key)
            case WalletOperation.PREPARE:
                return wallet.prepare(account, saving, of.owner)
            case WalletOperation.SAVE:
                return wallet.save(account, saving)
            case WalletOperation.LOOK:
                return wallet.look(account, saving)
            case WalletOperation.CANCEL:
                return wallet.cancel(account, saving)
            case WalletOperation.KEEP:
                return wallet.keep(account, saving, of.owner)
            case WalletOperation.LOOK_AT_SAVED:
                return wallet.look_at_saved(account, saving)
            case WalletOperation.DETACH:
                return wallet.detach(account, saving)

    async def ask(self, operation: WalletOperation, of: Ready) -> Any:
        asking = self._asking(operation, of)
        try:
            async with asyncio.timeout(self.patience):
                answer, call = await asking
        except TimeoutError:
            return TimedOut()
        assert call.outcome
        return answer

    async def until_known(self, operation: WalletOperation, of: Ready) -> Any:
        """As the saver does: after a doubt it looks, and asks again where nothing was done."""
        saves = operation is WalletOperation.SAVE
        self.patience = PATIENCE_SECONDS
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer: Any = None
            for _ in range(TURNS_MAX):
                answer = await self.ask(WalletOperation.LOOK if saves else operation, of)
                if saves and isinstance(answer, NotSent):
                    answer = await self.ask(operation, of)
                if isinstance(answer, of.well):
                    return answer
                self.turn += 1  # a 500 may be stored under the key, and told for a day
                await asyncio.sleep(0.2)
        raise AssertionError(f"never known: {answer}")

    async def check_left(self, of: Ready, made: Any) -> None:
        """So many cards are there as are to be left."""
        owner = of.owner or made.object_id
        held = await asyncio.to_thread(self.held, owner, of.saving)
        assert len(held) == of.left, held
        if isinstance(made, Saved):
            assert held == [made.token]


@pytest.fixture
async def wallets(rig: Any) -> AsyncIterator[Wallets]:
    made = Wallets(rig)
    try:
        yield made
    finally:
        await made.wallet.close()


AT_EACH: Final = pytest.mark.parametrize("rig", ["stripe", "braintree"], indirect=True)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("rig", "operation", "condition"), WALLET_CELLS, indirect=["rig"], ids=str)
async def test_a_wallet_answers_as_the_port_says(
    wallets: Wallets, operation: WalletOperation, condition: Condition
) -> None:
    match condition:
        case Condition.OK:
            of = await wallets.ready_for(operation)
            made = await wallets.ask(operation, of)
            assert isinstance(made, of.well), made
            await wallets.check_left(of, made)
        case Condition.DECLINED:
            await is_refused(wallets, operation)
        case Condition.ACTION:
            await asks_the_customer(wallets, operation)
        case Condition.DUPLICATE:
            await is_asked_twice(wallets, operation)
        case Condition.IN_FLIGHT:
            await is_asked_at_once(wallets, operation)
        case _:
            await goes_wrong(wallets, operation, condition)


async def is_refused(wallets: Wallets, operation: WalletOperation) -> None:
    """The refusal is told as one, and what stood before stands afterwards."""
    of, word = await wallets.ready_for(operation), "config_error"
    match operation:
        case WalletOperation.PREPARE:
            of = of._replace(saving=replace(of.saving, offered=UNKNOWN_CARD))
            word = "invalid_instrument"
        case WalletOperation.SAVE:
            saving, owner = await wallets.prepared(wallets.new(DECLINED[wallets.name]))
            of, word = of._replace(saving=saving, owner=owner), "generic_decline"
        case WalletOperation.CANCEL:
            saved = await wallets.ask(WalletOperation.SAVE, of)
            assert isinstance(saved, Saved), saved
            assert await wallets.ask(operation, of) == saved, "it was faster"
            await wallets.check_left(of._replace(left=1), saved)
            return
        case WalletOperation.KEEP if wallets.name == "stripe":
            assert isinstance(await wallets.ask(operation, of), Saved)
            of = of._replace(owner=await wallets.customer(wallets.new()))
        case WalletOperation.KEEP:
            saving, owner = await wallets.paid(saves=False)
            of = of._replace(saving=saving, owner=owner)
        case _:
            raise AssertionError(f"{operation}: nothing refuses it")
    answer = await wallets.ask(operation, of)
    assert isinstance(answer, Declined), answer
    assert answer.decline == word
    await wallets.check_left(of._replace(left=0), answer)


async def asks_the_customer(wallets: Wallets, operation: WalletOperation) -> None:
    saving, owner = await wallets.prepared(wallets.new(ASKS))
    of = Ready(saving, owner, ActionRequired, 0)
    answer = await wallets.ask(WalletOperation.SAVE, of)
    if operation is WalletOperation.LOOK:
        answer = await wallets.ask(operation, of)
    assert isinstance(answer, ActionRequired), answer
    assert answer.next_action["url"]
    await wallets.check_left(of, answer)
    assert isinstance(await wallets.ask(WalletOperation.CANCEL, of), Canceled)


async def is_asked_twice(wallets: Wallets, operation: WalletOperation) -> None:
    of = await wallets.ready_for(operation)
    first = await wallets.ask(operation, of)
    again = await wallets.ask(operation, of)
    if operation is WalletOperation.SAVE:
        again = await wallets.until_known(operation, of)  # a second one may be refused
    assert isinstance(first, of.well), first
    assert again == first
    await wallets.check_left(of, first)


async def is_asked_at_once(wallets: Wallets, operation: WalletOperation) -> None:
    of = await wallets.ready_for(operation)
    wallets.strike(operation, FAULTS[Condition.IN_FLIGHT])
    answers = await asyncio.gather(*(wallets.ask(operation, of) for _ in range(3)))
    assert not any(isinstance(one, Declined) for one in answers), answers
    wallets.rig.calm()
    made = await wallets.until_known(operation, of)
    assert all(one == made for one in answers if isinstance(one, of.well)), answers
    await wallets.check_left(of, made)


async def goes_wrong(wallets: Wallets, operation: WalletOperation, condition: Condition) -> None:
    """What is lost claims nothing, and the truth is found afterwards."""
    of, reads = await wallets.ready_for(operation), operation in READS[wallets.name]
    wallets.strike(operation, FAULTS[condition])
    answer = await wallets.ask(operation, of)
    if condition in NOT_DONE or reads:
        assert not isinstance(answer, of.well), "it claims what was not done"
    assert not isinstance(answer, Declined), "nobody declined"
    if condition in TIMEOUTS:
        assert isinstance(answer, TimedOut), answer
    if condition is Condition.RATE_LIMITED:
        assert isinstance(answer, NotSent | Unknown if reads else NotSent), answer
    wallets.rig.calm()
    if operation is WalletOperation.PREPARE and condition is Condition.ERROR_AFTER:
        # Stripe tells the same error for a day; the object saves nothing, and is given up.
        again = await wallets.ask(operation, of)
        assert isinstance(again, Unknown), again
        await wallets.check_left(of, again)
        return
    made = await wallets.until_known(operation, of)
    if operation is WalletOperation.CUSTOMER:
        assert await wallets.ask(operation, of) == made, "one customer for one key"
    await wallets.check_left(of, made)


@AT_EACH
async def test_a_card_that_was_let_go_there_is_seen_to_be_gone(wallets: Wallets) -> None:
    of = await wallets.ready_for(WalletOperation.DETACH)
    assert isinstance(await wallets.ask(WalletOperation.DETACH, of), Detached)
    assert isinstance(await wallets.ask(WalletOperation.LOOK_AT_SAVED, of), Detached)
