"""Who holds the root key is said in the settings, and a key file never in live."""

from pathlib import Path

import msgspec
import pytest

from strongroom.config import ConfigurationError, Home, Settings
from strongroom.vault.aws_kms.adapter import AwsKms
from strongroom.vault.key_file import KeyFile, make_key_file
from strongroom.vault.opening import KEY_FILE_NAME, open_kms

ARN = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
MULTI_REGION = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef12345678"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_dev_uses_the_key_file_of_its_home(home):
    name = make_key_file(home.secrets / KEY_FILE_NAME)
    kms = open_kms(home, Settings())
    assert isinstance(kms, KeyFile)
    assert kms.root_key == name


def test_live_refuses_a_key_file_even_a_good_one(home):
    make_key_file(home.secrets / KEY_FILE_NAME)
    with pytest.raises(ConfigurationError, match=r"make a symmetric key in AWS KMS.*aws-kms:"):
        open_kms(home, Settings(mode="live"))


@pytest.mark.parametrize("mode", ["dev", "live"])
@pytest.mark.parametrize(
    ("arn", "host"),
    [
        (ARN, "kms.eu-central-1.amazonaws.com"),
        (MULTI_REGION, "kms.us-gov-west-1.amazonaws.com"),
        (
            ARN.replace("aws:kms:eu-central", "aws-cn:kms:cn-north"),
            "kms.cn-north-1.amazonaws.com.cn",
        ),
    ],
)
async def test_the_arn_alone_says_where_aws_is_asked(home, monkeypatch, mode, arn, host):
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    kms = open_kms(home, Settings(mode=mode, kms=f"aws-kms:{arn}"))
    assert isinstance(kms, AwsKms)
    assert kms.root_key == arn
    assert kms._endpoint_url == f"https://{host}"
    await kms.close()


@pytest.mark.parametrize(
    "kms",
    [
        "",
        "keyfile",
        "aws-kms:",
        ARN,
        "aws-kms:alias/strongroom",
        "aws-kms:arn:aws:kms:eu-central-1:123456789012:alias/strongroom",
        f"aws-kms:{ARN} ",
        f"aws-kms:{ARN}\n",
        f"aws-kms:{ARN}/../x",
        f"aws-kms:{ARN.replace('eu-central-1', 'evil.example/eu-central-1')}",
        f"aws-kms:{ARN.replace('arn:aws:', 'arn:aws-evil:')}",
    ],
)
def test_anything_else_is_refused_with_what_to_write(kms):
    with pytest.raises(ValueError, match="kms must be `key-file` or `aws-kms:`"):
        Settings(kms=kms)
    with pytest.raises(ValueError, match="kms_former"):
        Settings(kms_former=(kms,))


def test_former_root_keys_are_in_the_same_region(home):
    other = f"aws-kms:{ARN.replace('eu-central-1', 'eu-west-1')}"
    with pytest.raises(ConfigurationError, match="in the region"):
        open_kms(home, Settings(kms=f"aws-kms:{ARN}", kms_former=(other,)))


@pytest.mark.parametrize(
    ("mode", "endpoint"),
    [
        ("live", "http://127.0.0.1:4566"),
        ("live", "https://127.0.0.1:4566"),
        ("dev", "http://10.0.0.1:4566"),
        ("dev", "https://kms.example.com"),
        ("dev", "http://127.0.0.1.example.com"),
        ("dev", "http://127.0.0.1@example.com"),
        ("dev", "ftp://127.0.0.1"),
        ("dev", "127.0.0.1:4566"),
        ("dev", ""),
    ],
)
def test_another_endpoint_is_for_dev_and_loopback(mode, endpoint):
    with pytest.raises(ValueError, match="kms_endpoint is for mode dev alone"):
        Settings(mode=mode, kms_endpoint=endpoint)


async def test_dev_may_ask_a_server_on_loopback(home):
    settings = Settings(kms=f"aws-kms:{ARN}", kms_endpoint="http://127.0.0.1:4566")
    kms = open_kms(home, settings)
    assert isinstance(kms, AwsKms)
    assert kms._endpoint_url == "http://127.0.0.1:4566"
    await kms.close()


def test_a_file_with_wrong_settings_names_the_reason(home):
    home.write_settings(Settings(kms=f"aws-kms:{ARN}", kms_former=(f"aws-kms:{MULTI_REGION}",)))
    assert home.settings().kms_former == (f"aws-kms:{MULTI_REGION}",)
    file = home.path / "strongroom.json"
    file.write_bytes(msgspec.json.encode({"kms": "alias/ours"}))
    with pytest.raises(ConfigurationError, match="kms must be"):
        home.settings()
