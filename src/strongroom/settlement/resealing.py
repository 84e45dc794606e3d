"""Evidence that is not at its gateway yet, under the newest key of its legal entity."""

from typing import Final

from strongroom.settlement.answers import LABEL
from strongroom.settlement.rows import SQL
from strongroom.vault.few_sealed import FewSealed

EVIDENCE: Final = FewSealed(
    statements=SQL,
    count="count_stale_evidence",
    stale="stale_evidence",
    reseal_one="reseal_evidence",
    label=LABEL,
    word="evidence",
)
