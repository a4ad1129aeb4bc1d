"""What the benchmark makes of its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from benchmark.compare import changes  # noqa: E402
from benchmark.figures import Results, is_better, median, ratios  # noqa: E402
from benchmark.holding_back import holding_back  # noqa: E402
from benchmark.processes import Failed  # noqa: E402
from benchmark.report import tables  # noqa: E402
from benchmark.targets import BUSY, IDLE, targets  # noqa: E402

DOWN = "down, 1 stream (MB/s)"


def results(ours: list[float], floor: list[float], figure: str = DOWN) -> Results:
    return {figure: {"sealed": [*ours], "trio floor": [*floor]}}


def test_a_round_that_failed_is_no_median() -> None:
    some: Results = {DOWN: {"sealed": [1.0, "no node", 3.0], "raw": [1.0, 9.0, 2.0]}}
    assert median(some, DOWN, "sealed") == "failed 1 of 3: no node"
    assert median(some, DOWN, "raw") == 2.0
    assert median(some, DOWN, "chisel") is None
    assert ratios(some, DOWN, "sealed", "raw") == [1.0, 1.5]


def test_a_rate_is_better_high_and_all_else_low() -> None:
    assert is_better(DOWN, 2, 1) and is_better("new connections, 1 caller (1/s)", 2, 1)
    assert is_better(IDLE, 1, 2) and is_better("CPU, up, all (s/GB)", 1, 2)


@pytest.mark.parametrize(
    ("now", "worse"),
    [
        ([50.0, 49.0], True),
        ([50.0, 71.0], False),  # one round is as good as it was: noise
        ([75.0, 75.0], False),  # below the worst, but by less than a tenth
        ([120.0, 130.0], False),
    ],
)
def test_worse_is_what_noise_does_not_explain(now: list[float], worse: bool) -> None:
    before = results([90.0, 80.0, 78.0], [100.0, 100.0, 100.0])
    (change,) = changes(before, results(now, [100.0, 100.0]))
    assert change.is_worse is worse
    # a machine that is twice as fast changes nothing
    faster = results([2 * each for each in now], [200.0, 200.0])
    assert next(changes(before, faster)).is_worse is worse


def test_a_longer_time_is_worse() -> None:
    before = results([10.0, 12.0], [5.0, 5.0], IDLE)
    assert next(changes(before, results([20.0, 22.0], [5.0, 5.0], IDLE))).is_worse
    assert not next(changes(before, results([12.5, 9.0], [5.0, 5.0], IDLE))).is_worse


def test_targets_are_judged_or_not_measured() -> None:
    some: Results = {
        DOWN: {"plain": [90.0], "sealed": [60.0], "chisel": [100.0], "frp": [80.0]},
        IDLE: {"plain": [100.0], "chisel": [90.0]},
        BUSY: {"plain": [301.0]},
    }
    met = {verdict.target: verdict.met for verdict in targets(some)}
    assert met[f"{DOWN}: above chisel and frp"] is False
    assert met[f"{DOWN}: sealed at least 0.7 of plain"] is False
    assert met[f"{IDLE}: at most 1.3 times chisel's"] is True
    assert met[f"{BUSY}: at most 3 times alone, plain"] is False
    assert met[f"{BUSY}: at most 3 times alone, sealed"] is None
    assert met["new connections, 16 callers (1/s): at least 1,500"] is None


@pytest.mark.parametrize(
    ("version", "limits"),
    [
        ("cpu", {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "2000"}),
        ("", {"cpu.max": "2000 10000"}),
    ],
)
def test_who_is_held_back(tmp_path: Path, version: str, limits: dict[str, str]) -> None:
    """What the kernel is told, in both versions of its control groups."""
    (tmp_path / version).mkdir(exist_ok=True)
    with holding_back(0.2, tmp_path) as hold:
        hold(4711)
        (group,) = (tmp_path / version).iterdir()
        told = {each.name: each.read_text() for each in group.iterdir()}
        for each in group.iterdir():  # as the kernel has it: these are no files that one removes
            each.unlink()
    assert told == limits | {"cgroup.procs": "4711"}
    assert not group.exists()


def test_where_nobody_can_be_held_back(tmp_path: Path) -> None:
    with (
        pytest.raises(Failed, match="could not be held back"),
        holding_back(0.2, tmp_path / "none") as hold,
    ):
        hold(4711)


def test_the_tables_name_what_failed() -> None:
    some: Results = {DOWN: {"sealed": ["frozen"], "raw": [1.0]}}
    text = tables(some, ["raw", "sealed"])
    assert "| sealed |         failed |" in text
    assert f"* sealed: {DOWN}: failed 1 of 1: frozen" in text


@pytest.mark.slow
def test_a_whole_run(tmp_path: Path) -> None:
    """Real processes: figures for both paths, above zero, and exit code 0."""
    out = tmp_path / "all.json"
    command = [sys.executable, "-m", "benchmark", "--rounds", "1", "--seconds", "0.1"]
    paths = ["--path", "raw", "--path", "sealed", "--only", "bulk", "--only", "trips"]
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'tools'}:{ROOT}"}
    done = subprocess.run(
        [*command, *paths, "--json", str(out)], env=environ, cwd=ROOT, timeout=110, check=False
    )
    assert done.returncode == 0
    figures = json.loads(out.read_text())["results"]
    for figure in (DOWN, IDLE):
        assert all(figures[figure][path][0] > 0 for path in ("raw", "sealed"))
    assert figures["CPU, up, node (s/GB)"]["sealed"][0] > 0
