"""What saves instruments, at every gateway: saved once or not at all, whatever becomes of answers.

A card that was saved twice could be charged after it was let go; one that is called failed though
it is saved could never be let go.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import braintree as braintree_sdk
import pytest
import stripe as stripe_sdk
from braintree.exceptions import NotFoundError
from msgspec.structs import replace

from strongroom.clock import SystemClock
from strongroom.customers.saving import Detached, Made, Saved, Saving
from strongroom.gateways.braintree.wallet import BraintreeWallet
from strongroom.gateways.stripe.wallet import StripeWallet
from strongroom.gateways.wallet import Wallet
from strongroom.payments.states import Declined, NotSent
from tests.conformance.braintree import BraintreeRig
from tests.conformance.stripe import StripeRig
from tests.conformance.test_conformance import DEADLINE_SECONDS, PATIENCE_SECONDS, TimedOut
from tests.integration.braintree_adapter.selling import KEYS
from tests.integration.braintree_adapter.selling import Keys as BraintreeKeys
from tests.integration.stripe_adapter.asking import RETURN_URL, Keys
from tests.sandbox.braintree_server import MERCHANT, PRIVATE_KEY, PUBLIC_KEY
from tests.sandbox.conftest import SECRET_KEY
from tests.unit.examples import ENTITY
from tests.unit.test_saving import NEW

OPERATIONS: Final = ("customer", "save", "look at saved", "detach")
FAULTS: Final = (
    "withhold_before", "withhold_after", "error_500_before", "error_500_after", "error_429",
    "malformed", "drop_before", "drop_after",
)  # fmt: skip
NOT_DONE: Final = frozenset({"withhold_before", "error_500_before", "error_429", "drop_before"})
NAMES: Final = {
    "stripe": {
        "customer": "customers.create",
        "save": "setup_intents.confirm",
        "look at saved": "payment_methods.retrieve",
        "detach": "payment_methods.detach",
    },
    "braintree": {
        "customer": "customers.create",
        "save": "payment_methods.create",
        "look at saved": "payment_methods.find",
        "detach": "payment_methods.delete",
    },
}
DECLINED: Final = {
    "stripe": "pm_card_chargeDeclined", "braintree": "fake-processor-declined-visa-nonce",
}  # fmt: skip
TURNS_MAX: Final = 8
numbers = itertools.count(1)


class Wallets:
    """One wallet before its stand-in, and what that really holds."""

    def __init__(self, rig: StripeRig | BraintreeRig) -> None:
        self.rig, self.name, self.account, self.turn = rig, rig.name, rig.account, 0
        self.wallet: Wallet
        if isinstance(rig, StripeRig):
            keys = Keys(SECRET_KEY)
            self.wallet = StripeWallet(SystemClock(), keys, RETURN_URL, mode="dev")
        else:
            self.wallet = BraintreeWallet(SystemClock(), BraintreeKeys(KEYS), mode="dev")

    def new(self) -> Saving:
        """A card that is fine, of a customer of its own; of one use, as browsers give them."""
        number = next(numbers)
        offered = "pm_card_visa"
        if self.name == "braintree":
            minted = self.rig.server.control("POST", "/_nonces", {"like": "fake-valid-visa-nonce"})
            offered = minted["nonce"]
        return replace(
            NEW,
            legal_entity_id=ENTITY,
            gateway=self.name,
            gateway_account_id=self.account.gateway_account_id,
            customer_id=UUID(int=ENTITY.int + (number << 40) + 1),
            payment_method_id=UUID(int=ENTITY.int + (number << 40) + 2),
            offered=offered,
        )

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
        saving, owner = await self.prepared(self.new())
        answer, _ = await self.wallet.save(self.account, saving)
        assert isinstance(answer, Saved), answer
        return replace(saving, status="ready", token=answer.token), owner

    def strike(self, operation: str, fault: str) -> None:
        match = {"operation": NAMES[self.name][operation], "first_n": 1}
        more = {"hold_seconds": 5} if fault.startswith("withhold") else {}
        self.rig.server.knobs({"match": match, "fault": fault, **more})

    def held(self, owner: str) -> list[str]:
        """The tokens of a customer, as the merchant sees them at the gateway."""
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
            return [one.token for one in gateway.customer.find(owner).payment_methods]
        except NotFoundError:
            return []

    async def ask(self, operation: str, saving: Saving) -> Any:
        match operation:
            case "customer":
                key = f"sr_{saving.customer_id.hex}_{self.turn}"
                asking: Any = self.wallet.make_customer(self.account, saving.customer_id, key)
            case "save":
                asking = self.wallet.save(self.account, saving)
            case "look":
                asking = self.wallet.look(self.account, saving)
            case "look at saved":
                asking = self.wallet.look_at_saved(self.account, saving)
            case _:
                asking = self.wallet.detach(self.account, saving)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                answer, call = await asking
        except TimeoutError:
            return TimedOut()
        assert call.outcome
        return answer

    async def until_known(self, operation: str, saving: Saving, well: type[object]) -> Any:
        """As the saver does: after a doubt it looks, and asks again where nothing was done."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer: Any = None
            for _ in range(TURNS_MAX):
                asked = "look" if operation == "save" else operation
                answer = await self.ask(asked, saving)
                if operation == "save" and isinstance(answer, NotSent):
                    answer = await self.ask("save", saving)
                if isinstance(answer, well):
                    return answer
                self.turn += 1  # a 500 may be stored under the key, and told for a day
                await asyncio.sleep(0.2)
        raise AssertionError(f"never known: {answer}")


