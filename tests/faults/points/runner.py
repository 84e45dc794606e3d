"""One runner: a process with a ground of its own, which tries what it is told, line by line."""

import asyncio
import json
import sys
import time
import traceback
from typing import Any, Final

from tests.faults.points.flows import FLOWS
from tests.faults.points.ground import Ground
from tests.faults.points.points import Cell, Fault, Kind
from tests.faults.points.trial import Trial

SAID_CHARACTERS_MAX: Final = 6000
CASES_PER_STAND_IN: Final = 150
"""A stand-in's books grow with each case."""
SEARCH_LAG_SECONDS: Final = 1
"""Our clock leaps to what is due next, and the providers' does not: a search that lags by a minute
of theirs would show nothing for hours of ours."""


class Runner:
    """Answers each job with a line: points of a dry run, or what a cell came to."""

    def __init__(self) -> None:
        self.ground = Ground(self._watch)
        self._trial: Trial | None = None
        self._tried = 0

    async def _watch(self, kind: Kind, place: str) -> Fault | None:
        return None if self._trial is None else await self._trial.watch(kind, place)

    async def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """One job: a flow, and where there is one the cell, and what strikes once it has.

        What is met without a fault is told, and where the job `records`, what is met after it: of
        the `kinds` that it names, or all.
        """
        flow = FLOWS[job["flow"]]
        cells = [Cell.read(job[name]) for name in ("cell", "then") if job.get(name)]
        is_told = not cells or bool(job.get("records"))
        records = [Kind(one) for one in job.get("kinds", Kind)] if is_told else []
        if self._tried and self._tried % CASES_PER_STAND_IN == 0:
            await self.ground.renew_stand_ins()
        if self._tried % CASES_PER_STAND_IN == 0:
            knobs = {"search_lag_seconds": SEARCH_LAG_SECONDS}
            await self.ground.control(self.ground.braintree.url, "PUT", "/_knobs", knobs)
        self._tried += 1
        begun = time.monotonic()
        self._trial = trial = Trial(self.ground, flow, self._tried, *cells, records=records)
        try:
            findings = await trial.run()
        except Exception as problem:  # noqa: BLE001 - told as a finding, with where it was
            findings = [f"{type(problem).__name__}: {problem}\n{traceback.format_exc()}"]
        finally:
            self._trial = None
        told = {
            **job, "findings": findings, "seconds": round(time.monotonic() - begun, 2),
            "struck": bool(cells) and not trial.to_come,
        }  # fmt: skip
        if is_told:
            told["points"] = sorted(map(str, trial.points))
        if findings:
            told["said"] = self.ground.lives.said(SAID_CHARACTERS_MAX)
        return told


async def serve(runner: Any) -> None:
    """Reads jobs from stdin until it ends; each is answered on stdout."""
    try:
        await runner.ground.start()
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await runner.do(json.loads(line))), flush=True)
    finally:
        await runner.ground.stop()


if __name__ == "__main__":
    asyncio.run(serve(Runner()))
