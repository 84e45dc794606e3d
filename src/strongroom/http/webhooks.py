"""Webhooks of gateways: checked, stored, answered. What they are about is looked at by a worker.

No API key: the signature is the credential. No card number is looked for in the body, since nothing
of it is kept: a gateway's own objects hold network ids of 15 digits, some of which would look like
one. What is kept, ids and names, is looked at by the reader of the gateway.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.clock import Clock
from strongroom.directory import Entities
from strongroom.errors import Invalid, Missing, Unavailable
from strongroom.gateways.accounts import Accounts, NoSuchAccount
from strongroom.gateways.port import Account
from strongroom.http.asking import problem_of
from strongroom.http.exchange import Reply, json_reply
from strongroom.ids import MalformedId, from_text, tag_of
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.vault.errors import SecretMissing
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Secrets, Slot
from strongroom.webhooks.hints import ReadWebhook
from strongroom.webhooks.inbox import Delivery, Inbox

BODY_BYTES_MAX: Final = 256 * 1024
ROUTE: Final = "/webhooks/{gateway}/{gateway_account_id}"
PREFIX: Final = "/webhooks/"
LOOKUPS_MAX: Final = 8
"""Accounts that are looked up at once: anybody can ask for some that do not exist."""
_PATH: Final = re.compile(rb"/webhooks/([a-z]{1,20})/([!-~]{1,64})")
RECEIVED: Final = {"received": True}
QUERY_BYTES_MAX: Final = 128

AnswerChallenge = Callable[[str, Secret], str]
"""Of a gateway: the challenge's text, the newest secret → the proof. Raises Invalid."""


class Source:
    """How one gateway's webhooks are checked: its header, its kind of secret, its reader.

    `load` takes a while: a gateway's SDK, which a deployment without webhooks never needs. At some
    gateways an endpoint proves that it has the secret: `challenge` names the query's parameter, and
    loads what answers it.
    """

    def __init__(
        self,
        header: bytes,
        secret_kind: str,
        load: Callable[[], ReadWebhook],
        challenge: tuple[str, Callable[[], AnswerChallenge]] | None = None,
    ) -> None:
        self.header, self.secret_kind, self._load = header, secret_kind, load
        self._read: ReadWebhook | None = None
        self.challenge = challenge

    async def reader(self) -> ReadWebhook:
        """What reads its webhooks; loaded in a thread, for others are served meanwhile."""
        if self._read is None:
            self._read = await asyncio.to_thread(self._load)
        return self._read


class WebhookOperations:
    """Takes webhooks in for one process."""

    def __init__(
        self,
        *,
        clock: Clock,
        entities: Entities,
        accounts: Accounts,
        secrets: Secrets,
        inbox: Inbox,
        sources: Mapping[str, Source],
        telemetry: NoTelemetry = NO_TELEMETRY,
    ) -> None:
        self._clock, self._entities, self._accounts = clock, entities, accounts
        self._secrets, self._inbox, self._sources = secrets, inbox, sources
        self._telemetry = telemetry
        self._lookups = asyncio.Semaphore(LOOKUPS_MAX)

    def start(self) -> None:
        """Starts the writers in the running loop."""
        self._inbox.start()

    async def drain(self) -> None:
        """Waits for all that was taken in, then stops."""
        await self._inbox.drain()

    def gateway_of(self, raw_path: bytes) -> tuple[str, str] | None:
        """Gateway and account that the path names, None where there is no such route."""
        found = _PATH.fullmatch(raw_path)
        if found is None or found[1].decode() not in self._sources:
            return None
        return found[1].decode(), found[2].decode()

    async def check_account(self, gateway: str, account_text: str) -> None:
        """Raises Problem where the gateway has no such account of ours, or nobody can tell."""
        try:
            await self._account(gateway, account_text)
        except Exception as error:  # noqa: BLE001 - no bug may leave a caller without an answer
            raise problem_of(error) from None

    async def receive(
        self, gateway: str, account_text: str, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> Reply:
        """200 when the webhook is on disk, also when it was there before. Raises Problem."""
        source = self._sources[gateway]
        signatures = [value for name, value in headers if name == source.header]
        if not all(value.isascii() for value in signatures):
            raise Invalid("webhook_signature_invalid")
        account = await self._account(gateway, account_text)
        secrets = await self._secrets_of(account, source.secret_kind)
        read = await source.reader()
        now = self._clock.now()
        hint = read(body, [value.decode("ascii") for value in signatures], secrets, now)
        if hint.is_live not in (None, account.environment == "live"):
            raise Invalid("webhook_mode_mismatch")
        stored = await self._inbox.store(
            Delivery(
                legal_entity_id=account.legal_entity_id,
                gateway_account_id=account.gateway_account_id,
                hint=hint,
                body_digest=hint.digest or hashlib.sha256(body).digest(),
                received_at=now,
            )
        )
        self._telemetry.webhook_received(gateway, hint.lane or hint.state, stored)
        return json_reply(200, RECEIVED)

    def is_challenge(self, gateway: str, method: str) -> bool:
        """Whether the request is an endpoint's proof, and no delivery."""
        return method == "GET" and self._sources[gateway].challenge is not None

    async def prove(self, gateway: str, account_text: str, query: bytes) -> Reply:
        """The answer to a gateway that asks whether we have its secret. Raises Problem."""
        challenge = self._sources[gateway].challenge
        if challenge is None or len(query) > QUERY_BYTES_MAX:
            raise Invalid("webhook_malformed")
        parameter, load = challenge
        found = re.fullmatch(rb"([a-z_]{1,32})=([!-%'-~]{1,64})", query)
        if found is None or found[1].decode() != parameter:
            raise Invalid("webhook_malformed")
        account = await self._account(gateway, account_text)
        secrets = await self._secrets_of(account, self._sources[gateway].secret_kind)
        answer_challenge = await asyncio.to_thread(load)
        text = answer_challenge(found[2].decode("ascii"), secrets[0])
        return Reply(200, text.encode("ascii"), content_type="text/plain; charset=utf-8")

    async def _account(self, gateway: str, text: str) -> Account:
        try:
            account_id = from_text("gwa", text)
            entity = self._entities.known(tag_of(account_id))
            if entity is not None:
                account = await self._accounts.get(entity, account_id)
            else:
                async with self._lookups:
                    account = await self._find(account_id)
        except (MalformedId, NoSuchAccount):
            raise Missing("webhook_account_unknown") from None
        if account.gateway != gateway:
            raise Missing("webhook_account_unknown")
        return account

    async def _find(self, account_id: UUID) -> Account:
        entity = await self._entities.by_tag(tag_of(account_id))
        if entity is None:
            raise NoSuchAccount
        return await self._accounts.get(entity, account_id)

    async def _secrets_of(self, account: Account, kind: str) -> list[Secret]:
        """Those in use, the newest first: two while one takes the other's place."""
        slot = Slot(account.legal_entity_id, account.gateway_account_id, kind)
        try:
            versions = await self._secrets.versions(slot)
            return [await self._secrets.open(slot, version) for version in versions]
        except SecretMissing:
            raise Unavailable("webhook_secret_missing") from None


def hooks_over(
    pool: asyncpg.Pool,
    clock: Clock,
    secrets: Secrets,
    sources: Mapping[str, Source],
    telemetry: NoTelemetry,
) -> WebhookOperations:
    """The operations of a process, over one pool of its connections."""
    return WebhookOperations(
        clock=clock,
        entities=Entities(pool),
        accounts=Accounts(pool),
        secrets=secrets,
        inbox=Inbox(pool, telemetry),
        sources=sources,
        telemetry=telemetry,
    )
