"""`strongroom endpoints`: where a merchant's servers are told what happened."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.cli.named import entity_named, entity_of, id_of
from strongroom.cli.plain import plain
from strongroom.cli.secrets import entered, vault_at_hand
from strongroom.clock import SystemClock, microseconds_since_epoch, rfc3339
from strongroom.config import ConfigurationError, Home, replace_file
from strongroom.database import begin
from strongroom.errors import InvariantBroken
from strongroom.ids import new_id, to_text
from strongroom.log.noting import by_hand, operator
from strongroom.setup import owners_vault, payments_owner
from strongroom.vault.entering import retire_secret, rotate_secret, set_secret
from strongroom.vault.keys import EntityKeys
from strongroom.vault.kinds import WEBHOOK_SIGNING_SECRET, WEBHOOK_URL, checked, kind_of
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Slot
from strongroom.webhooks.egress import UrlRefused, checked_url
from strongroom.webhooks.endpoint_rows import (
    AGAIN_MAX,
    SQL,
    add_endpoint,
    lock_endpoint,
    note,
    remove_endpoint,
    set_state,
    tell_again,
)
from strongroom.webhooks.endpoints import LOST, Endpoint, kinds_of
from strongroom.webhooks.messages import prefix_of
from strongroom.webhooks.signatures import new_secret

SHOWN_MAX: Final = 1000
BECAUSE_CHARACTERS_MAX: Final = 500


class Held(NamedTuple):
    """An endpoint whose row a transaction of the owner's has, and what seals for its entity."""

    connection: asyncpg.Connection
    sealing: EntityKeys | None
    endpoint: Endpoint

    @property
    def keys(self) -> EntityKeys:
        """What seals. Raises InvariantBroken where that was not asked for."""
        if self.sealing is None:
            raise InvariantBroken("nothing is sealed here")
        return self.sealing


def endpoints_add(options: argparse.Namespace) -> int:
    """Adds one; prints its id, and its secret once."""
    home, secret, url = Home(options.home), new_secret(), _url_of(options)
    loopback = home.settings().webhooks_to_loopback
    try:
        host = checked_url(url.reveal_text(), loopback_allowed=loopback).host
        url = checked(kind_of(WEBHOOK_URL), "stand_in", url)
    except UrlRefused as error:
        raise ConfigurationError(f"nothing is sent to such an address: {error}.") from None
    kinds = kinds_of(options.kinds, ConfigurationError)
    if options.from_index is not None and options.from_index < 0:
        raise ConfigurationError("an index in the log is 0 or more.")

    async def run() -> tuple[Endpoint, int]:
        async with owners_vault(home) as (connection, keyring):
            entity = await entity_named(connection, options.entity)
            keys = await keyring.entity(entity)
            now = SystemClock().now()
            endpoint = Endpoint(
                legal_entity_id=entity,
                endpoint_id=new_id(microseconds_since_epoch(now), entity),
                version=1,
                host=host,
                kinds=kinds,
                state="enabled",
                state_reason=None,
                created_at=now,
            )
            await begin(connection, [entity])
            first = await add_endpoint(
                connection, endpoint, options.from_index, operator(), **by_hand()
            )
            for kind, content in ((WEBHOOK_URL, url), (WEBHOOK_SIGNING_SECRET, secret)):
                await set_secret(connection, keys, _slot(endpoint, kind), content, now)
            _keep(secret, options.secret_file)
            await connection.execute("COMMIT")
        return endpoint, first

    with vault_at_hand():
        endpoint, first = asyncio.run(run())
    print(f"endpoint  {to_text('whe', endpoint.endpoint_id)}")
    print(f"told      {', '.join(kinds) or 'all events'}, from log index {first} on")
    _show(secret, options.secret_file)
    return 0


def _url_of(options: argparse.Namespace) -> Secret:
    """The address: of the arguments, of a file, or of who sits at the terminal.

    One with a token in it is no argument: others would see it in the list of processes. Raises
    ConfigurationError.
    """
    if options.url is None:
        return entered(kind_of(WEBHOOK_URL), "stand_in", options.url_file, option="--url-file")
    if options.url_file is not None:
        raise ConfigurationError("say the address, or a file that has it.")
    return Secret(options.url)


