"""Figures that runs keep, each with the code that it is of, and what they prove."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.code import code_of_runs


def bound(many: int) -> str:
    """What none in so many says: the rule of three (Hanley and Lippman-Hand, 1983)."""
    return f"with 95 % confidence fewer than one in {many // 3:,}"


def keep(file: Path, figures: Mapping[str, Any]) -> None:
    """Writes figures of a run of this very code, beside those of it that stand there already."""
    code = code_of_runs()
    known = json.loads(file.read_text()) if file.exists() else {}
    kept = known if known.pop("code", None) == code else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**kept, **figures, "code": code}, indent=2) + "\n")
