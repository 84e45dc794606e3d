"""Signatures of our webhooks: what the libraries of receivers accept, and nothing of the secret."""

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from strongroom.errors import InvariantBroken
from strongroom.vault.secret import Secret
from strongroom.webhooks.signatures import (
    BODY_BYTES_MAX,
    KEY_BYTES_MAX,
    KEY_BYTES_MIN,
    SECRETS_MAX,
    Message,
    SecretMalformed,
    checked_secret,
    new_secret,
    signed_headers,
)

# The vector of the libraries of Standard Webhooks.
SECRET = Secret("whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
MESSAGE = Message(
    id="msg_p5jXN8AQM9LWM0D4loKWxJek",
    at=datetime.fromtimestamp(1614265330, UTC),
    body=b'{"test": 2432232314}',
)
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
CANARY = "canary"

keys = st.binary(min_size=KEY_BYTES_MIN, max_size=KEY_BYTES_MAX)
moments = st.datetimes(
    datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001
)  # fmt: skip


def secret_of(key: bytes) -> Secret:
    return Secret("whsec_" + base64.b64encode(key).decode())


def test_the_vector_of_the_specifications_libraries_is_met():
    assert signed_headers(MESSAGE, [SECRET]) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


@given(keys, moments, st.text(max_size=200).map(str.encode))
def test_a_signature_is_the_one_that_a_receivers_library_makes(key, at, body):
    secret = secret_of(key)
    made = signed_headers(Message(id="msg_1", at=at, body=body), [secret])
    theirs = Webhook(secret.reveal_text()).sign("msg_1", at, body.decode())
    assert made["webhook-signature"] == theirs


def test_each_secret_signs_in_its_order():
    secrets = [SECRET, new_secret(), new_secret()]
    together = signed_headers(MESSAGE, secrets)["webhook-signature"].split(" ")
    alone = [signed_headers(MESSAGE, [one])["webhook-signature"] for one in secrets]
    assert together == alone
    assert together[0] == SIGNATURE
    assert len(set(together)) == 3


def test_the_moment_is_in_whole_seconds_whatever_its_zone():
    at = datetime(2026, 11, 29, 16, 0, 0, 999_999, tzinfo=UTC)
    elsewhere = at.astimezone(timezone(timedelta(hours=9, minutes=30)))
    for one in (at, elsewhere):
        made = signed_headers(Message(id="a", at=one, body=b""), [SECRET])
        assert made["webhook-timestamp"] == "1795968000"


def test_a_new_secret_is_one_and_no_two_are_alike():
    made = [new_secret() for _ in range(100)]
    assert len({one.reveal() for one in made}) == 100
    for one in made:
        assert checked_secret(one) is one
        assert len(base64.b64decode(one.reveal()[6:])) == 32
        assert "whsec" not in f"{one} {one!r}"


@pytest.mark.parametrize("size", [KEY_BYTES_MIN, 25, 26, 32, KEY_BYTES_MAX])
def test_a_secret_has_24_to_64_bytes(size):
    assert checked_secret(secret_of(b"x" * size))


@pytest.mark.parametrize(
    "text",
    [
        "", "whsec_", "whsec", CANARY, "whsec_" + CANARY,
        secret_of(b"x" * (KEY_BYTES_MIN - 1)).reveal_text(),
        secret_of(b"x" * (KEY_BYTES_MAX + 1)).reveal_text(),
        SECRET.reveal_text()[6:],
        SECRET.reveal_text().upper(),
        SECRET.reveal_text() + "\n",
        " " + SECRET.reveal_text(),
        "whsec_" + SECRET.reveal_text(),
        "whsk_" + SECRET.reveal_text()[6:],
        secret_of(b"\xff" * 32).reveal_text().replace("/", "_"),
        secret_of(b"x" * 32).reveal_text().rstrip("="),
        "whsec_" + "é" * 40,
    ],
)  # fmt: skip
def test_what_is_no_secret_is_refused_and_not_shown(text):
    for use in (checked_secret, lambda one: signed_headers(MESSAGE, [SECRET, one])):
        with pytest.raises(SecretMalformed) as caught:
            use(Secret(text))
        assert str(caught.value) == ""
        assert caught.value.__cause__ is None
        assert not caught.value.args


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a\r\nx: y", "é", "a" * 65, "a\0", "msg_1\n"])
def test_an_id_that_could_move_the_bounds_of_what_is_signed_is_refused(name):
    with pytest.raises(InvariantBroken):
        signed_headers(Message(id=name, at=MESSAGE.at, body=b""), [SECRET])


def test_a_message_that_cannot_be_is_refused():
    large = Message(id="a", at=MESSAGE.at, body=b"x" * (BODY_BYTES_MAX + 1))
    naive = Message(id="a", at=MESSAGE.at.replace(tzinfo=None), body=b"")
    for message in (large, naive):
        with pytest.raises(InvariantBroken):
            signed_headers(message, [SECRET])
    for secrets in ([], [SECRET] * (SECRETS_MAX + 1)):
        with pytest.raises(InvariantBroken):
            signed_headers(MESSAGE, secrets)
