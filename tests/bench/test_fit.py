"""The time of a step follows from its operations and weights: how that is fitted, and that it is printed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mfcc_wavenet.bench import fit
from mfcc_wavenet.bench.networks import cases
from mfcc_wavenet.training.chassis import Chassis

OPERATIONS = np.array([3e8, 1e9, 5e9, 2e9, 9e9])
WEIGHTS = np.array([1e6, 2e6, 1e6, 9e6, 4e6])


def test_the_law_behind_the_figures_is_found():
    """Exactly, where there is nothing else in them."""
    found = fit.fitted(OPERATIONS, WEIGHTS, 2e-3 + OPERATIONS / 8e10 + WEIGHTS * 3e-9)
    assert (found.constant, found.rate, found.per_weight) == pytest.approx((2e-3, 8e10, 3e-9), rel=1e-6)
    assert found.r_squared == pytest.approx(1) and found.largest_error < 1e-9
    assert found.seconds(8e10, 1e9) == pytest.approx(2e-3 + 1 + 3)


def test_the_error_is_that_of_the_network_that_fits_worst():
    """And what is no line of both has a lower R^2."""
    seconds = (2e-3 + OPERATIONS / 8e10) * np.array([1, 1, 1.5, 1, 1])
    found = fit.fitted(OPERATIONS, WEIGHTS, seconds)
    expected = [found.seconds(*numbers) for numbers in zip(OPERATIONS.tolist(), WEIGHTS.tolist())]
    assert found.largest_error == pytest.approx(np.abs(np.array(expected) / seconds - 1).max())
    assert found.largest_error > 0.02 and found.r_squared < 0.999


def test_the_operations_are_those_of_the_network(tmp_path):
    """At least those of the WaveNet's matrices at each predicted sample; twice the windows, twice the operations."""
    (case,) = cases(["baseline_adam"], [1], tmp_path)
    one, two = (replace(case.settings, window=replace(case.settings.window, batch_size=size)) for size in (1, 2))
    operations = [fit.step_operations(Chassis(settings, tmp_path / "run")) for settings in (one, two)]
    assert operations[1] == 2 * operations[0]
    least = case.flops * one.window.samples
    assert least < operations[0] < 1.6 * least  # what is added: the past of a window, and the layers at frame rate


def test_the_command_prints_a_row_per_network_and_what_is_fitted(bench, monkeypatch):
    """A table, the law in a line, and all of it as JSON."""
    small = [(8, 2, 64, (100, 1)), (64, 2, 64, (100, 1)), (8, 2, 512, (100, 1)), (64, 4, 64, (400, 2))]
    monkeypatch.setattr(fit, "NETWORKS", small)
    code, out, _ = bench("train", "--fit", "--threads=1", "--seconds=0.3")
    header, *table, law, line = out.splitlines()
    *rows, last = json.loads(line)
    assert code == 0 and header.split()[:2] == ["width", "layers"] and len(table) == len(rows) == len(small)
    assert [(row["width"], row["window"]) for row in rows] == [(w, window[0]) for w, _, _, window in small]
    found = fit.Fit(**last["fit"])
    assert f"operations / {found.rate:.3e}" in law and f"R^2 {found.r_squared:.4f}" in law
    for row, printed in zip(rows, table):
        assert f"{row['samples_per_second']:,}" in printed.split() and row["milliseconds"] > 0
        expected = 1000 * found.seconds(row["operations"], row["weights"])
        assert row["fitted_milliseconds"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--fit", "--networks=tiny"], "leave --networks out"), (["--fit", "--profile"], "not allowed with argument")],
)
def test_what_does_not_go_together_is_refused(words, told, bench):
    """With one sentence, and exit code 2."""
    code, out, err = bench("train", *words)
    assert code == 2 and told in err and out == "" and len(err.splitlines()) == 1
