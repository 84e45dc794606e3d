"""Braintree's webhooks: genuine ones of every kind pass, and nothing else does."""

import hashlib
import hmac
import inspect
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import braintree
import pytest
from braintree.exceptions.invalid_signature_error import InvalidSignatureError
from braintree.webhook_notification import WebhookNotification

from strongroom.errors import Invalid
from strongroom.gateways.braintree.webhook import (
    AGE_MAX,
    AHEAD_MAX,
    answer_challenge,
    read_webhook,
)
from strongroom.ids import to_text
from strongroom.vault.kinds import (
    BRAINTREE_KEYS,
    BRAINTREE_WEBHOOK_KEY,
    checked,
    derived_of,
    kind_of,
)
from strongroom.vault.secret import Secret
from strongroom.webhooks.hints import CONNECTED_ACCOUNT, NO_REFERENCE, Hint
from tests.unit.examples import PAYMENT

MERCHANT, PUBLIC, PRIVATE = "merchant_1", "public_key_1", "0123456789abcdef0123456789abcdef"
KINDS = sorted(
    value for name, value in inspect.getmembers(WebhookNotification.Kind) if name[0].isupper()
)


def sdk(private: str = PRIVATE) -> Any:
    environment = braintree.Environment("x", "127.0.0.1", "1", "", False, None, "", "1")
    configuration = braintree.Configuration(environment, MERCHANT, PUBLIC, private)
    return braintree.BraintreeGateway(config=configuration)


def key(private: str = PRIVATE, public: str = PUBLIC) -> Secret:
    made = derived_of(BRAINTREE_KEYS, Secret(f"{MERCHANT}:{public}:{private}"))
    assert made is not None
    assert made[0] == BRAINTREE_WEBHOOK_KEY
    return checked(kind_of(made[0]), "live", made[1])


def sample(kind: str, private: str = PRIVATE) -> dict[str, str]:
    """A delivery as the SDK's own test gateway makes one."""
    made = sdk(private).webhook_testing.sample_notification(kind, "abc123")
    return {"bt_signature": made["bt_signature"], "bt_payload": made["bt_payload"].decode()}


def now() -> datetime:
    return datetime.now(UTC)


def read(fields: dict[str, str] | bytes, *secrets: Secret, at: datetime | None = None) -> Hint:
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    return read_webhook(body, [], secrets or (key(),), at or now())


def refused(fields: dict[str, str] | bytes, *secrets: Secret, at: datetime | None = None) -> str:
    with pytest.raises(Invalid) as raised:
        read(fields, *secrets, at=at)
    return raised.value.code


def signed(xml: str, private: str = PRIVATE) -> dict[str, str]:
    from base64 import encodebytes

    payload = encodebytes(xml.encode()).decode()
    digest = braintree.util.crypto.Crypto.sha1_hmac_hash(private, payload)
    return {"bt_signature": f"{PUBLIC}|{digest}", "bt_payload": payload}


def notification(
    subject: str, kind: str = "transaction_settled", at: datetime | None = None
) -> str:
    moment = (at or now()).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f'<notification><timestamp type="datetime">{moment}</timestamp><kind>{kind}</kind>'
        f"<subject>{subject}</subject></notification>"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_genuine_one_of_each_kind_passes(kind):
    fields = sample(kind)
    assert sdk().webhook_notification.parse(fields["bt_signature"], fields["bt_payload"])
    hint = read(fields)
    assert (hint.kind, hint.is_live) == (kind, None)
    assert abs(now() - hint.happened_at) < timedelta(minutes=1)
    assert read(fields).event_id == hint.event_id
    assert not any(letter.isdigit() for letter in hint.event_id)
    if kind.startswith(("dispute_", "disbursement")):
        looked_at = "dispute" if kind.startswith("dispute_") else "payout"
        assert (hint.state, hint.object_type, hint.lane) == ("received", looked_at, None)
        assert hint.object_id


