"""A customer on the page of checkout, without a browser."""

import json
import re
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from tests.acceptance.client import Answer, Api, order, until
from tests.acceptance.raw import exchange
from tests.acceptance.running import Running

CARD = "pm_card_visa"


class Visitor:
    """A customer's browser, without the browser."""

    def __init__(self, running: Running, token: str = "") -> None:
        self.origin, self.token = running.checkout_url, token
        parts = urlsplit(running.checkout_url)
        self.host, self.url = parts.netloc, f"http://127.0.0.1:{parts.port}"
        self.account = ""

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, b"", **headers)

    async def send(self, method: str, path: str, body: bytes, **headers: str) -> Answer:
        given = {"Host": self.host, **{k.replace("_", "-"): v for k, v in headers.items()}}
        given |= {"Connection": "close", "Content-Length": str(len(body))}
        head = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in given.items()), "", ""]
        return await exchange(self.url, ["\r\n".join(head).encode() + body])

    async def page(self) -> Answer:
        return await self.get(f"/pay/{self.token}")

    async def state(self) -> dict[str, Any]:
        answer = await self.get(f"/pay/{self.token}/state")
        assert answer.status == 200, answer
        found: dict[str, Any] = json.loads(answer.body)
        return found

    async def facts(self) -> dict[str, str]:
        """What the page tells its script."""
        answer = await self.page()
        assert answer.status == 200, answer
        return {
            name.decode(): unescape(value.decode())
            for name, value in re.findall(rb'\bdata-([a-z]+)="([^"]*)"', answer.body)
        }

    async def key(self) -> str | None:
        answer = await self.get(f"/pay/{self.token}/key")
        assert answer.status == 200, answer
        found: str | None = json.loads(answer.body)["key"]
        return found

    async def attempt(self, number: int, card: str = CARD, **headers: str) -> Answer:
        body = json.dumps({"try": number, "account": self.account, "token": card}).encode()
        given = {"Origin": self.origin, "Content_Type": "application/json", **headers}
        return await self.send("POST", f"/pay/{self.token}/tries", body, **given)

    async def until(self, *steps: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def is_there() -> bool:
            found.update(await self.state())
            return found["step"] in steps

        await until(is_there)
        return found


async def linked(api: Api, running: Running, **more: Any) -> tuple[str, Visitor]:
    """The id of a payment without an instrument, and who has been sent its link."""
    made = await api.pay(order(None, **more))
    answer = await api.post(f"/v1/payments/{made.id}/checkout_link", {})
    assert answer.status == 201, answer
    url: str = answer.json["url"]
    visitor = Visitor(running, url.rpartition("/")[2])
    visitor.account = (await visitor.facts())["account"]
    return made.id, visitor
