"""Cables whose weather toxiproxy makes, a proxy of others for bad networks: a second opinion.

https://github.com/Shopify/toxiproxy. It cuts connections at the end of a partition, where ours lets
go on what had waited; it knows neither our loss nor connections that are half open.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from strongroom.local.ports import free_ports
from tests.faults.cable import Cable, Fault
from tests.plugins.parts import TOXIPROXY

START_SECONDS_MAX: Final = 30.0
CONTROL_SECONDS_MAX: Final = 30.0
LOOK_SECONDS: Final = 0.05
BOTH: Final = ("upstream", "downstream")
TOXICS: Final[dict[Fault, tuple[str, Mapping[str, int], tuple[str, ...]]]] = {
    "latency": ("latency", {"latency": 100, "jitter": 50}, BOTH),
    "drip": ("slicer", {"average_size": 48, "size_variation": 16, "delay": 4000}, BOTH),
    "partition": ("timeout", {"timeout": 0}, BOTH),
    "answers_lost": ("timeout", {"timeout": 0}, ("downstream",)),
    "reset": ("reset_peer", {"timeout": 0}, BOTH),
}
"""By fault, the kind of toxic, its attributes, and the ways that it is put on."""


@dataclass(slots=True)
class ToxicCable:
    """As tests.faults.cable.Cable, one of which leads there in calm weather and counts."""

    control: str
    host: str
    port: int
    listens_on: int = 0
    felt: int = 0
    _calm: Cable | None = None
    _carried_before: int = 0

    @property
    def name(self) -> str:
        """What the proxy is called there."""
        return f"to-{self.port}"

    async def open(self) -> None:
        """From now on it can be connected to."""
        own, upstream = free_ports(1), f"{self.host}:{self.port}"
        told = {"name": self.name, "listen": f"127.0.0.1:{own}", "upstream": upstream}
        await self._ask("POST", "/proxies", told)
        self._calm = Cable("127.0.0.1", own)
        await self._calm.open()
        self.listens_on = self._calm.listens_on

    async def put(self, fault: Fault) -> None:
        """This weather from now on. KeyError: there is no toxic for it."""
        kind, attributes, ways = TOXICS[fault]
        self._carried_before = self._carried()
        for way in ways:
            told = {"name": way, "type": kind, "stream": way, "attributes": attributes}
            await self._ask("POST", f"/proxies/{self.name}/toxics", told)

    async def heal(self) -> None:
        """All is well again."""
        self.felt = self._carried() - self._carried_before
        proxy = await self._ask("GET", f"/proxies/{self.name}")
        for toxic in proxy["toxics"]:
            await self._ask("DELETE", f"/proxies/{self.name}/toxics/{toxic['name']}")

    async def close(self) -> None:
        """Nobody is connected any more."""
        if self._calm is not None:
            await self._calm.close()
        await self._ask("DELETE", f"/proxies/{self.name}")

    def _carried(self) -> int:
        return 0 if self._calm is None else self._calm.carried

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        timeout = aiohttp.ClientTimeout(total=CONTROL_SECONDS_MAX)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, self.control + path, json=body) as answer,
        ):
            text = await answer.text()
            assert answer.status < 300, (method, path, answer.status, text)
            return await answer.json() if "json" in answer.content_type else text


@asynccontextmanager
async def toxiproxy() -> AsyncIterator[str]:
    """A server of a test's own; where it is controlled."""
    port = free_ports(1)
    words = [str(TOXIPROXY), "-host", "127.0.0.1", "-port", str(port)]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            while not await _listens(port):
                assert process.returncode is None, "toxiproxy has ended"
                await asyncio.sleep(LOOK_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
