"""The ladder of benchmarks/scaling.py: its fits, its predictions, and a real small run."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

BENCHMARKS = ROOT / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("there are no benchmarks here", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))
import plot
import power_law
import scaling

SIZES = np.array([2e4, 6e4, 2e5, 5e5, 1.2e6, 3.5e6])


@pytest.mark.parametrize(
    "law", [power_law.Law(8e3, 0.09, 0.0), power_law.Law(2e4, 0.3, 0.4)]
)
def test_a_law_is_found_in_its_own_points(law):
    fit = power_law.with_lowest if law.lowest else power_law.power_law
    found = fit(SIZES, law(SIZES))
    assert found.alpha == pytest.approx(law.alpha, rel=0.03)
    assert found.lowest == pytest.approx(law.lowest, abs=0.02)
    assert found(SIZES) == pytest.approx(law(SIZES), rel=1e-3)


def test_the_interval_of_a_prediction_holds_the_truth_as_often_as_it_says():
    law, rng, inside = power_law.Law(8e3, 0.09, 0.0), np.random.default_rng(3), []
    for _ in range(60):
        loss = law(SIZES) * np.exp(rng.normal(0, 0.01, len(SIZES)))
        below = SIZES[:-1], loss[:-1]
        _, low, high = power_law.predicted(power_law.power_law, *below, 2, SIZES[-1])
        inside.append(low < loss[-1] < high)
    assert 0.8 < np.mean(inside) < 1  # three degrees of freedom: a little too narrow


def test_the_papers_smallest_two_are_met_exactly_and_the_full_model_is_not():
    n = np.array([scaling.parameters(*shape) for shape in scaling.PAPER_SHAPES])
    assert n.tolist() == [84934656, 301989888, 707788800, 1474560000]
    loss = np.log(scaling.PAPER["LAMBADA"])
    law = power_law.power_law(n[:2], loss[:2])
    assert law(n[:2]) == pytest.approx(loss[:2])
    row = next(line for line in scaling.paper_table() if "LAMBADA" in line)
    assert row == "| LAMBADA | 0.204 | 7.30 | 8.63 | -7.8% |"


@pytest.mark.slow
def test_a_ladder_is_trained_resumed_and_drawn(tmp_path):
    words = ["once", "there", "was", "a", "king", "who", "had", "no", "child"]
    chosen = np.random.default_rng(0).choice(words, (2, 4000))
    for name, text in zip(("data.txt", "unseen.txt"), chosen, strict=True):
        (tmp_path / name).write_text(" ".join(text))

    def climb(*options):
        paths = ("--runs", tmp_path / "runs", "--to", tmp_path)
        command = [sys.executable, BENCHMARKS / "scaling.py", *paths, *options]
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False
        )

    data = ("--data", tmp_path / "data.txt", "--unseen", tmp_path / "unseen.txt")
    first = climb(*data, "--rungs", "4", "--steps", "3")
    assert first.returncode == 0, first.stderr
    rows = (tmp_path / "scaling.csv").read_text().splitlines()
    assert rows[0] == "parameters,bits_per_byte" and len(rows) == 5
    assert rows[1].startswith("20736,") and "20,736" in first.stdout
    assert (tmp_path / "scaling-log.csv").read_text().count("\n20736,") == 1
    times = [p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/model.safetensors")]
    again = climb(*data, "--rungs", "4", "--steps", "3")
    assert again.stdout == first.stdout
    after = [p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/model.safetensors")]
    assert after == times, "what was complete has been trained again"
    drawn = climb("--from-csv", tmp_path / "scaling.csv")
    assert drawn.stdout == first.stdout
    assert (tmp_path / "scaling.svg").read_text().count("<circle") == 4


def test_bad_options_get_one_line(tmp_path):
    for options, message in (
        ([], "--data and --unseen are needed"),
        (["--rungs", "9"], "rungs is 9, expected 4 to 6"),
        (["--from-csv", tmp_path / "none.csv"], "none.csv"),
    ):
        command = [sys.executable, BENCHMARKS / "scaling.py", *options]
        ended = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False
        )
        assert ended.returncode == 2 and message in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("low", "high"), [(1.6, 2.3), (1e4, 1e8), (0.1, 1), (3, 900)])
def test_ticks_are_few_round_and_within(low, high, log):
    found = plot.ticks(low, high, log)
    assert 2 <= len(found) <= 10
    assert all(low <= value <= high for value in found)
    assert all(float(f"{value:.2g}") == pytest.approx(value) for value in found)
