"""Fixtures: a moto server for the session, and before it a front for each test that asks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kms_servers import REGION, KmsFront, kms_front, moto_server

CREDENTIAL_VARIABLES = "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN".split()
CANARY = "canary-of-a-credential"
PATIENCE_SECONDS = 30.0


def be_patient(patch: pytest.MonkeyPatch) -> None:
    """A busy machine answers later than AWS does."""
    patch.setattr("strongroom.vault.aws_kms.adapter.KMS_SECONDS_MAX", PATIENCE_SECONDS)
    patch.setattr("strongroom.vault.aws_kms.client.CONNECT_SECONDS_MAX", PATIENCE_SECONDS)
    patch.setattr("strongroom.vault.aws_kms.client.READ_SECONDS_MAX", PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def moto_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a moto server."""
    with moto_server(tmp_path_factory.mktemp("moto")) as port:
        yield port


@pytest.fixture
def front(moto_port: int) -> Iterator[KmsFront]:
    """A server that answers as AWS KMS does, with knobs."""
    with kms_front(moto_port) as front:
        yield front


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Credentials in the environment, each with the canary in it, and no settings of the user."""
    for name in CREDENTIAL_VARIABLES:
        monkeypatch.setenv(name, f"{CANARY}-{name.lower()}")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", REGION)
    return monkeypatch
