"""From rounds to figures: medians, ratios, targets, and the table that is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

UNITS: Final = {
    "pgbench_tps": "payments/s, one a transaction",
    "accept_unbatched_rps": "requests/s, batches of one",
    "accept_rps": "requests/s",
    "accept_p50_ms": "ms",
    "accept_p99_ms": "ms",
    "bulk_pps": "payments/s, 100 a request",
    "accept_at_1m_ratio": "accept_rps over a million payments / over none",
    "accept_guarded_ratio": "CPU of the API an accept, without telemetry / with it",
    "accept_vault_cpu_ratio": "CPU of the API an accept, with / without them",
    "vault_ratio": "sealing and opening a field / the bare primitive",
    "kms_calls_per_million": "calls of the KMS for a million reads",
    "detector_us": "us, card numbers looked for in a request",
    "webhook_stripe_rps": "webhooks/s, verified and durable",
    "webhook_braintree_rps": "webhooks/s, verified and durable",
    "end_to_end_log_ratio": "end_to_end_pps with sequencer and signer / without",
    "sequencing_lag_p99_ms": "ms from an event to its place, at half the rate",
    "verify_entries_per_s": "entries/s of a whole log, from files, on one core",
    "proof_ms": "ms to prove one entry of a million",
    "proof_bytes": "bytes of that proof, without the entry",
    "settle_pps": "payments/s",
    "end_to_end_pps": "payments/s",
    "stripe_sdk_pps": "payments/s",
    "pss_mb": "MB, API and worker",
    "start_seconds": "s, warm",
}
_NAME_WIDTH: Final = 34
_FIGURE_WIDTH: Final = 10


@dataclass(frozen=True)
class Target:
    """A bound on a figure or on a ratio of two, and whether it is met; None: not measured."""

    name: str
    value: float | None
    relation: str
    bound: float

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.bound if self.relation == ">=" else self.value <= self.bound


def medians(rounds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each figure's rounds; figures without rounds are left out."""
    return {name: median(values) for name, values in rounds.items() if values}


def ratio(figures: Mapping[str, float], above: str, below: str) -> float | None:
    """A ratio of two figures, or None when one is missing or nought."""
    if above not in figures or not figures.get(below):
        return None
    return figures[above] / figures[below]


def targets(figures: Mapping[str, float]) -> list[Target]:
    """What is promised about speed and memory."""
    rate = figures.get("accept_rps")
    return [
        Target(
            "accept_rps / accept_unbatched_rps",
            ratio(figures, "accept_rps", "accept_unbatched_rps"),
            ">=",
            3.0,
        ),
        Target("accept_rps / pgbench_tps", ratio(figures, "accept_rps", "pgbench_tps"), ">=", 0.9),
        Target("bulk_pps / pgbench_tps", ratio(figures, "bulk_pps", "pgbench_tps"), ">=", 2.5),
        Target(
            "end_to_end_pps / pgbench_tps",
            ratio(figures, "end_to_end_pps", "pgbench_tps"),
            ">=",
            0.6,
        ),
        Target(
            "accept_p99_ms (2.5 x 256000/rps)",
            figures.get("accept_p99_ms"),
            "<=",
            2.5 * 256_000 / rate if rate else 0.0,
        ),
        Target("accept_at_1m_ratio", figures.get("accept_at_1m_ratio"), ">=", 0.9),
        Target("accept_vault_cpu_ratio", figures.get("accept_vault_cpu_ratio"), "<=", 1.1),
        Target(
            "webhook_stripe_rps / accept_rps",
            ratio(figures, "webhook_stripe_rps", "accept_rps"),
            ">=",
            1.0,
        ),
        Target(
            "webhook_braintree_rps / accept_rps",
            ratio(figures, "webhook_braintree_rps", "accept_rps"),
            ">=",
            0.3,
        ),
        Target("vault_ratio", figures.get("vault_ratio"), "<=", 3.0),
        Target("kms_calls_per_million", figures.get("kms_calls_per_million"), "<=", 100.0),
        Target("end_to_end_log_ratio", figures.get("end_to_end_log_ratio"), ">=", 0.85),
        Target("sequencing_lag_p99_ms", figures.get("sequencing_lag_p99_ms"), "<=", 1000.0),
        Target("verify_entries_per_s", figures.get("verify_entries_per_s"), ">=", 200_000.0),
        Target("proof_ms", figures.get("proof_ms"), "<=", 50.0),
        Target("pss_mb", figures.get("pss_mb"), "<=", 200.0),
    ]


def table(rounds: Mapping[str, Sequence[float]]) -> str:
    """Figures with their rounds, then targets."""
    figures = medians(rounds)
    lines = []
    for name, unit in UNITS.items():
        if name not in figures:
            continue
        values = rounds[name]
        spread = "" if len(values) < 2 else "  of " + " ".join(number(v) for v in values)
        lines.append(
            f"{name:<{_NAME_WIDTH}}{number(figures[name]):>{_FIGURE_WIDTH}}  {unit}{spread}"
        )
    known = [target for target in targets(figures) if target.value is not None]
    if known:
        lines.append("")
    for target in known:
        verdict = "met" if target.met else "NOT MET"
        lines.append(
            f"{target.name:<{_NAME_WIDTH}}{number(target.value or 0):>{_FIGURE_WIDTH}}  "
            f"{target.relation} {number(target.bound):<8} {verdict}"
        )
    return "\n".join(lines)


def number(value: float) -> str:
    """Three or more significant digits, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
