"""Provocations about one noun each: customers, saved cards, disputes, payouts, taxes."""

import asyncio
from typing import Final
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from strongroom.access.api_keys import add_key
from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.directory import create_entity
from strongroom.ids import from_text, new_id
from tests.acceptance.client import Answer, order
from tests.acceptance.good_requests import Sent, World

ERASED_MAX: Final = 10
LOOKED_AT_SECONDS: Final = 4.0
"""In which what the gateway tells of a card that was just saved has been followed up."""


async def checkout_link_not_found(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    return await world.send(sent.of(await world.bare()))


async def checkout_not_set_up(world: World, operation_id: str) -> Answer:
    sent, key = await world.good(operation_id), f"Bearer {world.poor.api_key}"
    sent = sent.with_other("Authorization", key)
    return await world.send(sent.of((await world.poor.pay(order(None))).id))


async def of_an_empty_log(world: World, operation_id: str) -> Answer:
    """Of a legal entity that nothing is known of, as the command line would have noted."""
    sent, now = await world.good(operation_id), SystemClock().now()
    owner = await asyncpg.connect(
        world.running.owner_url, server_settings={"search_path": "strongroom, directory"}
    )
    try:
        entity = await create_entity(owner, "Idle Ltd", now)
        key = await add_key(
            owner, mode="dev", legal_entity_id=entity, name="idle", scopes=["log:read"],
            api_key_id=new_id(microseconds_since_epoch(now), entity), at=now,
        )  # fmt: skip
    finally:
        await owner.close()
    return await world.send(sent.with_other("Authorization", f"Bearer {key}"))


async def dispute_not_found(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    path = sent.operation.path.format(dispute_id="dsp_" + "0" * 26)
    return await world.send(replace(sent, path=path))


async def customer_not_found(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    if operation_id == "create_payment":
        return await world.send(sent.with_fields(save={"customer": "cus_" + "0" * 26}))
    end = "/payment_methods" if sent.path.endswith("/payment_methods") else ""
    return await world.send(replace(sent, path=f"/v1/customers/cus_{'0' * 26}{end}"))


async def customer_field_invalid(world: World, operation_id: str) -> Answer:
    sent, wrong = await world.good(operation_id), {"user_agent": ""}
    if operation_id == "agree_to_payment_method":
        return await world.send(sent.with_body(sent.json | wrong))
    if operation_id == "create_payment":
        consent = {"given_at": "2026-10-01T09:30:00Z", "text_version": "1"} | wrong
        save = {"customer": await world.customer(), "consent": consent}
        return await world.send(sent.with_fields(save=save))
    if operation_id == "save_payment_method":
        consent = sent.json["consent"] | wrong
        return await world.send(sent.with_body(sent.json | {"consent": consent}))
    return await world.send(sent.with_body(sent.json | {"email": "nobody"}))


async def method_not_found(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    if operation_id == "confirm_payment":
        return await world.send(sent.with_body({"payment_method": "pm_" + "0" * 26}))
    asks = sent.operation.method == "POST"
    end = f"/{sent.path.rpartition('/')[2]}" if asks else ""
    return await world.send(replace(sent, path=f"/v1/payment_methods/pm_{'0' * 26}{end}"))


async def method_not_ready(world: World, operation_id: str) -> Answer:
    """Its customer has something to do."""
    sent = await world.good(operation_id)
    method = await world.method(await world.customer(), "pm_card_threeDSecure2Required")
    if operation_id == "confirm_payment":
        return await world.send(sent.with_body({"payment_method": method}))
    if operation_id == "agree_to_payment_method":  # gone is not ready, too
        await world.api.post(f"/v1/payment_methods/{sent.path.split('/')[3]}/detach", {})
        return await world.send(sent)
    return await world.send(replace(sent, path=f"/v1/payment_methods/{method}/detach"))


async def consent_missing(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    path = f"/v1/customers/{await world.customer()}/payment_methods"
    card = {"instrument": {"gateway": "stripe", "token": "pm_card_visa"}}
    method = (await world.api.post(path, card, wait=20)).id
    return await world.send(sent.with_body({"payment_method": method, "off_session": True}))


async def account_retired(world: World, operation_id: str) -> Answer:
    """As if the account that a card is saved at had been retired."""
    sent = await world.good(operation_id)
    method = await world.method(await world.customer())
    known = await world.owner.fetchval(
        "SELECT gateway_account_id FROM payment_method_tokens WHERE payment_method_id = $1",
        from_text("pm", method),
    )
    await asyncio.sleep(LOOKED_AT_SECONDS)

    async def move(account: UUID) -> None:
        await world.owner.execute(
            "WITH moved AS (UPDATE payment_method_tokens SET gateway_account_id = $2 "
            "WHERE payment_method_id = $1) UPDATE gateway_customers g "
            "SET gateway_account_id = $2 FROM payment_methods m "
            "WHERE m.payment_method_id = $1 AND g.customer_id = m.customer_id",
            from_text("pm", method), account,
        )  # fmt: skip

    await move(from_text("gwa", "gwa_" + "0" * 26))
    answer = await world.send(sent.with_body({"payment_method": method}))
    await move(known)
    return answer


async def customer_erased(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    subject = ""
    if operation_id == "create_payment":
        subject = await world.customer()
        sent = sent.with_fields(save={"customer": subject})
    elif sent.path.startswith("/v1/customers/"):
        subject = sent.path.split("/")[3]
    if operation_id == "confirm_payment":
        return await _confirmed_by_erased(world, sent)
    if operation_id == "agree_to_payment_method":
        subject = (await world.api.get(sent.path.removesuffix("/consent"))).json["customer"]
    await asyncio.to_thread(
        world.running.command, "vault", "subjects", "destroy", subject, "--yes", "--entity",
        world.running.legal_entity,
    )  # fmt: skip
    return await world.send(sent)


async def _confirmed_by_erased(world: World, sent: Sent, tries: int = ERASED_MAX) -> Answer:
    """A worker lets go of what an erased customer had saved, and may be first."""
    subject = await world.customer()
    sent = sent.with_body({"payment_method": await world.method(subject)})
    await asyncio.to_thread(
        world.running.command, "vault", "subjects", "destroy", subject, "--yes", "--entity",
        world.running.legal_entity,
    )  # fmt: skip
    answer = await world.send(sent)
    if answer.code == "payment_method_not_ready" and tries > 1:
        return await _confirmed_by_erased(world, sent, tries - 1)
    return answer


async def payout_not_found(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    path = sent.operation.path.format(payout_id="pyt_" + "0" * 26)
    return await world.send(replace(sent, path=path))


async def over(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    [dispute] = await world.api.disputes_of(sent.payment or "")
    await world.stripe.decide_dispute(dispute["gateway_dispute"], "won")
    await world.api.disputes_of(sent.payment or "", "won")
    return await world.send(sent)


async def being_answered(world: World, operation_id: str) -> Answer:
    """Its answer finds no gateway."""
    await world.stripe.knobs({"fault": "error_503", "match": {"operation": "disputes.update"}})
    sent = await world.good(operation_id)
    [dispute] = await world.api.disputes_of(sent.payment or "")
    body = {"evidence": {"customer_name": "A"}}
    told = await world.api.post(f"/v1/disputes/{dispute['id']}/evidence", body)
    assert told.status == 202, told
    return await world.send(sent)


async def calculation_not_found(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    path = sent.operation.path.format(calculation_id="txc_" + "0" * 26)
    return await world.send(replace(sent, path=path))


async def calculation_of_other_money(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    return await world.send(sent.with_fields(tax_calculation=await world.calculated()))


async def calculation_expired(world: World, operation_id: str) -> Answer:
    calculation = await world.calculated()
    await world.owner.execute(
        "UPDATE tax_calculations SET expires_at = created_at WHERE calculation_id = $1",
        from_text("txc", calculation),
    )
    sent = await world.good(operation_id)
    return await world.send(sent.with_fields(tax_calculation=calculation))


async def calculation_taken(world: World, operation_id: str) -> Answer:
    named = {"tax_calculation": await world.calculated(), "amount": 11_900}
    first = await world.api.pay(order(None, **named))
    assert first.status == 201, first
    sent = await world.good(operation_id)
    return await world.send(sent.with_fields(**named))


async def no_tax_service(world: World, operation_id: str) -> Answer:
    sent, key = await world.good(operation_id), f"Bearer {world.poor.api_key}"
    return await world.send(sent.with_other("Authorization", key))
