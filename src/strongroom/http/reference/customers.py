"""The operations on customers, as the table has them."""

from typing import Final

from strongroom.http.customers import PATH, SEARCH_PATH
from strongroom.http.persons import (
    ChangeCustomer,
    CreateCustomer,
    CustomerList,
    CustomerParameters,
    CustomerView,
    SearchCustomers,
)
from strongroom.http.reference.operation import (
    IDEMPOTENCY_KEY,
    LOCATION,
    REPLAYED,
    Answer,
    Example,
    Operation,
)
from strongroom.http.reference.shared import (
    CUSTOMER_ID,
    WITH_A_BODY,
    WITH_A_KEY,
    WITH_A_LIST,
    WITH_AN_IDEMPOTENCY_KEY,
    WITH_METADATA,
    customer,
)

TAG: Final = "Customers"
_OF_A_PERSON: Final = (
    *WITH_A_KEY,
    *WITH_A_BODY,
    *WITH_AN_IDEMPOTENCY_KEY,
    *WITH_METADATA,
    "field_repeated",
    "description_length",
    "description_characters",
    "customer_field_invalid",
    "database_unavailable",
    "vault_unavailable",
)

CREATE: Final = Operation(
    id="create_customer",
    method="POST",
    path=PATH,
    tag=TAG,
    summary="Create a customer",
    description="Everything about the person is optional, and all of it is sealed under a key of "
    "this customer alone: once that key is destroyed, nobody can read it, in no backup either.",
    answering=lambda rooms, call: rooms.customers.create(call.asked),
    scope="customers:write",
    parameters=(IDEMPOTENCY_KEY,),
    body=CreateCustomer,
    answers=(
        Answer(
            status=201,
            description="It is on disk.",
            type=CustomerView,
            headers=(LOCATION,),
            links={"customer_id": "/id"},
        ),
        Answer(
            status=200,
            description="This key made it earlier; here it is as it now stands.",
            type=CustomerView,
            headers=(LOCATION, REPLAYED),
            links={"customer_id": "/id"},
        ),
    ),
    problems=_OF_A_PERSON,
    examples=(
        Example(
            name="customer",
            summary="A person",
            key="customer-17",
            body={
                "name": "Ada Byron",
                "email": "ada@shop.example",
                "address": {"city": "London", "country": "GB"},
            },
            status=201,
            answer=customer(),
        ),
    ),
)

LIST: Final = Operation(
    id="list_customers",
    method="GET",
    path=PATH,
    tag=TAG,
    summary="List customers",
    description="Newest first. Go on with `cursor=next_cursor` until that is null.",
    answering=lambda rooms, call: rooms.customers.list_page(call.asked, call.query),
    scope="customers:read",
    query=CustomerParameters,
    answers=(
        Answer(
            status=200,
            description="A page.",
            type=CustomerList,
            links={"customer_id": "/data/0/id", "cursor": "/next_cursor"},
        ),
    ),
    problems=(*WITH_A_KEY, *WITH_A_LIST),
    examples=(
        Example(
            name="customers",
            summary="The newest customers",
            query={"limit": "10"},
            after="customer",
            status=200,
            answer={"data": [customer()], "next_cursor": None},
        ),
    ),
)

SEARCH: Final = Operation(
    id="search_customers",
    method="POST",
    path=SEARCH_PATH,
    tag=TAG,
    summary="Find customers by e-mail address",
    description="Those that have this very address, in whatever case, newest first; erased "
    "customers are not found. Go on with `cursor` until `next_cursor` is null. The address stands "
    "in the body, for proxies and logs write down the addresses of pages. Nothing is changed, so "
    "it takes no Idempotency-Key.",
    answering=lambda rooms, call: rooms.customers.search(call.asked),
    scope="customers:read",
    body=SearchCustomers,
    answers=(
        Answer(
            status=200,
            description="A page.",
            type=CustomerList,
            links={"customer_id": "/data/0/id"},
        ),
    ),
    problems=(
        *WITH_A_KEY,
        *WITH_A_BODY,
        "field_missing",
        "field_repeated",
        "customer_field_invalid",
        "database_unavailable",
        "vault_unavailable",
    ),
    examples=(
        Example(
            name="customers_by_email",
            summary="Who has this address",
            body={"email": "Ada@shop.example"},
            after="customer",
            status=200,
            answer={"data": [customer()], "next_cursor": None},
        ),
    ),
)

GET: Final = Operation(
    id="get_customer",
    method="GET",
    path=PATH + "/{customer_id}",
    tag=TAG,
    summary="Read a customer",
    description="As it now stands. Of one that was erased its id and its times are left.",
    answering=lambda rooms, call: rooms.customers.get(call.asked, call.path["customer_id"]),
    scope="customers:read",
    parameters=(CUSTOMER_ID,),
    answers=(Answer(status=200, description="The customer.", type=CustomerView),),
    problems=(
        *WITH_A_KEY,
        "database_unavailable",
        "vault_unavailable",
        "parameter_unknown",
        "customer_not_found",
    ),
    examples=(
        Example(
            name="read_customer",
            summary="A customer",
            after="customer",
            status=200,
            answer=customer(),
        ),
    ),
)

CHANGE: Final = Operation(
    id="change_customer",
    method="POST",
    path=PATH + "/{customer_id}",
    tag=TAG,
    summary="Change a customer",
    description="Fields that are not sent stay as they are, null takes one away; `address` and "
    "`metadata` are replaced as a whole.",
    answering=lambda rooms, call: rooms.customers.change(call.asked, call.path["customer_id"]),
    scope="customers:write",
    parameters=(CUSTOMER_ID, IDEMPOTENCY_KEY),
    body=ChangeCustomer,
    answers=(
        Answer(
            status=200,
            description="The customer, changed; under a key that was used, as it now stands.",
            type=CustomerView,
            headers=(LOCATION, REPLAYED),
            links={"customer_id": "/id"},
        ),
    ),
    problems=(*_OF_A_PERSON, "customer_not_found", "customer_erased"),
    examples=(
        Example(
            name="change_customer",
            summary="Another address, and a telephone",
            key="customer-17-moved",
            after="customer",
            body={"phone": "+44 20 7946 0018", "address": None},
            status=200,
            answer=customer(
                phone="+44 20 7946 0018",
                address=None,
                updated_at="2026-11-21T10:09:00.204712Z",
                version=2,
            ),
        ),
    ),
)

CUSTOMERS: Final = (CREATE, LIST, SEARCH, GET, CHANGE)
"""The operations of this file."""
