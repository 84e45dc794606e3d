"""A consent is read again where another payment is to save as well, and nowhere else."""

from collections.abc import AsyncIterator

import pytest

from strongroom.customers.consents import Agreed, Origin, opened_consent, sealed_consent
from strongroom.ids import new_id
from strongroom.vault.destruction import destroy
from strongroom.vault.errors import SubjectDestroyed, Unreadable
from tests.integration.conftest import NOW, Deployment
from tests.integration.vaults import MOMENT, Ours, our_vault

ORIGINS = (
    Origin(ip_address="2001:db8::1", user_agent="Mozilla/5.0"),
    Origin(ip_address="192.0.2.17"),
    Origin(),
)


@pytest.fixture
async def ours(deployment: Deployment) -> AsyncIterator[Ours]:
    async with our_vault(deployment) as made:
        yield made


@pytest.mark.parametrize("origin", ORIGINS)
async def test_a_consent_is_read_as_it_was_told(ours: Ours, origin: Origin) -> None:
    [ada] = await ours.made(1)
    method = new_id(MOMENT, ours.entity)
    agreed = Agreed(given_at=NOW, purpose="recurring", text_version="terms-1", origin=origin)
    kept = await sealed_consent(ours.subjects, ours.entity, ada, method, agreed, NOW)
    assert (kept.sealed is None) == (origin == Origin())
    assert await opened_consent(ours.subjects, ours.entity, ada, method, kept) == agreed


async def test_for_no_other_payment_method_and_for_nobody_who_was_erased(ours: Ours) -> None:
    [ada] = await ours.made(1)
    method, other = (new_id(MOMENT + number, ours.entity) for number in range(2))
    agreed = Agreed(given_at=NOW, purpose="recurring", text_version="terms-1", origin=ORIGINS[0])
    kept = await sealed_consent(ours.subjects, ours.entity, ada, method, agreed, NOW)
    with pytest.raises(Unreadable):
        await opened_consent(ours.subjects, ours.entity, ada, other, kept)
    await destroy(ours.owner, ours.tombstones, ours.entity, ada, NOW)
    with pytest.raises(SubjectDestroyed):
        await opened_consent(ours.subjects, ours.entity, ada, method, kept)