def test_a_dispute_tells_of_its_money_and_a_disbursement_of_its_day():
    hint = read(sample("dispute_lost"))
    assert (hint.object_id, hint.amount_minor, hint.currency) == ("abc123", 10000, "USD")
    hint = read(sample("disbursement"))
    assert hint.object_id == "merchant_account_token@2014-02-09"
    for account, day in (("a b", "2014-02-10"), ("", "2014-02-10"), ("a", ""), ("a", "2014")):
        xml = notification(
            f"<disbursement><id>d1</id><merchant-account><id>{account}</id></merchant-account>"
            f"<disbursement-date>{day}</disbursement-date></disbursement>",
            "disbursement",
        )
        assert (read(signed(xml)).state, read(signed(xml)).reason) == ("parked", NO_REFERENCE)


def test_the_way_of_checking_that_circulates_refuses_genuine_ones():
    """HMAC-SHA256 with the private key, compared with what stands in bt_signature."""
    for kind in KINDS:
        fields = sample(kind)
        given = fields["bt_signature"].partition("|")[2]
        for text in (fields["bt_payload"], fields["bt_payload"].strip()):
            told = hmac.new(PRIVATE.encode(), text.encode(), hashlib.sha256).hexdigest()
            assert told != given
            assert len(told) != len(given)  # timingSafeEqual throws on that
        assert read(fields).kind == kind