@pytest.fixture
async def wallets(rig: Any) -> AsyncIterator[Wallets]:
    made = Wallets(rig)
    try:
        yield made
    finally:
        await made.wallet.close()


AT_EACH: Final = pytest.mark.parametrize("rig", ["stripe", "braintree"], indirect=True)


async def ready(wallets: Wallets, operation: str) -> tuple[Saving, str, type[object], int]:
    """What is asked for, whose it is, how that ends well, and the cards that are left then."""
    match operation:
        case "customer":
            saving = wallets.new()
            return saving, "", Made, 0
        case "save":
            return (*await wallets.prepared(wallets.new()), Saved, 1)
        case "look at saved":
            return (*await wallets.saved(), Saved, 1)
        case _:
            return (*await wallets.saved(), Detached, 0)


@AT_EACH
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_lost_answer_claims_nothing_and_the_truth_is_found(
    wallets: Wallets, operation: str, fault: str
) -> None:
    saving, owner, well, left = await ready(wallets, operation)
    wallets.strike(operation, fault)
    answer = await wallets.ask(operation, saving)
    if fault in NOT_DONE and operation != "look at saved":
        assert not isinstance(answer, well), "it claims what was not done"
    assert not isinstance(answer, Declined), "nobody declined"
    if fault == "error_429":
        assert isinstance(answer, NotSent)
    wallets.rig.calm()
    made = await wallets.until_known(operation, saving, well)
    if operation == "customer":
        again = await wallets.ask(operation, saving)
        assert again == made, "one customer for one key"
        owner = made.object_id
    held = await asyncio.to_thread(wallets.held, owner)
    assert len(held) == left


@AT_EACH
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_is_asked_twice_is_done_once(wallets: Wallets, operation: str) -> None:
    saving, owner, well, left = await ready(wallets, operation)
    answers = [await wallets.ask(operation, saving) for _ in range(2)]
    if operation == "save":  # a second confirm may be refused: a look tells
        answers[1] = await wallets.until_known(operation, saving, well)
    assert answers[0] == answers[1]
    assert isinstance(answers[0], well)
    owner = owner or str(getattr(answers[0], "object_id", ""))
    assert len(await asyncio.to_thread(wallets.held, owner)) == left


@AT_EACH
@pytest.mark.parametrize("operation", ["customer", "save", "detach"])
async def test_what_is_asked_twice_at_once_is_done_once(wallets: Wallets, operation: str) -> None:
    saving, owner, well, left = await ready(wallets, operation)
    answers = await asyncio.gather(*(wallets.ask(operation, saving) for _ in range(3)))
    assert any(isinstance(one, well) for one in answers) or operation != "detach"
    made = await wallets.until_known(operation, saving, well)
    owner = owner or made.object_id
    assert len(await asyncio.to_thread(wallets.held, owner)) == left


@AT_EACH
async def test_a_card_that_is_declined_is_told_as_declined_and_not_saved(
    wallets: Wallets,
) -> None:
    saving = replace(wallets.new(), offered=DECLINED[wallets.name])
    saving, owner = await wallets.prepared(saving)
    answer = await wallets.ask("save", saving)
    assert isinstance(answer, Declined), answer
    assert answer.decline == "generic_decline"
    assert await asyncio.to_thread(wallets.held, owner) == []


@AT_EACH
async def test_a_card_that_was_let_go_there_is_seen_to_be_gone(wallets: Wallets) -> None:
    saving, _ = await wallets.saved()
    assert isinstance(await wallets.ask("detach", saving), Detached)
    assert isinstance(await wallets.ask("look at saved", saving), Detached)
