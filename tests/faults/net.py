"""The pairs of processes of a deployment that talk to each other, each over a cable of a test's."""

import json
import re
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import urlsplit, urlunsplit

from strongroom.local.probes import answers_ok
from tests.faults.cable import Cable, Fault
from tests.faults.deployment import Deployment, until
from tests.integration.receivers import Receiver, receiving
from tests.integration.witnesses import witness

BACK_SECONDS_MAX: Final = 60.0
READY: Final = {"api": "api_ready", "worker": "worker_ready", "signer": "signer_ready"}
LOGS: Final = {"api": ("api", "api-2"), "worker": ("worker",), "signer": ("signer",)}
DATABASES: Final = {
    "API → PostgreSQL": ("api", ("database_api_url", "keys_api_url")),
    "worker → PostgreSQL": ("worker", ("database_worker_url", "keys_worker_url")),
    "sequencer → PostgreSQL": ("worker", ("database_sequencer_url",)),
    "signer → PostgreSQL": ("signer", ("database_signer_url",)),
}
"""By pair, who has to start again to take the other address, and the secrets that hold it."""
PAIRS: Final = (
    "client → API",
    *DATABASES,
    "worker → Stripe",
    "worker → Braintree",
    "Stripe → API",
    "deliverer → receiver",
    "signer → witness",
)


class AnyCable(Protocol):
    """What has a port of its own, and a weather."""

    listens_on: int
    felt: int

    async def open(self) -> None:
        """From now on it can be connected to."""
        ...

    async def put(self, fault: Fault) -> None:
        """This weather from now on."""
        ...

    async def heal(self) -> None:
        """All is well again."""
        ...

    async def close(self) -> None:
        """Nobody is connected any more."""
        ...


MakeCable = Callable[[str, int], AnyCable]


class Net:
    """A deployment, some of whose pairs talk over cables. Use as an asynchronous context."""

    def __init__(
        self, deployment: Deployment, pairs: Sequence[str], make_cable: MakeCable = Cable
    ) -> None:
        """The deployment must not run yet: what it is told of is read at the start."""
        assert deployment.supervisor is None
        self.deployment, self.pairs, self._make_cable = deployment, tuple(pairs), make_cable
        self.cables: dict[str, AnyCable] = {}
        self.receiver: Receiver | None = None
        self.witness_key = ""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        plugs: dict[str, Callable[[], Awaitable[AnyCable]]] = {
            "client → API": self._client,
            "worker → Stripe": lambda: self._gateway("stripe"),
            "worker → Braintree": lambda: self._gateway("braintree"),
            "Stripe → API": self._webhooks,
            "deliverer → receiver": self._deliverer,
            "signer → witness": self._witness,
        }
        if "deliverer → receiver" in self.pairs:
            self.set(webhooks_to_loopback=True)
        self.deployment.start()
        try:
            for pair in self.pairs:
                database = pair in DATABASES
                self.cables[pair] = await (self._database(pair) if database else plugs[pair]())
            names = {DATABASES[pair][0] for pair in self.pairs if pair in DATABASES}
            names |= {"worker"} if any(pair.startswith("worker") for pair in self.pairs) else set()
            names |= {"signer"} if "signer → witness" in self.pairs else set()
            for name in sorted(names):
                await restart(self.deployment, name)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _cable_to(self, url: str) -> AnyCable:
        parts = urlsplit(url)
        cable = self._make_cable(parts.hostname or "", parts.port or 0)
        await cable.open()
        self._stack.push_async_callback(cable.close)
        return cable

    async def _client(self) -> AnyCable:
        cable = await self._cable_to(self.deployment.ready["api_url"])
        self.deployment.ready["api_url"] = f"http://127.0.0.1:{cable.listens_on}"
        return cable

    async def _database(self, pair: str) -> AnyCable:
        secrets = self.deployment.home / "secrets"
        files = [secrets / name for name in DATABASES[pair][1]]
        cable = await self._cable_to(files[0].read_text().strip())
        for file in files:
            file.write_text(through(file.read_text().strip(), cable) + "\n")
        return cable

    async def _gateway(self, gateway: str) -> AnyCable:
        cable = await self._cable_to(self.deployment.ready[f"{gateway}_url"])
        await self.deployment.fetch(
            "UPDATE gateway_accounts SET base_url = $1 WHERE gateway = $2",
            f"http://127.0.0.1:{cable.listens_on}",
            gateway,
        )
        return cable

    async def _webhooks(self) -> AnyCable:
        file = self.deployment.home / "run" / "stripe_webhooks.json"
        told = json.loads(file.read_text())
        [endpoint] = told["endpoints"]
        cable = await self._cable_to(endpoint["url"])
        endpoint["url"] = through(endpoint["url"], cable)
        file.write_text(json.dumps(told))
        return cable

    async def _deliverer(self) -> AnyCable:
        self.receiver = await self._stack.enter_async_context(receiving())
        cable = await self._cable_to(self.receiver.url)
        secret = self.deployment.base / "endpoint_secret"
        self.deployment.command(
            "endpoints", "add", through(self.receiver.url, cable), "--secret-file", str(secret)
        )
        self.receiver.secret = secret.read_text().strip()
        return cable

    async def _witness(self) -> AnyCable:
        folder = self.deployment.base / "witness"
        key = await key_of_log(self.deployment)
        running = self._stack.enter_context(witness(folder, str(key)))
        cable = await self._cable_to(running.url)
        self.witness_key = running.vkey
        self.set(witnesses=[{"url": through(running.url, cable), "key": running.vkey}])
        return cable

    def set(self, **more: object) -> None:
        """Settings of the home; who runs has read them already."""
        file = self.deployment.home / "strongroom.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | more))


async def key_of_log(deployment: Deployment) -> Path:
    """The public key of the only log; the signer writes it with its first checkpoint."""
    logs = deployment.home / "log"
    await until(lambda: any(logs.glob("ent_*/key")), BACK_SECONDS_MAX, "the key of the log")
    [key] = logs.glob("ent_*/key")
    return key


def through(url: str, cable: AnyCable) -> str:
    """The same, but over the cable."""
    parts = urlsplit(url)
    before = parts.netloc.rpartition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{before}:{cable.listens_on}"))


def starts(home: Path, name: str) -> int:
    """How often api, worker or signer has got ready, all its processes together."""
    logs = [home / "logs" / f"{log}.log" for log in LOGS[name]]
    said = f'"event": "{READY[name]}"'
    return sum(len(re.findall(said, log.read_text())) for log in logs if log.exists())


async def restart(deployment: Deployment, name: str) -> float:
    """kill -9 of all its processes; returns the seconds until all of them were ready again."""
    before = starts(deployment.home, name)
    wanted = before + len(deployment.signal(name, signal.SIGKILL))
    seconds = await until(
        lambda: starts(deployment.home, name) >= wanted, BACK_SECONDS_MAX, f"{name} to come back"
    )
    if name == "api":
        port = urlsplit(deployment.ready["api_url"]).port
        while not await answers_ok(port, "/readyz"):
            pass
    return seconds