def endpoints_rotate(options: argparse.Namespace) -> int:
    """Puts another secret beside the one in use; prints it once."""
    secret = new_secret()

    async def run() -> int:
        async with _held(options, seals=True) as held:
            now = SystemClock().now()
            slot = _slot(held.endpoint, WEBHOOK_SIGNING_SECRET)
            version = await rotate_secret(held.connection, held.keys, slot, secret, now)
            await note(
                held.connection,
                held.endpoint,
                "secret_rotated",
                actor=operator(),
                at=now,
                secret_version=version,
                **by_hand(),
            )
            _keep(secret, options.secret_file)
        return version

    with vault_at_hand():
        version = asyncio.run(run())
    print(f"version {version} signs beside the one before; retire that once your server has this")
    _show(secret, options.secret_file)
    return 0


def endpoints_retire(options: argparse.Namespace) -> int:
    """Ends one of two secrets, the older unless it says which."""

    async def run() -> int:
        async with _held(options) as held:
            now, slot = SystemClock().now(), _slot(held.endpoint, WEBHOOK_SIGNING_SECRET)
            version = await retire_secret(
                held.connection, slot, options.version, now, last_too=False
            )
            await note(
                held.connection,
                held.endpoint,
                "secret_retired",
                actor=operator(),
                at=now,
                secret_version=version,
                **by_hand(),
            )
        return version

    print(f"version {asyncio.run(run())} signs no more; workers drop it in 5 seconds")
    return 0


def endpoints_disable(options: argparse.Namespace) -> int:
    """Tells it nothing until it is enabled."""
    because = options.because.strip()
    if not 0 < len(because) <= BECAUSE_CHARACTERS_MAX or "\x00" in because or because in LOST:
        raise ConfigurationError(f"say why, in 1 to {BECAUSE_CHARACTERS_MAX} characters.")

    async def run() -> None:
        async with _held(options) as held:
            if held.endpoint.state == "disabled":
                raise ConfigurationError("it is disabled already.")
            await set_state(
                held.connection,
                held.endpoint,
                "disabled",
                because,
                actor=operator(),
                at=SystemClock().now(),
                **by_hand(),
            )

    asyncio.run(run())
    print(f"{options.endpoint} is told nothing more; what happens meanwhile waits in the log")
    return 0


def endpoints_enable(options: argparse.Namespace) -> int:
    """Goes on where it was disabled."""

    async def run() -> None:
        async with _held(options) as held:
            if held.endpoint.state == "enabled":
                raise ConfigurationError("it is enabled already.")
            now = SystemClock().now()
            await set_state(
                held.connection,
                held.endpoint,
                "enabled",
                None,
                actor=operator(),
                at=now,
                **by_hand(),
            )

    asyncio.run(run())
    print(f"{options.endpoint} is told again, from where it was disabled")
    return 0


def endpoints_replay(options: argparse.Namespace) -> int:
    """Tells entries of the log once more."""
    first = options.first
    last = first if options.last is None else options.last
    if first < 0 or last < first or last - first >= AGAIN_MAX:
        raise ConfigurationError(f"give indices of the log, 0 or more, at most {AGAIN_MAX} at once")

    async def run() -> int:
        async with _held(options) as held:
            now = SystemClock().now()
            number = await tell_again(held.connection, held.endpoint, first, last, now)
            await note(
                held.connection,
                held.endpoint,
                "replayed",
                actor=operator(),
                at=now,
                first_index=first,
                last_index=last,
                **by_hand(),
            )
        return number

    print(f"{asyncio.run(run())} events are told again, each under the id that it had")
    return 0


def endpoints_remove(options: argparse.Namespace) -> int:
    """Forgets one, its secrets, and what it was told."""

    async def run() -> None:
        async with _held(options) as held:
            now = SystemClock().now()
            for kind in (WEBHOOK_URL, WEBHOOK_SIGNING_SECRET):
                slot = _slot(held.endpoint, kind)
                for row in await held.connection.fetch(SQL["secrets_in_use"], *slot):
                    await retire_secret(held.connection, slot, row["version"], now, last_too=True)
            await remove_endpoint(
                held.connection, held.endpoint, actor=operator(), at=now, **by_hand()
            )

    asyncio.run(run())
    print(f"{options.endpoint} is gone")
    return 0


def endpoints_list(options: argparse.Namespace) -> int:
    """Prints all of them, and how they do."""

    async def run() -> list[asyncpg.Record]:
        async with payments_owner(Home(options.home)) as connection:
            known = await connection.fetch(ACCESS_SQL["entities"])
            entities = [row["legal_entity_id"] for row in known]
            await begin(connection, entities, read_only=True)
            return await connection.fetch(SQL["endpoints"], entities)

    rows = [_endpoint_line(row) for row in asyncio.run(run())]
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return 0
    for row in rows:
        why = f" ({row['because']})" if row["because"] else ""
        failing = f"  fails since {row['failing_since']}" if row["failing_since"] else ""
        print(
            f"{row['endpoint']}  {row['host']}  {', '.join(row['kinds']) or 'all events'}  "
            f"{row['state']}{why}  waiting {row['waiting']}  unread {row['unread']}  "
            f"given up {row['given_up']}{failing}"
        )
    if not rows:
        print("nobody is told anything yet: `strongroom endpoints add URL`")
    return 0


