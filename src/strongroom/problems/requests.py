"""What is wrong with a request itself, whatever it asks for."""

from typing import Final

from strongroom.problems.known import Known

_CORRECT: Final = "Correct {field} and send again."

READING: Final = {
    "card_number_refused": Known(
        422,
        "The request holds in its {place} what looks like a card number; nothing of it was kept.",
        "Send the gateway's token instead of a card number. In a reference of your own, let no "
        "more than 12 digits follow on each other: put a letter between them.",
        {"place": "body"},
    ),
    "json_malformed": Known(
        400, "The body is not well-formed JSON in UTF-8.", "Send one JSON object."
    ),
    "idempotency_key_missing": Known(
        400,
        "Requests that move money need an Idempotency-Key header.",
        "Make a unique key for each intent, e.g. a UUID, and send it again on every retry.",
    ),
    "idempotency_key_malformed": Known(
        400,
        "An Idempotency-Key has 1 to {most} visible ASCII characters.",
        "Send a shorter or cleaner key, e.g. a UUID.",
        {"most": "255"},
    ),
    "idempotency_key_misplaced": Known(
        400,
        "A bulk takes no Idempotency-Key header: each of its items has a key of its own.",
        "Leave the header out, and put a key into idempotency_key of each item.",
    ),
    "header_repeated": Known(
        400,
        "A header that may stand once stands in the request twice.",
        "Send each of Authorization, Idempotency-Key, Prefer and Content-Type once.",
    ),
    "header_not_ascii": Known(
        400,
        "A header holds characters outside ASCII.",
        "Send plain ASCII in Authorization, Idempotency-Key, Prefer and Content-Type.",
    ),
    "query_malformed": Known(
        400,
        "The query string cannot be read.",
        "Send percent-encoded UTF-8, each parameter once.",
    ),
    "request_malformed": Known(
        400, "The request cannot be read.", "Compare it with the API's reference."
    ),
    "body_too_slow": Known(
        408,
        "The body did not arrive within {seconds} seconds; nothing was done.",
        "Send the same request again, with the same Idempotency-Key.",
        {"seconds": "10"},
    ),
    "body_too_large": Known(
        413,
        "A body has at most {most} bytes.",
        "Send less; a payment needs no more than its reference, description and metadata.",
        {"most": "65536"},
    ),
    "content_type_not_json": Known(
        415,
        "The body has another Content-Type than application/json.",
        "Send JSON with `Content-Type: application/json`.",
    ),
}

ALLOWED: Final = {
    "api_key_invalid": Known(
        401,
        "The request carries no valid API key.",
        "Send `Authorization: Bearer <key>` with a key of this deployment that is not revoked.",
    ),
    "scope_missing": Known(
        403,
        "The API key does not have the scope {scope}.",
        "Use a key with {scope}; `strongroom keys create --scope {scope}` makes one.",
        {"scope": "payments:write"},
    ),
    "key_not_checked": Known(
        503,
        "The API key cannot be checked at the moment, so nothing was done.",
        "Send the same request again in a few seconds.",
    ),
}

