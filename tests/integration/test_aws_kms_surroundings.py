"""What the environment says of proxies, endpoints and certificates does not move AWS KMS."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from strongroom.vault.aws_kms.adapter import AwsKms
from strongroom.vault.aws_kms.client import make_client
from strongroom.vault.secret import Secret
from tests.kms_servers import REGION
from tests.plugins.kms import CREDENTIAL_VARIABLES, be_patient

CONTEXT = {"legal_entity": "le_1"}
LIVE_URL = f"https://kms.{REGION}.amazonaws.com"
PROXIES = "HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy".split()
ENDPOINTS = "AWS_ENDPOINT_URL AWS_ENDPOINT_URL_KMS".split()
IMPATIENT = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})


class Listener:
    """Counts who comes, and hangs up."""

    def __init__(self) -> None:
        self.contacts = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.contacts += 1
            connection.close()

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.stop()


@pytest.fixture
def environment(aws_environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    be_patient(aws_environment)
    for name in (*PROXIES, *ENDPOINTS, "NO_PROXY", "no_proxy"):
        aws_environment.delenv(name, raising=False)
    return aws_environment


async def round_trip(front, arn: str) -> None:
    kms = AwsKms(arn, endpoint_url=front.url)
    wrapped = await kms.wrap(Secret(b"key"), CONTEXT)
    assert await kms.unwrap(wrapped, CONTEXT) == Secret(b"key")
    await kms.close()


async def test_proxies_are_not_asked(front, listener, environment):
    arn = front.make_key()
    for name in PROXIES:
        environment.setenv(name, listener.url)
    plain = boto3.session.Session().client(
        "kms", region_name=REGION, endpoint_url=front.url, config=IMPATIENT
    )
    with pytest.raises(BotoCoreError):
        plain.describe_key(KeyId=arn)
    assert listener.contacts == 1  # what the SDK does on its own
    await round_trip(front, arn)
    assert listener.contacts == 1


async def test_endpoints_of_the_environment_are_not_asked(front, listener, environment):
    arn = front.make_key()
    for name in ENDPOINTS:
        environment.setenv(name, listener.url)
    plain = boto3.session.Session().client("kms", region_name=REGION, config=IMPATIENT)
    with pytest.raises(BotoCoreError):
        plain.describe_key(KeyId=arn)
    assert listener.contacts == 1
    await round_trip(front, arn)
    assert listener.contacts == 1
    assert make_client(REGION, LIVE_URL).meta.endpoint_url == LIVE_URL


def test_files_of_the_account_move_nothing(environment, tmp_path: Path, listener):
    config = tmp_path / "config"
    config.write_text(
        f"[default]\nendpoint_url = {listener.url}\nregion = us-east-2\n"
        "use_fips_endpoint = true\nuse_dualstack_endpoint = true\nca_bundle = /nowhere\n"
    )
    environment.setenv("AWS_CONFIG_FILE", str(config))
    assert boto3.session.Session().client("kms").meta.endpoint_url == listener.url
    environment.setenv("AWS_DATA_PATH", str(tmp_path))
    (tmp_path / "endpoints.json").write_text("{}")
    with pytest.raises(ValueError, match="partitions"):
        boto3.session.Session().client("kms")
    client = make_client(REGION, LIVE_URL)
    assert (client.meta.endpoint_url, client.meta.region_name) == (LIVE_URL, REGION)


def test_certificates_are_those_of_the_sdk(environment):
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        environment.setenv(name, "/nowhere/ca.pem")
    plain = boto3.session.Session().client("kms", region_name=REGION)
    assert plain._endpoint.http_session._verify == "/nowhere/ca.pem"
    assert make_client(REGION, LIVE_URL)._endpoint.http_session._verify is True


class _Instance(BaseHTTPRequestHandler):
    """The metadata service of an instance with a role."""

    def do_PUT(self) -> None:
        self._send(b"token")

    def do_GET(self) -> None:
        if self.path.endswith("/security-credentials/"):
            self._send(b"role")
        else:
            fields = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c"}
            more = {"Code": "Success", "Expiration": "2999-01-01T00:00:00Z"}
            self._send(json.dumps(fields | more).encode())

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


async def test_the_role_of_an_instance_is_asked_for_without_a_proxy(front, listener, environment):
    arn = front.make_key()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Instance)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name in (*CREDENTIAL_VARIABLES, "AWS_EC2_METADATA_DISABLED"):
        environment.delenv(name, raising=False)
    for name in PROXIES:
        environment.setenv(name, listener.url)
    environment.setenv(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}/"
    )
    try:
        with pytest.raises(BotoCoreError):
            boto3.session.Session().get_credentials()
        alone = listener.contacts
        assert alone > 0  # what the SDK does on its own
        await round_trip(front, arn)
        assert listener.contacts == alone
    finally:
        server.shutdown()
        server.server_close()
