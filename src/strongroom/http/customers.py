"""The operations on customers."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import msgspec

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.clock import Clock
from strongroom.customers.methods import NoSuchMethod, NotReady
from strongroom.customers.register import KeyReused, Known, NoSuchCustomer, Page, Register, Wish
from strongroom.errors import Conflict, Invalid, Missing
from strongroom.http import bodies
from strongroom.http.asking import answer, authorise, customer_id_of
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.listing import LIMIT_MAX, read_page
from strongroom.http.persons import (
    EMAIL,
    ChangeCustomer,
    CreateCustomer,
    CustomerList,
    CustomerParameters,
    SearchCustomers,
    changes_of,
    person_of,
    view_of,
)
from strongroom.ids import MalformedId, from_text, to_text
from strongroom.vault.errors import SubjectDestroyed

PATH: Final = "/v1/customers"
SEARCH_PATH: Final = PATH + "/search"

_create_decoder: Final = msgspec.json.Decoder(CreateCustomer)
_change_decoder: Final = msgspec.json.Decoder(ChangeCustomer)
_search_decoder: Final = msgspec.json.Decoder(SearchCustomers)


class CustomerOperations:
    """What can be asked for customers over HTTP; each method answers with a Reply, always."""

    def __init__(self, *, clock: Clock, keys: ApiKeys, register: Register) -> None:
        self._clock, self._keys, self._register = clock, keys, register

    async def create(self, asked: Asked) -> Reply:
        """POST /v1/customers."""
        return await answer(self._create, asked)

    async def change(self, asked: Asked, customer_text: str) -> Reply:
        """POST /v1/customers/{id}."""
        return await answer(self._change, asked, customer_text)

    async def get(self, asked: Asked, customer_text: str) -> Reply:
        """GET /v1/customers/{id}."""
        return await answer(self._get, asked, customer_text)

    async def list_page(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        """GET /v1/customers."""
        return await answer(self._list, asked, query)

    async def search(self, asked: Asked) -> Reply:
        """POST /v1/customers/search."""
        return await answer(self._search, asked)

    async def _create(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, "customers:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        body = bodies.decode(asked, _create_decoder, bodies.fields_of(CreateCustomer))
        person = person_of(body)
        try:
            known = await self._register.create(self._wish(credential, key, PATH, person), person)
        except KeyReused:
            raise Invalid("idempotency_key_reused") from None
        return _reply(known, 200 if known.replayed else 201)

    async def _change(self, asked: Asked, customer_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "customers:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        body = bodies.decode(asked, _change_decoder, bodies.fields_of(ChangeCustomer))
        customer_id, changes = customer_id_of(customer_text), changes_of(body)
        wish = self._wish(credential, key, f"{PATH}/{customer_text}", changes)
        with refusing():
            known = await self._register.change(wish, customer_id, changes)
        return _reply(known, 200)

    async def _get(self, asked: Asked, customer_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "customers:read")
        customer_id = customer_id_of(customer_text)
        try:
            known = await self._register.get(credential.legal_entity_id, customer_id)
        except NoSuchCustomer:
            raise Missing("customer_not_found") from None
        return json_reply(200, view_of(known))

    async def _list(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        credential = await authorise(self._keys, asked, "customers:read")
        _, below, limit = read_page(query, CustomerParameters, "cus")
        return _listed(await self._register.page(credential.legal_entity_id, None, below, limit))

    async def _search(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, "customers:read")
        body = bodies.decode(asked, _search_decoder, bodies.fields_of(SearchCustomers))
        if not EMAIL.fullmatch(body.email):
            raise _invalid("email", "an e-mail address")
        if not 1 <= body.limit <= LIMIT_MAX:
            raise _invalid("limit", f"a number from 1 to {LIMIT_MAX}")
        try:
            below = None if body.cursor is None else from_text("cus", body.cursor)
        except MalformedId:
            raise _invalid("cursor", "the next_cursor of a page") from None
        page = await self._register.page(credential.legal_entity_id, body.email, below, body.limit)
        return _listed(page)

    def _wish(self, credential: Credential, key: str, path: str, content: object) -> Wish:
        return wish_of(credential, key, path, content, self._clock.now())


@contextmanager
def refusing() -> Iterator[None]:
    """What is asked of customers and their payment methods is refused by these problems."""
    try:
        yield
    except KeyReused:
        raise Invalid("idempotency_key_reused") from None
    except NoSuchCustomer:
        raise Missing("customer_not_found") from None
    except NoSuchMethod:
        raise Missing("payment_method_not_found") from None
    except NotReady:
        raise Conflict("payment_method_not_ready") from None
    except SubjectDestroyed:
        raise Conflict("customer_erased") from None


def wish_of(credential: Credential, key: str, path: str, content: object, at: datetime) -> Wish:
    """What is asked for, under a key; `content` are the fields that make it the same request."""
    return Wish(
        legal_entity_id=credential.legal_entity_id,
        idempotency_key=key,
        content=path.encode() + b"\n" + msgspec.json.encode(content, order="deterministic"),
        actor=credential.actor,
        at=at,
    )


def _invalid(field: str, rule: str) -> Invalid:
    return Invalid("customer_field_invalid", field=field, rule=rule)


def _listed(page: Page) -> Reply:
    cursor = None if page.below is None else to_text("cus", page.below)
    views = [view_of(known) for known in page.known]
    return json_reply(200, CustomerList(data=views, next_cursor=cursor))


def _reply(known: Known, status: int) -> Reply:
    view = view_of(known)
    headers = [("location", f"{PATH}/{view.id}")]
    if known.replayed:
        headers.append(("idempotent-replayed", "true"))
    return json_reply(status, view, *headers)
