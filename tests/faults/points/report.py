"""The grid of points × faults, as a page and as figures."""

import html
from pathlib import Path
from typing import Any, Final

from tests.faults.kept import keep
from tests.faults.points.plan import Plan
from tests.faults.points.points import FAULTS, Cell, Fault, Point

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1c2430; background: #fff; }
h2 { margin-top: 2.5rem; } table { border-collapse: collapse; } summary { cursor: pointer; }
th, td { padding: 2px 6px; text-align: left; font-size: 13px; }
th { font-weight: 600; } td.place { font-family: ui-monospace, monospace; }
td.cell { width: 5.2rem; text-align: center; border: 2px solid #fff; border-radius: 5px; }
.good { background: #c9ecd3; color: #10512a; } .bad { background: #b3261e; color: #fff; }
.not-tried { background: #f4d9a8; color: #5b3a00; } .none { background: #f3f4f6; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e9ee; background: #14181f; } td.cell { border-color: #14181f; }
  .good { background: #1d4d2f; color: #d5f5df; } .none { background: #1d232c; }
}
"""
LEGEND: Final = (
    "<p>Green: recovered, and all that the judge asks holds. Red: it does not. Amber: not tried. "
    "The title of a field is the command that tries it again.</p>"
)


def summary_of(plan: Plan) -> dict[str, Any]:
    """By flow: points, cells, how many were tried, how many failed."""
    flows = {}
    for flow, points in plan.points.items():
        cells, gone = plan.cells(flow), plan.passed_by(flow)
        results = [plan.results[flow, str(c)] for c in cells if (flow, str(c)) in plan.results]
        flows[flow] = {
            "points": len(points) - len(gone),
            "rare": plan.rare[flow] + len(gone),
            "cells": len(cells),
            "tried": len(results),
            "failures": sum(bool(told["findings"]) for told in results),
        }
    return {"flows": flows}


def write_summary(plan: Plan, file: Path) -> dict[str, Any]:
    """Writes the figures as JSON, beside those of second faults; returns them."""
    summary = summary_of(plan)
    keep(file, {**summary, "findings": plan.dry_findings})
    return summary


def write_report(plan: Plan, file: Path) -> None:
    """Writes the page: one table a flow, one row a point, one column a fault."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Points × faults</title>",
        f"<style>{STYLE}</style><h1>Every point × every fault</h1>",
        LEGEND,
    ]
    for flow, row in summary_of(plan)["flows"].items():
        parts.append(
            f"<h2>{html.escape(flow)}</h2><p>{row['points']} points, {row['tried']} of "
            f"{row['cells']} cells tried, {row['failures']} failures.</p>"
            "<details><summary>the grid</summary><table><tr><th>point</th>"
        )
        parts += [f"<th>{fault}</th>" for fault in Fault]
        parts.append("</tr>")
        gone = plan.passed_by(flow)
        parts += [_row(plan, flow, point) for point in plan.points[flow] if point not in gone]
        parts.append("</table></details>")
    file.write_text("\n".join(parts) + "</html>\n")


def _row(plan: Plan, flow: str, point: Point) -> str:
    fields = []
    for fault in Fault:
        if fault not in FAULTS[point.kind]:
            fields.append("<td class='cell none'></td>")
            continue
        cell = str(Cell(point, fault))
        told = plan.results.get((flow, cell))
        state, text = ("not-tried", "–") if told is None else ("good", "✓")
        if told is not None and told["findings"]:
            state, text = "bad", "✗"
        command = html.escape(f"python -m tests.faults.points --flow {flow} --cell '{cell}'")
        fields.append(f"<td class='cell {state}' title=\"{command}\">{text}</td>")
    place = html.escape(f"{point.place} @ {point.state}")
    return f"<tr><td class='place'>{place}</td>{''.join(fields)}</tr>"
