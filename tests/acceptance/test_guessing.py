"""Who guesses is told by nothing in the log once a customer was erased, with every key of ours."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import product
from typing import Any, NamedTuple

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from strongroom.config import Home
from strongroom.customers.persons import Customer, Person, customer_of
from strongroom.ids import from_text
from strongroom.log.entries import Entry
from strongroom.payments.rows import digest_in_format, payment_of
from strongroom.vault.blind_index import EMAIL, blind_index
from strongroom.vault.keys import EntityKeys
from strongroom.vault.opening import open_vault
from tests.acceptance.client import Api, fresh, order, until
from tests.acceptance.running import Running
from tests.acceptance.test_customers import erase, found, made, somebody
from tests.acceptance.test_payment_methods import save

NO_SALT = b""


class Dump(NamedTuple):
    """What an attacker took: the customer's row, and all that the log says of it."""

    row: Customer
    entries: list[Entry]


@pytest.fixture
async def keys(running: Running) -> AsyncIterator[EntityKeys]:
    """The keys of the legal entity: a process of ours has them, and a thief of the database not."""
    home = Home(running.home)
    vault = await open_vault(home, home.settings(), "api")
    yield await vault.keyring.entity(from_text("ent", running.legal_entity))
    await vault.close()


async def dump(owner: asyncpg.Connection, customer: str, versions: int) -> Dump:
    """Of a customer, once so many versions are in the log."""
    subject = from_text("cus", customer)

    async def is_placed() -> bool:
        return len(await _entries(owner, customer)) == versions

    await until(is_placed)
    row = await owner.fetchrow("SELECT * FROM customers WHERE customer_id = $1", subject)
    assert row is not None
    return Dump(customer_of(row), await _entries(owner, customer))


async def _entries(owner: asyncpg.Connection, customer: str) -> list[Entry]:
    rows = await owner.fetch(
        "SELECT entry FROM log_entries WHERE subject_id = $1 ORDER BY version",
        from_text("cus", customer),
    )
    return [Entry.read(row["entry"]) for row in rows]


def confirmed(taken: Dump, keys: EntityKeys, guess: Person, salts: list[bytes]) -> list[str]:
    """Which digests of the log say that it was this person, by all that an attacker can compute."""
    created = taken.entries[0].at
    index = None if guess.email is None else blind_index(keys, EMAIL, guess.email)
    hits = []
    for entry in taken.entries:
        said = json.loads(entry.payload).get("person", "")
        for salt in salts:
            digests = {hashlib.sha256(salt + one).hexdigest() for one in _written(guess)}
            if digests & {said, entry.row_digest.hex()}:
                hits.append(f"person of version {entry.version}")
            row = replace(
                taken.row, version=entry.version, email_index=index, digest_salt=salt or bytes(16),
                created_at=created, updated_at=entry.at,
            )  # fmt: skip
            if row.row_digest() == entry.row_digest:
                hits.append(f"row of version {entry.version}")
    return hits


def _written(guess: Person) -> Iterator[bytes]:
    yield msgspec.json.encode(guess)
    yield (guess.email or "").encode()


async def test_a_guessed_address_is_confirmed_by_no_byte_of_the_log(
    running: Running, api: Api, owner: asyncpg.Connection, keys: EntityKeys
) -> None:
    """The attacker has the log, the database as it is now, and even the legal entity's keys."""
    body = somebody()
    one = await api.post("/v1/customers", body)
    await save(api, one.id)
    guess = msgspec.convert(body, Person)
    before = await dump(owner, one.id, 1)
    hits = confirmed(before, keys, guess, [NO_SALT, before.row.digest_salt])
    assert hits == ["row of version 1"]  # so the attack is one, as long as the row is whole
    await erase(running, one.id)
    after = await dump(owner, one.id, 2)
    assert [entry.kind for entry in after.entries] == ["customer.created", "customer.erased"]
    assert after.row.row_digest() == after.entries[-1].row_digest
    assert after.row.email_index is None
    salts = [NO_SALT, bytes(16), after.row.digest_salt, *_bytes_of(after)]
    assert confirmed(after, keys, guess, salts) == []
    assert confirmed(after, keys, guess, [before.row.digest_salt]) == ["row of version 1"]
    everything = b"".join(entry.content() for entry in after.entries)
    for kept in (before.row.digest_salt, before.row.email_index or b"?"):
        assert kept not in everything
        assert kept.hex().encode() not in everything
        rows = await owner.fetch("SELECT count(*) FROM customers WHERE customers::text LIKE $1",
                                 f"%{kept.hex()}%")  # fmt: skip
        assert rows[0][0] == 0


def _bytes_of(taken: Dump) -> list[bytes]:
    """Whatever 16 bytes stand in the log or in the sealed value, should a salt be among them."""
    content = taken.row.sealed + b"".join(entry.row_digest for entry in taken.entries)
    return [content[at : at + 16] for at in range(len(content) - 15)]


