"""`python -m bench.sleeping_worker HOME TALLY`: the worker with a gateway that only takes time.

Everything but the adapter is the product's own composition: the same pool, engine and worker as
`strongroom worker`. What it settles is counted in the tally.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import uvloop

from bench.tally import SETTLED, Tally
from strongroom import app, desks
from strongroom.clock import SystemClock
from strongroom.config import Home, Settings
from strongroom.gateways.port import Account, Credentials, Gateway, MerchantAccount, Prepared
from strongroom.payments.claims import Committed
from strongroom.payments.engine import Engine
from strongroom.payments.refunds import Refund, RefundAnswer, Refunded
from strongroom.payments.states import Answer, Approved, Attempt, Call, NotSent, Payment
from strongroom.telemetry.logs import set_up_logs
from strongroom.work.lasting import with_its_parts

GATEWAY_SECONDS: Final = 0.005


class SleepingGateway:
    """Approves everything after 5 ms; keeps nothing."""

    staged = False
    per_currency = False

    def __init__(self) -> None:
        self._clock = SystemClock()

    def parameters(
        self,
        payment: Payment,
        merchant_account: MerchantAccount | None,  # noqa: ARG002
        *,
        saves: bool = False,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        """About as much as a real adapter commits."""
        return {
            "amount": payment.amount_minor,
            "currency": payment.currency,
            "token": payment.instrument_token,
            "reference": payment.merchant_reference,
        }

    async def prepare(
        self,
        account: Account,  # noqa: ARG002
        attempt: Attempt,  # noqa: ARG002
    ) -> tuple[Prepared | Answer, Call]:
        """Never asked, since it is not staged."""
        return NotSent("not_staged"), self._call("create")

    async def send(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:  # noqa: ARG002
        """Approves after the sleep."""
        await asyncio.sleep(GATEWAY_SECONDS)
        return Approved(attempt.amount_minor, attempt.currency), self._call("send")

    async def look(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """As send: what was asked was approved."""
        return await self.send(account, attempt)

    async def cancel(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """Too late, always."""
        return await self.send(account, attempt)

    async def capture(
        self, account: Account, attempt: Attempt, amount_minor: int
    ) -> tuple[Answer, Call]:
        """Captures after the sleep."""
        _, call = await self.send(account, attempt)
        return Approved(amount_minor, attempt.currency), call

    def refund_parameters(
        self,
        payment: Payment,  # noqa: ARG002
        attempt: Attempt,
        refund: Refund,
    ) -> Mapping[str, Any]:
        """About as much as a real adapter commits."""
        return {"object": attempt.gateway_object_id, "amount": refund.amount_minor}

    async def refund(
        self,
        account: Account,  # noqa: ARG002
        refund: Refund,
    ) -> tuple[RefundAnswer, Call]:
        """Gives back after the sleep."""
        await asyncio.sleep(GATEWAY_SECONDS)
        answer = Refunded(refund.gateway_key, "succeeded", refund.amount_minor, refund.currency)
        return answer, self._call("refund")

    async def look_at_refund(self, account: Account, refund: Refund) -> tuple[RefundAnswer, Call]:
        """As refund: what was asked was done."""
        return await self.refund(account, refund)

    async def close(self) -> None:
        """Holds nothing."""

    def _call(self, operation: str) -> Call:
        return Call(
            operation=operation,
            started_at=self._clock.now(),
            duration_ms=GATEWAY_SECONDS * 1000,
            outcome="succeeded",
            http_status=200,
        )


def counting(tally: Tally) -> type[Engine]:
    """The engine, with each payment counted once its success is committed."""

    def count(done: "asyncio.Future[Committed]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        if done.result().payment.status == "succeeded":
            tally.counts[SETTLED] += 1

    class CountingEngine(Engine):
        """Counts what `settle` has committed."""

        def settle(self, *arguments: Any, **named: Any) -> "asyncio.Future[Committed]":
            """As the engine's."""
            future = super().settle(*arguments, **named)
            future.add_done_callback(count)
            return future

    return CountingEngine


@contextlib.contextmanager
def replaced(tally: Tally) -> Iterator[None]:
    """The gateway in the product's composition, and the engine that counts."""

    def gateways(_: Settings, __: Credentials) -> dict[str, Gateway]:
        return {"stripe": SleepingGateway()}

    with patch.object(app, "gateways_of", gateways), patch.object(desks, "Engine", counting(tally)):
        yield


def run(home_path: Path, tally_file: Path) -> int:
    """Runs until SIGTERM."""
    home, tally = Home(home_path), Tally(tally_file)
    set_up_logs()
    with replaced(tally):
        uvloop.run(with_its_parts(app.run_worker(home)))
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), Path(sys.argv[2])))