SHAPES = {
    "no bar": lambda s: s.replace("|", ""),
    "three parts": lambda _: "a|b|c",
    "empty": lambda _: "",
    "a bar alone": lambda _: "|",
    "another digest": lambda s: s[:-1] + ("0" if s[-1] != "0" else "1"),
    "upper case": lambda s: s.partition("|")[0] + "|" + s.partition("|")[2].upper(),
    "longer": lambda s: s + "0",
    "another public key": lambda s: "public_key_2|" + s.partition("|")[2],
    "not ASCII": lambda s: s.partition("|")[0] + "|" + "é" * 40,
    "not ASCII before": lambda s: "é" + s,
    "NUL": lambda s: s + "\0",
    "many": lambda s: "&".join([s] * 9),
    "a good one beside a bad one": lambda s: s + "&a|b|c",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_signatures_that_are_none(shape):
    fields = sample("check")
    fields["bt_signature"] = SHAPES[shape](fields["bt_signature"])
    assert refused(fields) == "webhook_signature_invalid"


def test_what_the_sdk_raises_for_malformed_ones_is_refused_in_the_same_words():
    fields = sample("check")
    for signature, error in (("a|b|c", ValueError), ("é|é", InvalidSignatureError)):
        with pytest.raises(error):
            sdk().webhook_notification.parse(signature, fields["bt_payload"])
        assert refused(fields | {"bt_signature": signature}) == "webhook_signature_invalid"
    with pytest.raises(UnicodeEncodeError):
        sdk().webhook_notification.parse(fields["bt_signature"], "é")
    assert refused(fields | {"bt_payload": "é"}) == "webhook_signature_invalid"


def test_another_secret_an_altered_payload_and_other_bodies():
    fields = sample("check")
    assert refused(fields, key("f" * 32)) == "webhook_signature_invalid"
    assert refused(fields, Secret("nonsense")) == "webhook_signature_invalid"
    altered = fields | {"bt_payload": fields["bt_payload"].replace("P", "Q", 1)}
    assert refused(altered) == "webhook_signature_invalid"
    for body in (
        b"", b"{}", b"bt_payload=a", b"\xff\xfe", urlencode(fields | {"more": "1"}).encode(),
        urlencode([*fields.items(), *fields.items()]).encode(), b"&" * 100,
    ):  # fmt: skip
        assert refused(body) == "webhook_signature_invalid"


def test_two_secrets_while_one_takes_the_others_place():
    older, newer = "a" * 32, PRIVATE
    for private in (older, newer):
        fields = sample("check", private)
        assert read(fields, key(newer), key(older)).kind == "check"
        assert read(fields, key(older), key(newer)).kind == "check"
    pair = sample("check")["bt_signature"]
    both = sample("check") | {"bt_signature": f"public_key_9|{'0' * 40}&{pair}"}
    assert refused(both | {"bt_payload": sample("check")["bt_payload"] + "\n\n"})


@pytest.mark.parametrize(
    ("age", "fresh"),
    [(timedelta(0), True), (AGE_MAX - timedelta(minutes=1), True), (-AHEAD_MAX / 2, True),
     (AGE_MAX + timedelta(minutes=1), False), (-AHEAD_MAX - timedelta(seconds=5), False),
     (timedelta(days=400), False), (-timedelta(days=400), False)],
)  # fmt: skip
def test_how_old_and_how_new_one_may_be(age, fresh):
    fields = signed(notification("<check type='boolean'>true</check>", "check", now() - age))
    if fresh:
        assert read(fields).state == "ignored"
    else:
        assert refused(fields) == "webhook_not_fresh"


@pytest.mark.parametrize(
    "xml",
    ["", "<notification/>", "no xml", "<other><kind>check</kind></other>",
     "<notification><kind>check</kind></notification>",
     "<notification><timestamp>2026</timestamp><kind>check</kind></notification>",
     '<notification><timestamp type="datetime">never</timestamp><kind>c</kind></notification>'],
)  # fmt: skip
def test_signed_nonsense_is_malformed(xml):
    if xml:
        assert refused(signed(xml)) == "webhook_malformed"
    kind = notification("<check/>", "Not A Kind")
    assert refused(signed(kind)) == "webhook_malformed"


ORDER = to_text("pay", PAYMENT) + ".3"


def transaction(**fields: str) -> str:
    known = {
        "id": "tr_1", "type": "sale", "order_id": ORDER, "amount": "20.00",
        "currency_iso_code": "EUR",
    }  # fmt: skip
    inner = "".join(f"<{n.replace('_', '-')}>{v}</{n.replace('_', '-')}>"
                    for n, v in (known | fields).items())  # fmt: skip
    return f"<transaction>{inner}</transaction>"


def test_a_transaction_names_the_attempt_that_it_was_made_for():
    hint = read(signed(notification(transaction())))
    assert (hint.state, hint.lane, hint.owner_id, hint.attempt_no) == (
        "received", "payments", PAYMENT, 3,
    )  # fmt: skip
    assert (hint.known_by, hint.object_id, hint.object_type) == ("tr_1", "tr_1", "transaction")
    assert (hint.amount_minor, hint.currency) == (2000, "EUR")
    part = transaction(
        amount="7.00",
        status_history="<x></x>",
    ).replace(
        "<status-history><x></x></status-history>",
        '<status-history type="array"><status-event><amount>20.00</amount></status-event>'
        "</status-history>",
    )
    assert read(signed(notification(part))).amount_minor == 2000  # what was authorized
    refund = transaction(type="credit", order_id=to_text("ref", PAYMENT))
    hint = read(signed(notification(refund, "refund_failed")))
    assert (hint.lane, hint.owner_id, hint.attempt_no) == ("refunds", PAYMENT, None)


@pytest.mark.parametrize(
    "fields",
    [{"order_id": ""}, {"order_id": "order-7"}, {"order_id": "pay_x.1"}, {"order_id": ORDER + "x"},
     {"order_id": to_text("pay", PAYMENT)}, {"order_id": ORDER.replace(".3", ".99999999999")},
     {"order_id": to_text("ref", PAYMENT)}, {"type": "credit"}],
)  # fmt: skip
def test_what_bears_no_reference_of_ours_is_parked(fields):
    hint = read(signed(notification(transaction(**fields))))
    assert (hint.state, hint.reason, hint.owner_id) == ("parked", NO_REFERENCE, None)


def test_what_is_another_merchants_is_parked():
    xml = notification(transaction()).replace(
        "<kind>", "<source-merchant-id>other</source-merchant-id><kind>"
    )
    hint = read(signed(xml))
    assert (hint.state, hint.reason) == ("parked", CONNECTED_ACCOUNT)


def test_the_challenge_is_answered_as_the_sdk_would():
    for challenge in ("20f9f8ed05f77439fe955c977e4c8a53", "a" * 20):
        assert answer_challenge(challenge, key()) == sdk().webhook_notification.verify(challenge)
    for wrong in ("", "a" * 19, "a" * 33, "A" * 20, "a" * 20 + "\n", "é" * 20, "<" * 20):
        with pytest.raises(Invalid):
            answer_challenge(wrong, key())


def test_who_checks_webhooks_cannot_use_the_account():
    assert PRIVATE not in key().reveal_text()
    assert derived_of("stripe_api_key", Secret("sk_test_12345678")) is None
