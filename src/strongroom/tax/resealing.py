"""What a tax service was not asked yet, under the newest key of its legal entity."""

from typing import Final

from strongroom.tax.calculations import LABEL
from strongroom.tax.rows import SQL
from strongroom.vault.few_sealed import FewSealed

QUESTIONS: Final = FewSealed(
    statements=SQL,
    count="count_stale_calculations",
    stale="stale_calculations",
    reseal_one="reseal_calculation",
    label=LABEL,
    word="tax calculation",
)
