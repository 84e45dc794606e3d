"""Two keys are accepted while one takes the other's place."""

import pytest
import stripe

from tests.sandbox.conftest import SECRET_KEY, RunningStripe

NEW_KEY = SECRET_KEY + "New"


def accepted(stand_in, key):
    try:
        stand_in.client(key).v1.payment_intents.list({"limit": 1})
    except stripe.AuthenticationError:
        return False
    return True


@pytest.mark.parametrize(
    ("lines", "old", "new"),
    [
        ([SECRET_KEY], True, False),
        ([NEW_KEY, SECRET_KEY], True, True),
        ([NEW_KEY], False, True),
        ([], False, True),  # what is no list of keys changes nothing
        ([NEW_KEY, SECRET_KEY, "sk_test_aThirdOne"], False, True),
        ([SECRET_KEY.replace("_test_", "_live_")], False, True),
    ],
)
def test_the_file_is_followed(own_rotating, lines, old, new):
    own_rotating.key_file.write_text("\n".join(lines))
    assert accepted(own_rotating, SECRET_KEY) == old
    assert accepted(own_rotating, NEW_KEY) == new


@pytest.fixture(scope="module")
def own_rotating(tmp_path_factory):
    running = RunningStripe(tmp_path_factory.mktemp("rotating"))
    try:
        yield running.start()
    finally:
        running.kill()


def test_a_file_without_a_key_is_refused_at_the_start(stand_in, tmp_path):
    empty = tmp_path / "key"
    empty.write_text("\n")
    said = stand_in.refused("--secret-key-file", str(empty), "--data", str(tmp_path / "other"))
    assert "one token a line" in said
