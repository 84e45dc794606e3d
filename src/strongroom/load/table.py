"""A run as people read it: a table that is written over, plain lines, and a summary."""

from typing import Final

from strongroom.load.plan import LoadPlan
from strongroom.load.run import Sample

_NAME_WIDTH: Final = 12


def table(plan: LoadPlan, sample: Sample) -> list[str]:
    """How the run stands, for a terminal; as many lines each time."""
    payments = f"{sample.rate:,.0f}/s   accepted {sample.accepted:,}"
    return [
        title(plan),
        "",
        _line("time", f"{sample.seconds:,.0f} of {plan.seconds:,.0f} s"),
        _line("payments", f"{payments}   under way {sample.in_flight:,}"),
        _line("latency", _latency(sample)),
        _line("answers", counts(sample.statuses)),
        _line("states", _states(sample)),
    ]


def plain(sample: Sample) -> str:
    """How the run stands, in one line."""
    return (
        f"{sample.seconds:6.1f} s  {sample.rate:>9,.0f}/s  p50 {sample.p50_ms:,.1f} ms  "
        f"p99 {sample.p99_ms:,.1f} ms  answers {counts(sample.statuses)}  states {_states(sample)}"
    )


def summary(plan: LoadPlan, sample: Sample) -> list[str]:
    """How the run went."""
    of = "" if plan.bulk is None else f"   for {plan.bulk} payments"
    return [
        _line("sent", f"{sample.sent:,} payments in {sample.seconds:,.1f} s"),
        _line("accepted", f"{sample.accepted:,} payments, {sample.rate:,.0f}/s"),
        _line("latency", _latency(sample) + of),
        _line("answers", counts(sample.statuses)),
        _line("states", _states(sample)),
    ]


def title(plan: LoadPlan) -> str:
    """What is done to whom."""
    pace = "as many as are answered" if plan.rate is None else f"{plan.rate:,.0f} payments/s"
    form = "" if plan.bulk is None else f", {plan.bulk} payments a request"
    return f"  load on {plan.url}: {plan.clients} clients{form}, {pace}"


def counts(found: dict[str, int]) -> str:
    """`202: 1,200   503: 7`."""
    return "   ".join(f"{name}: {count:,}" for name, count in found.items()) or "none yet"


def _latency(sample: Sample) -> str:
    return f"p50 {sample.p50_ms:,.1f} ms   p99 {sample.p99_ms:,.1f} ms"


def _states(sample: Sample) -> str:
    if sample.unseen is not None:
        return f"not to be seen: a look was answered with {sample.unseen}"
    shown = counts(dict(sorted(sample.states.items())))
    return f"{shown}   (of {sum(sample.states.values()):,} followed)" if sample.states else shown


def _line(name: str, text: str) -> str:
    return f"  {name:<{_NAME_WIDTH}}{text}"
