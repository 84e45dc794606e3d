"""Whom our clients trust over TLS, whatever the environment says."""

import ssl
from pathlib import Path
from typing import get_args

import pytest
from cryptography.hazmat.primitives import serialization

from strongroom.config import ConfigurationError, Mode
from strongroom.tls import system_tls
from strongroom.webhooks.courier import Courier
from tests.integration.courier.conftest import found_on_loopback
from tests.integration.courier.receivers import Authority, receiving, status
from tests.integration.courier.test_courier import NAME, deliver


@pytest.fixture
def named(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment names a CA of somebody's own, and a file for the keys of connections."""
    file, keys = tmp_path / "ca.pem", tmp_path / "keys"
    file.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    return keys


async def outcome(authority: Authority, mode: Mode) -> tuple[str, int]:
    """What became of a message, and how many came."""
    courier = Courier(loopback_allowed=True, lookup=found_on_loopback, tls=system_tls(mode))
    try:
        async with receiving(status(200), tls=authority.server(NAME)) as receiver:
            delivered = await deliver(courier, f"https://{NAME}:{receiver.port}/")
        return delivered.outcome, len(receiver.requests)
    finally:
        await courier.close()


async def test_in_live_mode_the_environment_names_no_ca(authority: Authority, named: Path) -> None:
    assert await outcome(authority, "dev") == ("delivered", 1), "where things are tried out"
    lines = len(named.read_text().splitlines())  # noqa: ASYNC240
    assert await outcome(authority, "live") == ("tls_failed", 0)
    assert len(named.read_text().splitlines()) == lines, "no keys of live mode"  # noqa: ASYNC240


@pytest.mark.parametrize("mode", get_args(Mode))
def test_certificates_and_names_are_checked(mode: Mode) -> None:
    made = system_tls(mode)
    assert made.verify_mode == ssl.CERT_REQUIRED
    assert made.check_hostname
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_system_without_cas_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ssl.get_default_verify_paths()._replace(
        openssl_cafile=str(tmp_path / "cert.pem"), openssl_capath=str(tmp_path / "certs")
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    with pytest.raises(ConfigurationError, match="no list of CAs"):
        system_tls("live")
