"""The SDK's client, set up so that only the settings of this deployment say where it asks.

What the environment and files of the account say of proxies, certificates, endpoints and models of
services is ignored. Credentials come from the SDK's own chain: environment, profile, web identity,
container, instance role.
"""

import logging
from typing import Any, Final

from strongroom.vault.lanes import LANES

CONNECT_SECONDS_MAX: Final = 0.4
READ_SECONDS_MAX: Final = 0.7
TRIES_MAX: Final = 2
"""Two tries that hang come to 2.2 s and a pause: the caller's deadline ends the second early."""
CREDENTIAL_SECONDS_MAX: Final = 1
SDK_LOGGERS: Final = ("boto3", "botocore", "urllib3")


def load_sdk() -> None:
    """Imports the SDK, and keeps it from writing what it sends."""
    import boto3  # noqa: F401

    for name in SDK_LOGGERS:  # at DEBUG they write whole requests, with the keys in them
        logging.getLogger(name).setLevel(logging.ERROR)


def make_client(region: str, endpoint_url: str) -> Any:
    """A client of boto3 for AWS KMS there, safe to use in threads. Raises what the SDK raises.

    It may ask other servers for credentials, a second each.
    """
    import boto3
    import botocore.session
    from botocore.config import Config
    from botocore.httpsession import URLLib3Session
    from botocore.loaders import Loader

    config = Config(
        connect_timeout=CONNECT_SECONDS_MAX,
        read_timeout=READ_SECONDS_MAX,
        retries={"total_max_attempts": TRIES_MAX, "mode": "standard"},
        max_pool_connections=LANES,
        proxies={},
        ignore_configured_endpoint_urls=True,
        use_dualstack_endpoint=False,
        use_fips_endpoint=False,
    )
    session = botocore.session.Session()
    # Set in the session, so that what it makes on its own to come by credentials, as for a web
    # identity, keeps to the same rules.
    session.set_default_client_config(config)
    session.set_config_variable("region", region)
    session.set_config_variable("ca_bundle", True)
    session.set_config_variable("metadata_service_timeout", CREDENTIAL_SECONDS_MAX)
    built_in = Loader(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False
    )
    session.register_component("data_loader", built_in)
    role = session.get_component("credential_provider").get_provider("iam-role")
    # It would ask a proxy of the environment for the credentials, and has no setting against it.
    role._role_fetcher._session = URLLib3Session(timeout=CREDENTIAL_SECONDS_MAX)  # noqa: SLF001
    return boto3.session.Session(botocore_session=session).client(
        "kms", region_name=region, endpoint_url=endpoint_url, config=config
    )