FIELDS: Final = {
    "field_unknown": Known(
        422,
        "The body has a field that this operation does not know.",
        "Send only these fields: {fields}.",
        {"fields": "instrument, return_url"},
    ),
    "field_missing": Known(
        422,
        "The field {field} is missing.",
        "Send {field}; the fields are: {fields}.",
        {"fields": "instrument, return_url"},
        field="instrument.token",
    ),
    "field_repeated": Known(
        422,
        "A name stands twice in one object of the body.",
        "Send each field, and each key of metadata, once.",
    ),
    "field_type_wrong": Known(
        422,
        "A field has the wrong type or form.{rule}",
        "Compare the body with the API's reference; amounts are integers in minor units.",
        {"rule": " It wants: int."},
        field="amount",
    ),
    "amount_invalid": Known(
        422,
        "The field amount is an integer above 0 and below 2^63, in the currency's minor unit.",
        _CORRECT,
        field="amount",
    ),
    "amount_not_representable": Known(
        422,
        "{why}",
        "Choose another amount, currency or gateway.",
        {"why": "Stripe takes at most 8 digits."},
        field="amount",
    ),
    "currency_unknown": Known(
        422,
        "The field currency is an ISO 4217 code, as EUR.",
        _CORRECT,
        field="currency",
    ),
    "merchant_reference_length": Known(
        422,
        "The field merchant_reference has {least} to {most} characters.",
        _CORRECT,
        {"least": "1", "most": "200"},
        field="merchant_reference",
    ),
    "merchant_reference_characters": Known(
        422,
        "The field merchant_reference holds no control characters.",
        _CORRECT,
        field="merchant_reference",
    ),
    "description_length": Known(
        422,
        "The field description has {least} to {most} characters.",
        _CORRECT,
        {"least": "0", "most": "1000"},
        field="description",
    ),
    "description_characters": Known(
        422,
        "The field description holds no control characters.",
        _CORRECT,
        field="description",
    ),
    "evidence_length": Known(
        422,
        "A text of evidence has {least} to {most} characters.",
        _CORRECT,
        {"least": "1", "most": "20000"},
        field="evidence.customer_name",
    ),
    "evidence_characters": Known(
        422,
        "A text of evidence has characters that cannot be printed.",
        _CORRECT,
        field="evidence.customer_name",
    ),
    "metadata_too_large": Known(
        422,
        "The field metadata has at most {most} keys.",
        _CORRECT,
        {"most": "50"},
        field="metadata",
    ),
    "metadata_length": Known(
        422,
        "A {part} of metadata has {least} to {most} characters.",
        _CORRECT,
        {"part": "key", "least": "1", "most": "40"},
        field="metadata",
    ),
    "metadata_characters": Known(
        422,
        "The field metadata holds no control characters.",
        _CORRECT,
        field="metadata",
    ),
    "customer_field_invalid": Known(
        422,
        "The field {field} must be {rule}.",
        _CORRECT,
        {"rule": "an e-mail address of at most 254 characters"},
        field="email",
    ),
    "not_after_invalid": Known(
        422,
        "The field not_after lies ahead, by at most {days} days.",
        _CORRECT,
        {"days": "7"},
        field="not_after",
    ),
    "instrument_token_malformed": Known(
        422,
        "The field {field} is a PaymentMethod id of Stripe, pm_ and letters and digits, or a nonce "
        "of Braintree; never card data.",
        _CORRECT,
        field="instrument.token",
    ),
    "gateway_customer_malformed": Known(
        422,
        "The field {field} is a Customer id of Stripe, cus_ and letters and digits.",
        _CORRECT,
        field="instrument.gateway_customer",
    ),
    "instrument_ambiguous": Known(
        422,
        "Give an instrument or a payment_method, and off_session only with a payment_method.",
        "Leave one of them out.",
        field="payment_method",
    ),
    "return_url_invalid": Known(
        422,
        "The field return_url is an https URL of at most {most} characters.",
        _CORRECT,
        {"most": "2000"},
        field="return_url",
    ),
    "bulk_size": Known(
        422,
        "The field {field} has 1 to {most} items.",
        "Send the rest in further requests.",
        {"most": "500"},
        field="refunds",
    ),
    "tax_field_invalid": Known(
        422,
        "The field {field} must be {rule}.",
        _CORRECT,
        {"rule": "a tax code, txcd_ and eight digits"},
        field="line_items.tax_code",
    ),
    "tax_service_missing": Known(
        422,
        "The legal entity has no account at a gateway that calculates taxes.",
        "Add one at Stripe with `strongroom gateway-accounts add`, and set up Stripe Tax there.",
        field="gateway_account",
    ),
    "tax_calculation_unknown": Known(
        422,
        "You have no tax calculation of this id that is ready.",
        "Name one whose status is `ready`.",
        field="tax_calculation",
    ),
    "tax_calculation_expired": Known(
        422,
        "The tax calculation can be named until its `usable_until`, which has passed.",
        "Make a new one and name that.",
        field="tax_calculation",
    ),
    "tax_calculation_differs": Known(
        422,
        "The amount and the currency are not the total and the currency of the tax calculation.",
        "Take the calculation's `total` as the amount, or make a new calculation.",
        field="tax_calculation",
    ),
    "tax_calculation_taken": Known(
        422,
        "Another payment that may still charge, or has charged, has this tax calculation.",
        "Go on with that payment, or make a new calculation.",
        field="tax_calculation",
        names_payment=True,
    ),
    "country_invalid": Known(
        422, "The field country is two capital letters.", _CORRECT, field="country"
    ),
    "instrument_alternatives_too_many": Known(
        422,
        "The field {field} has at most {most} items.",
        _CORRECT,
        {"most": "4"},
        field="instrument.alternatives",
    ),
    "gateway_account_unknown": Known(
        422,
        "The instrument names an account that is not in use at its gateway.",
        "Leave it out, or name an account by the id that adding it printed.",
        field="instrument.account",
    ),
    "checkout_not_set_up": Known(
        422,
        "No gateway account that the payment may go to can have a page.",
        "At Stripe, name its key by `strongroom gateway-accounts publish ACCOUNT pk_...`; at "
        "Braintree, where the currency is paid to by `gateway-accounts pay-to`.",
    ),
    "gateway_account_missing": Known(
        422,
        "The legal entity has no account at {gateway}.",
        "Add one with `strongroom gateway-accounts add`.",
        {"gateway": "stripe"},
        field="instrument.gateway",
    ),
    "merchant_account_missing": Known(
        422,
        "The account at {gateway} has no merchant account for this currency.",
        "Choose another currency or gateway, or say where it is paid to with `strongroom "
        "gateway-accounts pay-to`.",
        {"gateway": "braintree"},
        field="currency",
    ),
}

PARAMETERS: Final = {
    "parameter_unknown": Known(
        422,
        "The query string has a parameter that this operation does not know; it takes {known}.",
        "Correct it and ask again.",
        {"known": "none"},
    ),
    "parameter_repeated": Known(
        422,
        "The query parameter {field} must be given once.",
        "Correct it and ask again.",
        field="limit",
    ),
    "parameter_invalid": Known(
        422,
        "The query parameter {field} must be {rule}.",
        "Correct it and ask again.",
        {"rule": "a number from 1 to 100"},
        field="limit",
    ),
}
