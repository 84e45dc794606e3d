"""The bench's arithmetic: medians, ratios, targets, the table, and rates over a window."""

import re

from bench import pgbench, verify
from bench.figures import medians, number, ratio, table, targets
from bench.load import Load, Plan
from bench.log import percentile, waited_ms
from bench.measures import middle_rate
from bench.sleeping_worker import replaced
from bench.tally import SETTLED, Tally
from bench.unlogged_worker import Unsequenced, unsequenced
from strongroom import app
from strongroom.load.callers import Connection
from strongroom.log.entries import Entry
from strongroom.log.notes import NoteKey
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import verify_folder
from strongroom.payments.accept import SQL

FAST = {
    "pgbench_tps": [5000.0, 6000.0, 7000.0],
    "accept_unbatched_rps": [1500.0],
    "accept_rps": [6000.0, 6400.0, 100.0],
    "accept_p50_ms": [40.0],
    "accept_p99_ms": [90.0],
    "bulk_pps": [14000.0, 16000.0],
    "end_to_end_pps": [3000.0],
    "accept_at_1m_ratio": [0.95],
    "accept_vault_cpu_ratio": [1.08],
    "vault_ratio": [1.4],
    "kms_calls_per_million": [101.0],
    "webhook_stripe_rps": [6500.0],
    "end_to_end_log_ratio": [0.9],
    "sequencing_lag_p99_ms": [1001.0],
    "verify_entries_per_s": [450_000.0],
    "proof_ms": [0.6],
    "proof_bytes": [1124.0],
    "pss_mb": [180.0],
}


def test_a_figure_is_the_median_of_its_rounds_and_none_without_any():
    assert medians({"a": [3.0, 1.0, 2.0], "b": [], "c": [4.0, 5.0]}) == {"a": 2.0, "c": 4.5}


def test_a_ratio_is_of_medians_and_none_when_a_part_is_missing():
    figures = medians(FAST)
    assert ratio(figures, "accept_rps", "accept_unbatched_rps") == 4.0
    assert ratio(figures, "accept_rps", "unknown") is None
    assert ratio({"a": 1.0, "b": 0.0}, "a", "b") is None


def test_targets_say_what_is_met():
    met = {
        target.name.split()[0] + target.relation: target.met for target in targets(medians(FAST))
    }
    assert met == {
        "accept_rps>=": True,
        "bulk_pps>=": True,
        "end_to_end_pps>=": False,
        "accept_at_1m_ratio>=": True,
        "accept_vault_cpu_ratio<=": True,
        "webhook_stripe_rps>=": True,
        "webhook_braintree_rps>=": None,
        "vault_ratio<=": True,
        "kms_calls_per_million<=": False,
        "end_to_end_log_ratio>=": True,
        "sequencing_lag_p99_ms<=": False,
        "verify_entries_per_s>=": True,
        "proof_ms<=": True,
        "accept_p99_ms<=": True,
        "pss_mb<=": True,
    }


def test_the_bound_on_latency_follows_from_the_rate():
    found = {t.name: t for t in targets({"accept_rps": 6400.0, "accept_p99_ms": 101.0})}
    latency = found["accept_p99_ms (2.5 x 256000/rps)"]
    assert latency.bound == 100.0
    assert latency.met is False


def test_what_was_not_measured_is_neither_met_nor_missed():
    assert [target.met for target in targets({})] == [None] * 16
    assert table({}) == ""


def test_the_table_shows_figures_rounds_and_verdicts():
    lines = table(FAST).splitlines()
    assert lines[0].split()[:2] == ["pgbench_tps", "6,000"]
    assert lines[0].endswith("of 5,000 6,000 7,000")
    assert [line.split()[-1] for line in lines if " >= " in line] == [
        "met",
        "met",
        "met",
        "MET",
        "met",
        "met",
        "met",
        "met",
    ]
    assert all(len(line) <= 100 for line in lines)


def test_numbers_keep_three_digits():
    shown = [number(value) for value in (0.644, 35.51, 1234.5)]
    assert shown == ["0.64", "35.5", "1,234"]


def test_a_rate_leaves_out_start_and_tail():
    steady = [(second, min(1000, second * 100)) for second in range(11)]
    with_a_slow_start = [(-5.0, 0), *steady, (30.0, 1000)]
    assert middle_rate(with_a_slow_start, 1000) == 100.0


def test_a_run_that_stopped_half_way_has_no_rate():
    assert middle_rate([(0.0, 0), (1.0, 400), (2.0, 400)], 1000) == 0.0
    assert middle_rate([], 1000) == 0.0


def test_an_event_waits_until_the_first_look_that_shows_its_place():
    looks = [(10.0, 0), (10.5, 2), (11.0, 2), (11.5, 3)]
    assert waited_ms([(0, 10.25), (1, 10.0), (2, 10.5), (3, 11.0)], looks) == [250.0, 500.0, 1000.0]
    assert waited_ms([(0, 1.0)], []) == []


def test_a_percentile_is_a_value_that_was_measured():
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 1.0) == 4.0
    assert percentile([], 0.99) == 0.0


def test_a_load_is_held_back_by_a_rate_and_by_a_backlog(tmp_path):
    plan = Plan(
        host="127.0.0.1",
        port=1,
        api_key_file="",
        connections=1,
        warm_up_seconds=0,
        seconds=1,
        tally_file=str(tmp_path / "tally"),
        backlog_max=3,
    )
    tally = Tally.create(tmp_path / "tally")
    load = Load(plan, "key")
    connection = Connection(load)
    load.sent = 3
    assert not load.may_send(connection)
    tally.counts[SETTLED] = 1
    assert load.may_send(connection)
    plan.pps_max = 1.0
    assert not load.may_send(connection)
    load.began -= 60.0
    assert load.may_send(connection)
    assert len(load.paused) == 2
    load.tally.close()
    tally.close()


def test_the_workers_of_the_bench_replace_what_is_there(tmp_path):
    with replaced(Tally.create(tmp_path / "tally")), unsequenced():
        assert vars(app)["Sequencer"] is Unsequenced
    assert vars(app)["Sequencer"] is not Unsequenced


def test_the_log_that_is_verified_is_a_whole_one_of_entries_as_the_product_writes(tmp_path):
    folder, key, size = TileFolder(tmp_path), NoteKey.new(verify.ORIGIN), 600
    total = verify.fill(folder, key, size)
    assert verify_folder(folder, key.verifier).size == size
    read = [Entry.read(entry) for entry in folder.entries(0, size)]
    assert [entry.content() for entry in read] == list(verify.entries(size))
    assert [entry.version for entry in read[:4]] == [1, 2, 1, 2]
    assert len({entry.subject_id for entry in read}) == size / 2
    assert 450 <= total / size <= 550
    took, lengths = verify.proven(folder, key, size)
    assert len(took) == len(lengths) == verify.PROOFS


def inserts(sql):
    """By table, the columns that are written, in order."""
    found = re.findall(r"INSERT INTO (\w+)\s*\(([^)]*)\)", sql)
    return {table: re.split(r",\s+", columns) for table, columns in found}


def test_the_plain_forms_of_the_reference_write_what_the_api_writes():
    statement = (pgbench.HERE / "accept_plain.sql").read_text("utf-8")
    function = (pgbench.HERE / "plain_function.sql").read_text("utf-8")
    assert {"plain", "plain_function"} <= set(pgbench.FORMS)
    for form in (statement, function):
        assert "ON CONFLICT" not in form
        assert inserts(form) == inserts(SQL["accept_new"])
        assert len(inserts(form)) == 6
