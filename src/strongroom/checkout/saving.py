"""What a payment by a link is to save, said again for the next try, which is another payment."""

import asyncpg

from strongroom.customers.keeping import wanted_again
from strongroom.http.consents import ConsentBody, SaveBody
from strongroom.ids import to_text
from strongroom.payments.states import Payment
from strongroom.vault.subjects import Subjects


async def save_of(pool: asyncpg.Pool, subjects: Subjects, payment: Payment) -> SaveBody | None:
    """The `save` that a payment was made with; None without one, and once its customer is erased.

    Its consent keeps the moment and the origin at which the customer gave it. Raises as Subjects.of
    does.
    """
    wanted = await wanted_again(pool, subjects, payment.legal_entity_id, payment.payment_id)
    if wanted is None:
        return None
    consent, agreed = None, wanted.agreed
    if agreed is not None:
        consent = ConsentBody(
            given_at=agreed.given_at,
            text_version=agreed.text_version,
            purpose=agreed.purpose,
            ip_address=agreed.origin.ip_address,
            user_agent=agreed.origin.user_agent,
        )
    return SaveBody(customer=to_text("cus", wanted.customer_id), consent=consent)
