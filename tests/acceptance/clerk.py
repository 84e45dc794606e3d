"""An operator at the command line of a deployment, and what the log says of what was done."""

import asyncio
import json
import os
import pwd
import subprocess
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from strongroom.ids import from_text
from strongroom.log.entries import Entry
from tests.acceptance.client import until
from tests.acceptance.running import COMMAND_SECONDS_MAX, Running, environment, program

EVENTS = "SELECT * FROM events WHERE legal_entity_id = $1 ORDER BY at, payment_id, version"
PLACED = "SELECT entry FROM log_entries WHERE legal_entity_id = $1 ORDER BY index"
ORIGIN = {"by": "command_line", "host": os.uname().nodename}
DISGUISE = {"LOGNAME": "somebody-else", "USER": "somebody-else"}
"""What an operator who wants to be taken for another sets."""


class Clerk:
    """Does things to one legal entity; each has to leave one event, or none at all."""

    def __init__(self, running: Running, owner: asyncpg.Connection) -> None:
        self.running, self._owner = running, owner
        self.secrets = list[str]()
        """What must not be in any event."""
        self.entity = ""
        self._seen = set[tuple[UUID, int]]()

    async def opens(self, name: str) -> str:
        """Makes the legal entity; the event is its first."""
        code, said = await self.says("entities", "create", name)
        assert code == 0, said
        self.entity = said.strip()
        [event] = await self._new()
        self._assert_event(event, "legal_entity.created", self.entity)
        return self.entity

    async def says(self, *words: str) -> tuple[int, str]:
        """The exit code and all that the command said; it leaves no event that is not looked at."""
        done = await asyncio.to_thread(
            subprocess.run, [*program(*words), "--home", str(self.running.home)],
            env=environment() | DISGUISE, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS_MAX, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    async def does(
        self, kind: str, subject: str | None, *words: str, at_once: int = 1, **details: Any
    ) -> str:
        """What it said. It leaves exactly one event; `subject` is None where its id is made.

        Also when so many do it `at_once`.
        """
        for code, said in await asyncio.gather(*(self.says(*words) for _ in range(at_once))):
            assert code == 0, said
        [event] = await self._new()
        content = self._assert_event(event, kind, subject)
        found = {key: content.get(key, "nothing") for key in details}
        assert found == details, content
        return said.strip()

    async def is_refused(self, why: str, *words: str) -> None:
        """It changes nothing, and leaves no event."""
        code, said = await self.says(*words)
        assert (code, why in said) == (1, True), said
        assert await self._new() == []

    async def leaves_nothing(self, *words: str) -> str:
        """It succeeds, changes nothing, and leaves no event."""
        code, said = await self.says(*words)
        assert code == 0, said
        assert await self._new() == []
        return said.strip()

    async def is_in_the_log(self) -> None:
        """All of it has its place, agrees with the rows, and gives nothing away."""
        entity = from_text("ent", self.entity)

        entries: list[bytes] = []

        async def is_signed() -> bool:
            nonlocal entries
            entries = [row["entry"] for row in await self._owner.fetch(PLACED, entity)]
            code, said = await self.says("verify", "--rows", "--entity", self.entity)
            assert "is not" not in said, said
            return code == 0 and f"size      {len(entries)}\n" in said and len(by_hand()) >= seen

        def by_hand() -> list[bytes]:
            # A worker may add its own, as where webhooks that are replayed tell of payouts.
            return [one for one in entries if Entry.read(one).actor.startswith("operator:")]

        seen = len(self._seen)
        await until(is_signed)
        assert len(by_hand()) == seen
        everything = b"\n".join(entries)
        for secret in self.secrets:
            assert secret
            assert secret.encode() not in everything
        assert DISGUISE["USER"].encode() not in everything

    def _assert_event(self, event: asyncpg.Record, kind: str, subject: str | None) -> Any:
        """The six fields of PCI DSS 10.2.2."""
        content = json.loads(event["payload"])
        assert event["kind"] == kind
        assert event["actor"] == f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
        assert abs((datetime.now(UTC) - event["at"]).total_seconds()) < COMMAND_SECONDS_MAX
        assert (content["outcome"], content["origin"]) == ("succeeded", ORIGIN)
        if subject is not None:
            prefix: Any = subject.partition("_")[0]
            assert event["payment_id"] == from_text(prefix, subject)
        return content

    async def _new(self) -> list[asyncpg.Record]:
        if not self.entity:
            return []
        rows = await self._owner.fetch(EVENTS, from_text("ent", self.entity))
        new = [row for row in rows if (row["payment_id"], row["version"]) not in self._seen]
        self._seen |= {(row["payment_id"], row["version"]) for row in new}
        return new
