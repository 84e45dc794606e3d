"""What stands against a request that is well formed: what there is, and how we are."""

from typing import Final

from strongroom.problems.known import Known

_SAME_KEY: Final = (
    "Send the same request with the same Idempotency-Key again; it cannot charge twice."
)

FINDING: Final = {
    "payment_not_found": Known(
        404,
        "There is no payment with this id for the legal entity of your API key.",
        "Check the id, and that the API key belongs to the legal entity that made the payment.",
    ),
    "refund_not_found": Known(
        404,
        "There is no refund with this id for the legal entity of your API key.",
        "Check the id, and that the API key belongs to the legal entity that made the refund.",
    ),
    "dispute_not_found": Known(
        404,
        "There is no dispute with this id for the legal entity of your API key.",
        "Check the id, and that the API key belongs to the legal entity whose payment is disputed.",
    ),
    "tax_calculation_not_found": Known(
        404,
        "There is no tax calculation with this id for the legal entity of your API key.",
        "Check the id, and that the API key belongs to the legal entity that asked for it.",
    ),
    "customer_not_found": Known(
        404,
        "There is no customer with this id for the legal entity of your API key.",
        "Check the id, and that the API key belongs to the legal entity that made the customer.",
    ),
    "payout_not_found": Known(
        404,
        "There is no payout with this id for the legal entity of your API key.",
        "Check the id, and that the API key belongs to the legal entity that is paid out.",
    ),
    "payment_method_not_found": Known(
        404,
        "There is no payment method with this id for the legal entity of your API key.",
        "Check the id, and that the API key belongs to the legal entity that saved it.",
    ),
    "log_not_signed": Known(
        404,
        "Nothing of the log of your legal entity, or of this epoch of it, is signed yet.",
        "Ask again a second after the first payment; if there is still nothing, tell the operator: "
        "the signer does not run, or its folder does not come here.",
    ),
    "log_not_cosigned": Known(
        404,
        "No witness has cosigned a checkpoint of the log of your legal entity.",
        "Take the checkpoint as it is; the operator names witnesses in the signer's settings.",
    ),
    "log_epoch_not_found": Known(
        404,
        "That is no number of an epoch.",
        "Take one that `GET /v1/log/epochs` lists; one that was opened is there once it is signed.",
    ),
    "tile_not_found": Known(
        404,
        "The log of your legal entity has no such tile.",
        "Ask for tiles that the size in the checkpoint calls for, by their names in C2SP's "
        "tlog-tiles; where a partial tile is gone, ask for the full one of its number.",
    ),
    "checkout_link_not_found": Known(
        404,
        "No checkout link was made for this payment.",
        "Make one by POST to the path checkout_link below the payment's.",
    ),
    "route_not_found": Known(
        404, "There is nothing at this path.", "Look at the list of operations in /docs."
    ),
    "method_not_allowed": Known(
        405,
        "This path does not take this method.",
        "Use a method that the Allow header names, or look at the list of operations in /docs.",
    ),
}

