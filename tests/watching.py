"""What stands in deploy/ and docs/runbooks, read for tests."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import yaml
from msgspec import Struct

ROOT: Final = Path(__file__).resolve().parents[1]
RULES: Final = ROOT / "deploy" / "prometheus" / "alerts.yml"
RULE_TESTS: Final = ROOT / "deploy" / "prometheus" / "alerts.test.yml"
SCRAPES: Final = ROOT / "deploy" / "prometheus" / "prometheus.yml"
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "strongroom.json"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
NOT_OURS: Final = frozenset({"up", "process_cpu_seconds_total", "process_resident_memory_bytes"})
"""Prometheus' own, and those of its client library."""
_VARIABLES: Final = {"$__rate_interval": "5m"}


class Alert(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule, as Prometheus reads it."""

    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]
    for_: str = "0s"


def alerts() -> list[Alert]:
    """Every alert of deploy/, in order; a field that Prometheus does not know is an error."""
    document = yaml.safe_load(RULES.read_text("utf-8"))
    assert set(document) == {"groups"}
    found = []
    for group in document["groups"]:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            plain = {"for_" if key == "for" else key: value for key, value in rule.items()}
            found.append(Alert(**plain))
    return found


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, rows among them."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Title of the panel and expression, of every query of the dashboard."""
    for panel in panels():
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def metrics_in(expression: str) -> set[str]:
    """The metrics that a PromQL expression reads. Raises ValueError for what is no PromQL."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return set(_selected(promql_parser.parse(expression)))


def _selected(node: object) -> Iterator[str]:
    if isinstance(node, promql_parser.VectorSelector):
        if node.name:
            yield node.name
        return
    for name in ("lhs", "rhs", "expr", "args", "param", "vector_selector", "vs"):
        child = getattr(node, name, None)
        for part in child if isinstance(child, list) else [child]:
            if part is not None:
                yield from _selected(part)


def family_of(sample: str) -> str:
    """The metric that a sample belongs to: `x_bucket` → `x`."""
    return re.sub(r"_(bucket|count|sum)$", "", sample)


def watched_metrics() -> set[str]:
    """Every metric that a rule or a panel reads, without those that are not ours."""
    expressions = [alert.expr for alert in alerts()] + [text for _, text in queries()]
    return set().union(*map(metrics_in, expressions)) - NOT_OURS


def commands() -> Iterator[tuple[str, list[str]]]:
    """Page and words of each `strongroom …` line in code of the runbooks and of deploy/."""
    for page in (*sorted(RUNBOOKS.glob("*.md")), ROOT / "deploy" / "README.md"):
        text = page.read_text("utf-8")
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                if line.startswith("strongroom "):
                    yield page.name, line.split()[1:]
        for inline in re.findall(r"`strongroom ([a-z][^`]*)`", text):
            yield page.name, inline.split()