def endpoints_show(options: argparse.Namespace) -> int:
    """Prints what became of what one was told, newest first."""
    limit = max(1, min(options.limit, SHOWN_MAX))

    async def run() -> list[asyncpg.Record]:
        endpoint_id = id_of("whe", options.endpoint)
        async with payments_owner(Home(options.home)) as connection:
            entity = await entity_of(connection, endpoint_id)
            await begin(connection, [entity], read_only=True)
            known = await connection.fetch(SQL["endpoints"], [entity])
            if endpoint_id not in {row["endpoint_id"] for row in known}:
                raise ConfigurationError("there is no such endpoint.")
            rows: list[asyncpg.Record] = await connection.fetch(
                SQL["deliveries"], entity, endpoint_id, options.state, limit
            )
            await connection.execute("ROLLBACK")
        return rows

    lines = [_delivery_line(row) for row in asyncio.run(run())]
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(lines)).decode())
        return 0
    for line in lines:
        status = "" if line["status"] is None else f" {line['status']}"
        last = "" if line["outcome"] is None else f"  {line['outcome']}{status}"
        when = f"  {line['ended_at']}" if line["ended_at"] else "  behind another"
        when = f"  next {line['next_at']}" if line["next_at"] else when
        told = (
            f"log {line['index']}  {line['subject']}  {line['kind']}  {line['state']}  "
            f"tries {line['tries']}{last}{when}"
        )
        print(plain(told))
    return 0


@asynccontextmanager
async def _held(options: argparse.Namespace, *, seals: bool = False) -> AsyncIterator[Held]:
    """The endpoint that is named, its row held; commits at the end of the block.

    The KMS is asked for keys, if need be, before anything is held. Raises ConfigurationError.
    """
    endpoint_id = id_of("whe", options.endpoint)
    async with owners_vault(Home(options.home)) as (connection, keyring):
        entity = await entity_of(connection, endpoint_id)
        keys = await keyring.entity(entity) if seals else None
        await begin(connection, [entity])
        endpoint = await lock_endpoint(connection, entity, endpoint_id)
        if endpoint is None:
            raise ConfigurationError("there is no such endpoint.")
        yield Held(connection, keys, endpoint)
        await connection.execute("COMMIT")


def _slot(endpoint: Endpoint, kind: str) -> Slot:
    return Slot(endpoint.legal_entity_id, endpoint.endpoint_id, kind)


def _keep(secret: Secret, file: Path | None) -> None:
    """Writes it down where it was asked for, before it counts: else nobody would have it."""
    if file is not None:
        replace_file(file, secret.reveal() + b"\n", 0o600)


def _show(secret: Secret, file: Path | None) -> None:
    """The one time that it is shown."""
    if file is not None:
        print(f"secret    in {file}; it is not shown again")
        return
    print(f"secret    {secret.reveal_text()}")
    print("your server checks signatures by the secret, which is not shown again")


def _endpoint_line(row: asyncpg.Record) -> dict[str, Any]:
    failing: Any = row["failing_since"]
    return {
        "endpoint": to_text("whe", row["endpoint_id"]),
        "entity": to_text("ent", row["legal_entity_id"]),
        "host": row["host"],
        "kinds": list(row["kinds"]),
        "state": row["state"],
        "because": row["state_reason"],
        "waiting": row["waiting"],
        "unread": row["unread"],
        "given_up": row["given_up"],
        "failing_since": None if failing is None else rfc3339(failing),
    }


def _delivery_line(row: asyncpg.Record) -> dict[str, Any]:
    subject: UUID = row["subject_id"]
    waits, ended = row["state"] == "waiting", row["ended_at"]
    return {
        "index": row["index"],
        "subject": to_text(prefix_of(row["kind"]), subject),
        "sequence": row["version"],
        "kind": row["kind"],
        "state": row["state"],
        "tries": row["tries"],
        "outcome": row["outcome"],
        "status": row["status"],
        "next_at": rfc3339(row["run_at"]) if waits and row["run_at"] else None,
        "ended_at": None if ended is None else rfc3339(ended),
    }
