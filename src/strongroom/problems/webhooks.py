"""What a gateway is answered whose webhook is not taken. Callers of the API never meet these.

A gateway tries again whatever the status; its dashboard shows the answer to a person.
"""

from typing import Final

from strongroom.problems.known import Known

WEBHOOKS: Final = {
    "webhook_account_unknown": Known(
        404,
        "The path names no gateway account of this gateway.",
        "Register the address that docs/webhooks-in.md shows, with the id of the account.",
    ),
    "webhook_signature_invalid": Known(
        400,
        "The signature is missing, malformed, or made with another secret or for another body.",
        "Compare the endpoint's signing secret with `strongroom secrets list`; nothing may change "
        "the body on its way.",
    ),
    "webhook_not_fresh": Known(
        400,
        "It was signed more than {past} s ago, or more than {ahead} s from now.",
        "Set the clock of this machine; the gateway signs each delivery anew.",
        {"past": "300", "ahead": "60"},
    ),
    "webhook_malformed": Known(
        400,
        "The signature is genuine, and the body is no event of the form that is known.",
        "Look at the API version of the endpoint at the gateway.",
    ),
    "webhook_mode_mismatch": Known(
        400,
        "It comes from the gateway's live mode for an account that is not, or the other way round.",
        "Register each mode's endpoint with the account of that mode.",
    ),
    "webhook_secret_missing": Known(
        503,
        "The vault has no secret to check the signature with.",
        "Enter it by `strongroom secrets set ACCOUNT stripe_webhook_secret`; the gateway tries "
        "again.",
    ),
}