async def test_no_request_is_confirmed_by_its_key_once_a_customer_was_erased(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    """What was asked is compared by a digest, against which it could be tried out for ever."""
    key, changing, body = fresh("key"), fresh("key"), somebody()
    one = await api.post("/v1/customers", body, key=key)
    change = {"email": f"{fresh('b')}@shop.example"}
    await api.post(f"/v1/customers/{one.id}", change, key=changing)
    await save(api, one.id)
    mine = """SELECT fingerprint FROM customer_keys WHERE owner_id = $1 OR owner_id IN
        (SELECT payment_method_id FROM payment_methods WHERE customer_id = $1)"""
    named = from_text("cus", one.id)
    before = {row["fingerprint"] for row in await owner.fetch(mine, named)}
    assert len(before) == 3
    again = await api.post("/v1/customers", body, key=key)
    assert (again.replayed, again.id) == (True, one.id)
    await erase(running, one.id)
    after = {row["fingerprint"] for row in await owner.fetch(mine, named)}
    assert after == {bytes(33)}
    for asked in (body, somebody()):  # nobody can say any more which of them it was
        again = await api.post("/v1/customers", asked, key=key)
        assert (again.replayed, again.id, again.json["email"]) == (True, one.id, None)


async def test_a_key_of_somebody_erased_is_no_key_to_anybody_else(
    running: Running, api: Api
) -> None:
    """What was asked under it is not known any more; for whom it was, still is."""
    making, changing, saving = fresh("key"), fresh("key"), fresh("key")
    one, other = await api.post("/v1/customers", somebody(), key=making), await made(api)
    path = f"/v1/customers/{one.id}"
    await api.post(path, {"name": "Ada"}, key=changing)
    card = {"instrument": {"gateway": "stripe", "token": "pm_card_visa"}}
    method = await api.post(f"{path}/payment_methods", card, key=saving)
    assert method.status < 300, method
    await erase(running, one.id)
    theirs = f"/v1/customers/{other.id}"
    for key, where, body in (
        (changing, theirs, {"name": "Ada"}),
        (making, theirs, {"name": "Ada"}),
        (saving, "/v1/customers", somebody()),
        (making, f"{theirs}/payment_methods", card),
        (saving, f"{theirs}/payment_methods", card),
    ):
        refused = await api.post(where, body, key=key)
        assert (refused.status, refused.code) == (422, "idempotency_key_reused"), where
    again = await api.post(path, {"name": "Ada"}, key=changing)
    assert (again.status, again.json["erased"]) == (200, True)


async def test_erased_twice_leaves_one_event(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    one = await made(api)
    await asyncio.gather(*(erase(running, one.id) for _ in range(3)))
    taken = await dump(owner, one.id, 2)
    assert [entry.kind for entry in taken.entries] == ["customer.created", "customer.erased"]
    content = json.loads(taken.entries[-1].payload)
    assert (content["outcome"], content["origin"]["by"]) == ("succeeded", "command_line")
    assert taken.entries[-1].actor.startswith("operator:")


async def test_who_changes_a_customer_while_it_is_erased_brings_nothing_back(
    running: Running, api: Api, owner: asyncpg.Connection, keys: EntityKeys
) -> None:
    for _ in range(3):
        body = somebody()
        one = await api.post("/v1/customers", body)
        other = f"{fresh('b')}@shop.example"
        changes = [
            api.post(f"/v1/customers/{one.id}", {"email": f"{number}{other}"})
            for number in range(8)
        ]
        *_, erased = await asyncio.gather(*changes, erase(running, one.id))
        assert erased is None
        row = await owner.fetchrow(
            "SELECT * FROM customers WHERE customer_id = $1", from_text("cus", one.id)
        )
        assert row is not None
        assert row["email_index"] is None
        for address in (body["email"], *(f"{number}{other}" for number in range(8))):
            assert await found(api, address) == []


async def test_texts_that_stood_in_the_clear_are_confirmed_by_nothing_once_they_are_sealed(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    """Of a payment that an older version wrote: the digest of that row is in the log for good."""
    paid = await api.pay(order(), wait=20)
    subject = from_text("pay", paid.id)
    row = await owner.fetchrow("SELECT * FROM payments WHERE payment_id = $1", subject)
    assert row is not None
    plain = replace(payment_of(row), description="for Ada", metadata={})
    await owner.execute(
        "UPDATE payments SET description = 'for Ada' WHERE payment_id = $1", subject
    )
    await owner.execute(
        "UPDATE events SET row_digest = $2 WHERE payment_id = $1 AND version = $3",
        subject, plain.row_digest(), plain.version,
    )  # fmt: skip
    running.command("vault", "reencrypt", "--entity", running.legal_entity)
    after = await owner.fetchrow("SELECT * FROM payments WHERE payment_id = $1", subject)
    assert after is not None
    assert after["description"] is None
    now = payment_of(after)
    newest = await owner.fetchrow(
        "SELECT kind, row_digest, row_format FROM events WHERE payment_id = $1 AND version = $2",
        subject, now.version,
    )  # fmt: skip
    assert newest is not None
    assert newest["kind"] == "payment.texts_sealed"
    assert newest["row_digest"] == digest_in_format(now, newest["row_format"])
    guesses: list[Any] = list(product(("for Ada", None), (now.digest_salt, bytes(16))))
    for text, salt in guesses:
        tried = replace(plain, description=text, digest_salt=salt)
        assert tried.row_digest() != plain.row_digest()
    assert now.digest_salt != plain.digest_salt
    assert now.updated_at - plain.updated_at > timedelta(0)
