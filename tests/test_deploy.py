"""What is deployed beside the product fits it: rules, dashboard, runbooks."""

import re
import subprocess
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from strongroom.cli import make_parser
from tests.watching import (
    DASHBOARD,
    ROOT,
    RULE_TESTS,
    RULES,
    RUNBOOKS,
    SCRAPES,
    alerts,
    commands,
    metrics_in,
    panels,
    queries,
    watched_metrics,
)

SEVERITIES = {"page", "ticket"}
ALERTS = alerts()
DURATION = re.compile(r"\d+[smh]")
SECTIONS = ["What it means", "How to look", "What to do", "When it is over"]
by_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.alert)


@by_alert
def test_an_alert_is_complete_and_its_expression_is_promql(alert):
    assert re.fullmatch(r"[A-Z][A-Za-z]+", alert.alert)
    assert set(alert.labels) == {"severity"}
    assert alert.labels["severity"] in SEVERITIES
    assert set(alert.annotations) == {"summary", "runbook_url"}
    assert DURATION.fullmatch(alert.for_)
    assert metrics_in(alert.expr)


def test_each_alert_has_one_name():
    assert [name for name, count in Counter(a.alert for a in ALERTS).items() if count > 1] == []


@by_alert
def test_an_alert_has_a_runbook_that_says_what_to_do(alert):
    page = ROOT / alert.annotations["runbook_url"]
    assert page.parent == RUNBOOKS
    text = page.read_text("utf-8")
    assert text.startswith(f"# {alert.alert}\n\nSeverity: {alert.labels['severity']}. ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    for section in text.split("\n## ")[1:]:
        assert len(section.split("\n", 1)[1].split()) >= 5, section


def test_every_runbook_belongs_to_an_alert_and_is_listed():
    pages = {page.name for page in RUNBOOKS.glob("*.md")} - {"README.md"}
    assert {Path(alert.annotations["runbook_url"]).name for alert in ALERTS} == pages
    listed = re.findall(
        r"^\| \[(\w+)\]\((.*?)\) \| (\w+) \|$", (RUNBOOKS / "README.md").read_text(), re.MULTILINE
    )
    assert listed == [
        (a.alert, Path(a.annotations["runbook_url"]).name, a.labels["severity"]) for a in ALERTS
    ]


@pytest.mark.parametrize("bad", ["sum(", "rate(x)", "x{a=1}", "x and", ""])
def test_what_is_no_promql_is_found(bad):
    with pytest.raises(ValueError, match=r".+"):
        metrics_in(bad)


def test_the_metrics_of_an_expression_are_all_found():
    text = (
        'histogram_quantile(0.9, sum by (le) (rate(a_bucket{x="y"}[5m]))) > 1 and on() absent(b) '
        "or (time() - max(c)) / -d > bool 2 unless max_over_time(e[1h:5m]) or topk(3, f)"
    )
    assert metrics_in(text) == {"a_bucket", "b", "c", "d", "e", "f"}


@pytest.mark.parametrize(("title", "expression"), list(queries()))
def test_a_query_of_the_dashboard_is_promql(title, expression):
    assert metrics_in(expression), title


def test_the_dashboard_can_be_imported():
    import json

    board: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    (variable,) = board["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    assert variable["query"] == "prometheus"
    assert board["schemaVersion"] >= 39
    assert "id" not in board
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}"
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_no_panel_lies_over_another():
    places = [(panel["title"], panel["gridPos"]) for panel in panels()]
    for (one, a), (other, b) in combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        )  # fmt: skip
        assert apart, f"{one} lies over {other}"
        assert a["x"] + a["w"] <= 24


def test_what_the_rules_judge_by_can_be_looked_at():
    shown = set().union(*(metrics_in(text) for _, text in queries()))
    judged = set().union(*(metrics_in(alert.expr) for alert in ALERTS))
    assert judged - shown == set()
    assert len(watched_metrics()) > 25


def test_a_panel_that_a_runbook_names_is_there():
    titles = {panel["title"] for panel in panels()}
    for page in RUNBOOKS.glob("*.md"):
        text = re.sub(r"`[^`]*`|\*\*", "", page.read_text("utf-8"))
        for name in re.findall(r"\*([A-Z][^*]*?)\*", text):
            plain = " ".join(name.split())
            starts = [title for title in titles if title.startswith(plain)]
            assert starts, f"{page.name} names the panel {plain!r}"


@pytest.mark.parametrize(("page", "words"), list(commands()))
def test_a_command_that_a_page_names_exists(page, words):
    make_parser().parse_args(words)


def test_the_example_scrapes_what_the_rules_ask_for():
    document = yaml.safe_load(SCRAPES.read_text("utf-8"))
    assert document["rule_files"] == [RULES.name]
    (up_job,) = document["scrape_configs"]
    (relabel,) = up_job["relabel_configs"]
    for process, job in (
        ("api", "strongroom-api"), ("api-2", "strongroom-api"), ("worker", "strongroom-worker"),
        ("worker-3", "strongroom-worker"), ("signer", "strongroom-signer"),
    ):  # fmt: skip
        found = re.fullmatch(relabel["regex"], process)
        assert found is not None
        assert relabel["replacement"].replace("$1", found[1]) == job


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("words", [("check", "rules", RULES), ("test", "rules", RULE_TESTS)])
def test_prometheus_takes_the_rules_and_they_fire_when_they_should(words):
    done = subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
