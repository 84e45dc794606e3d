"""Whom a client of ours trusts over TLS: the CAs of this system."""

import ssl
from pathlib import Path

from strongroom.config import ConfigurationError, Mode


def system_tls(mode: Mode) -> ssl.SSLContext:
    """A client's context, of TLS 1.2 at least. Reads the list of CAs from files.

    In live mode it is the list that OpenSSL was built to look for: SSL_CERT_FILE and SSL_CERT_DIR
    put no other one in its place, and SSLKEYLOGFILE has no keys written. Raises ConfigurationError
    where there is none.
    """
    if mode == "live":
        paths = ssl.get_default_verify_paths()
        file, folder = Path(paths.openssl_cafile), Path(paths.openssl_capath)
        if not file.is_file() and not folder.is_dir():
            raise ConfigurationError(
                f"this system has no list of CAs: neither {file} nor {folder} is there."
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(
            file if file.is_file() else None, folder if folder.is_dir() else None
        )
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
