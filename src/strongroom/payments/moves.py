"""The single moves that a payment can make; `decide` and its parts choose among them. Pure."""

from datetime import datetime, timedelta
from typing import Final, Literal
from zlib import crc32

from strongroom.payments.declines import retry_of
from strongroom.payments.states import (
    Answered,
    AttemptState,
    Closing,
    Decision,
    Declined,
    Effect,
    Payment,
    Rest,
    Schedule,
    Withheld,
)
from strongroom.payments.ways import Refusal, Way, charge_token, without_tokens

RETRY_SECONDS: Final = (1, 2, 4, 8, 15, 30)
"""Waits between looks and sends; the last one repeats."""
RESTING_SECONDS_MAX: Final = 15
"""The longest wait of what was not sent for its account's sake: that may be well again soon."""
REPLACED: Final = "instrument_replaced"
"""Why an attempt is over that the customer had not finished."""
RESTING: Final = "gateway_resting"
"""Why a payment waits that nothing was sent for."""


def freeze(payment: Payment, now: datetime, review: str) -> Decision:
    """Nothing runs for the payment any more until a person has looked."""
    changed = payment.changed(now, status="outcome_unknown", review=review, next_action=None)
    return Decision(changed, Rest(), "payment.frozen", "unknown")


def close(
    payment: Payment,
    now: datetime,
    closing: Closing,
    reason: str,
    answer: Declined | None,
    effect: Effect,
    attempt_state: AttemptState | None = None,
) -> Decision:
    """The gateway's object has to be canceled before the payment may become `closing`."""
    changed = payment.changed(
        now,
        status="processing",
        status_reason="waiting_for_cancel_at_gateway",
        closing=closing,
        closing_reason=reason,
        next_action=None,
        decline=refusal_of(payment, answer),
    )
    return Decision(
        changed,
        effect,
        "payment.closing",
        attempt_state,
        answer.decline if answer else None,
        answer.raw_code if answer else None,
    )


def end(
    payment: Payment,
    now: datetime,
    status: Literal["failed", "canceled"],
    reason: str,
    attempt_state: AttemptState | None,
    answer: Declined | None = None,
) -> Decision:
    """No charge is possible any more: final, and the merchant reference is free again."""
    changed = payment.changed(
        now,
        status=status,
        status_reason=reason,
        closing=None,
        closing_reason=None,
        next_action=None,
        capture_minor=None,
        decline=refusal_of(payment, answer),
    )
    return Decision(
        changed,
        Rest(release=True),
        "payment." + status,
        attempt_state,
        answer.decline if answer else None,
        answer.raw_code if answer else None,
    )


def refusal_of(payment: Payment, answer: Declined | None) -> Refusal | None:
    """What the payment is to show of a decline, or what it shows already."""
    if answer is None:
        return payment.decline
    return Refusal(
        attempt_no=payment.attempt_no,
        decline=answer.decline,
        raw_code=answer.raw_code,
        retry=retry_of(answer),
    )


def go_elsewhere(
    payment: Payment, now: datetime, reason: str, attempt_state: AttemptState | None = None
) -> Decision:
    """No attempt can take money any more, so the payment goes the next of its ways.

    The first that has a token; where none has one, the customer is asked for an instrument.
    Whoever had an attempt says by `attempt_state` what became of it: the next one has a new number.
    """
    number = payment.attempt_no + (attempt_state is not None)
    way = next((way for way in payment.ways if way.token is not None), None)
    if way is None or wants_customer(payment):
        changed = payment.changed(
            now,
            status="requires_payment_method",
            status_reason=reason,
            gateway=None,
            gateway_account_id=None,
            instrument_token=None,
            ways=_back_at(payment) if wants_customer(payment) else payment.ways,
            attempt_no=number,
            closing=None,
            closing_reason=None,
            next_action=None,
        )
        effect = Schedule(max(payment.not_after, now))
        return Decision(changed, effect, "payment.instrument_wanted", attempt_state)
    changed = payment.changed(
        now,
        status="processing",
        status_reason=reason,
        gateway=way.gateway,
        gateway_account_id=way.gateway_account_id,
        instrument_token=way.token,
        ways=tuple(other for other in payment.ways if other is not way),
        attempt_no=number,
        closing=None,
        closing_reason=None,
        next_action=None,
    )
    return Decision(changed, Schedule(now), "payment.rerouted", attempt_state)


def is_away(payment: Payment) -> bool:
    """Whether it is being paid by what a customer has saved who is away."""
    saved = charge_token(payment.instrument_token)
    return saved is not None and saved.away is not None


def wants_customer(payment: Payment) -> bool:
    """Whether the bank wants to see its customer, who was away: another account changes nothing."""
    decline = payment.decline
    if decline is None or decline.attempt_no != payment.attempt_no:
        return False
    return decline.decline == "authentication_required" and is_away(payment)


def _back_at(payment: Payment) -> tuple[Way, ...]:
    """Its ways, the account first that knows what the customer has saved; all without a token."""
    ways = without_tokens(payment.ways)
    if payment.gateway is None or payment.gateway_account_id is None:
        return tuple(ways)
    own = Way(gateway=payment.gateway, gateway_account_id=payment.gateway_account_id)
    return own, *(one for one in ways if one.gateway_account_id != own.gateway_account_id)


def later(answered: Answered, now: datetime) -> Schedule:
    """The same again, after a wait that grows with the tries."""
    if isinstance(answered.answer, Withheld):
        return after_rest(answered.attempt.gateway_key, answered.tries, now)
    return Schedule(now + timedelta(seconds=_wait_seconds(answered.tries)))


def after_rest(name: str, tries: int, now: datetime) -> Schedule:
    """Once more, when the account may have rested: no two that wait come at the same moment.

    A line lets one probe through at a time, and what comes meanwhile waits again. If all came at
    once, each wave would be one probe. `name` differs for each that waits.
    """
    share = crc32(b"%s %d" % (name.encode(), tries)) / 2**32
    seconds = min(_wait_seconds(tries), RESTING_SECONDS_MAX)
    return Schedule(now + timedelta(seconds=seconds * (1 + share) / 2))


def _wait_seconds(tries: int) -> int:
    return RETRY_SECONDS[min(tries, len(RETRY_SECONDS)) - 1] if tries else 0


def rest(payment: Payment, now: datetime, effect: Effect) -> Decision:
    """The payment waits for its gateway account, which is not asked for now."""
    if payment.status != "processing" or payment.status_reason == RESTING:
        return Decision(payment, effect)
    changed = payment.changed(now, status_reason=RESTING)
    return Decision(changed, effect, "payment.waits_for_gateway")