STATE: Final = {
    "dispute_is_over": Known(
        409,
        "The dispute does not wait for an answer: it was answered, or decided.",
        "Look at its status.",
    ),
    "dispute_answer_under_way": Known(
        409,
        "An answer to the dispute is on its way to the gateway.",
        "Look at the dispute's answer, and ask again when it is done.",
    ),
    "merchant_reference_taken": Known(
        409,
        "Another payment that may still charge, or has charged, carries this merchant_reference.",
        "Look at the payment in payment_id; make a new reference for a new order.",
        field="merchant_reference",
        names_payment=True,
    ),
    "payment_has_an_instrument": Known(
        409,
        "The payment has an instrument already.",
        "To continue after an action, confirm without an instrument; else make a new payment.",
    ),
    "not_after_passed": Known(
        409,
        "The time in which the payment may be sent has passed.",
        "Make a new payment.",
    ),
    "instrument_missing": Known(
        409, "The payment waits for an instrument.", "Confirm with an instrument."
    ),
    "payment_is_over": Known(
        409,
        "The payment has come to its end.",
        "Look at its status; a charge that was made is given back by a refund.",
    ),
    "payment_is_closing": Known(
        409,
        "The payment is being canceled at its gateway.",
        "Wait until it leaves `processing`, e.g. by `Prefer: wait=10`.",
    ),
    "payment_under_review": Known(
        409,
        "The payment is frozen until a person has looked at it.",
        "Look at `review`; nothing can be asked of the payment before that is settled.",
    ),
    "payment_not_authorized": Known(
        409,
        "The payment holds no money that could be captured.",
        "Make it with `capture: manual` and wait for `authorized`.",
    ),
    "capture_under_way": Known(
        409,
        "A capture of this payment is under way.",
        "Wait until the payment leaves `processing`; a charge is given back by a refund.",
    ),
    "capture_exceeds_authorized": Known(
        409, "The amount is larger than what is held.", "Capture at most the payment's `amount`."
    ),
    "outcome_not_known": Known(
        409,
        "It is not known yet whether this payment was charged.",
        "Wait: it is asked for at the gateway until it is known. Then cancel or refund.",
    ),
    "payment_not_refundable": Known(
        409,
        "Only a payment that has succeeded can be refunded.",
        "Wait until it has; a payment that took no money is canceled instead.",
    ),
    "refund_exceeds_captured": Known(
        409,
        "The amount is larger than what is left: captured, less what refunds gave back or hold.",
        "Ask for at most the payment's `refundable_amount`.",
    ),
    "customer_erased": Known(
        409,
        "The customer was erased: its key is destroyed.",
        "Make a new customer, where the person has become one again.",
    ),
    "payment_method_not_ready": Known(
        409,
        "The payment method is still being saved.",
        "Wait until it is `ready` or `failed`; what its customer does not do in time ends it.",
    ),
    "consent_missing": Known(
        409,
        "Nobody has told that the customer agreed to be charged by this payment method while away.",
        "Record the consent at the `consent` of the payment method once the customer has given it, "
        "or confirm without `off_session` while the customer is there.",
    ),
    "gateway_account_retired": Known(
        409,
        "The gateway account that knows this payment method is retired: it takes no payments.",
        "Save the card anew, at an account in use; detach this one.",
    ),
    "idempotency_key_reused": Known(
        422,
        "This Idempotency-Key was used before for a request with other content.",
        "Make a new key for a new intent; send the old content to get the old answer.",
    ),
}

HERE: Final = {
    "refused_by_database": Known(
        422,
        "The database refused this request; nothing of it was stored.",
        "Check amounts and lengths; if they are right, tell the operator.",
    ),
    "internal_error": Known(
        500,
        "Something went wrong here. Whether the request took effect is not known.",
        "Send the same request again with the same Idempotency-Key.",
    ),
    "accept_contended": Known(503, "Requests got in each other's way.", _SAME_KEY),
    "accept_unknown": Known(
        503, "The database did not say whether the request is stored.", _SAME_KEY
    ),
    "queue_full": Known(503, "Too many requests are waiting.", _SAME_KEY),
    "database_unavailable": Known(503, "The database does not answer.", _SAME_KEY),
    "vault_unavailable": Known(
        503,
        "The keys that this request needs cannot be had at the moment; nothing was done.",
        _SAME_KEY,
    ),
    "too_many_connections": Known(
        503,
        "This process serves as many connections as it can; nothing was done.",
        "Send the same request again, with the same Idempotency-Key if it has one.",
    ),
    "log_unavailable": Known(
        503,
        "The signed logs are not on the machine that answers, or cannot be read there.",
        "Ask again; if it stays so, tell the operator: the signer's folder of logs has to be at "
        "`log` in the home of each API process, e.g. as a mount.",
    ),
    "log_window_exceeded": Known(
        503,
        "For too long nobody outside has seen the log of your legal entity, or that cannot be told "
        "now. So no money is moved; nothing was done.",
        "Send the same request again with the same Idempotency-Key after `Retry-After`; if it "
        "stays so, tell the operator. Reads and cancels go on, and so does what was accepted.",
        wait_seconds=30,
    ),
    "not_ready": Known(503, "{why}", "Ask again soon.", {"why": "The database does not answer."}),
}
