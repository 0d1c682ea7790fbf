"""Training is measured on what training does, next to bounds that it stays below."""

import json
from itertools import islice

import pytest
import torch
from support.corpora import refused

from mfcc_wavenet.bench import measure, step_time, train
from mfcc_wavenet.bench.networks import cases, composed, matrix_weights
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.models.build import build_model
from mfcc_wavenet.training.chassis import Chassis

SECONDS = 0.1
KEYS = {"network", "threads", "window", "way", "samples_per_second", "bound", "fraction", "fraction_of_library"}
CPU = torch.device("cpu")


def test_the_benchmark_prints_a_table_and_a_line_of_json(bench, monkeypatch):
    """A row for each network, number of threads and way; both ways of a network have one bound."""
    monkeypatch.setattr(measure, "MULTIPLICATIONS", 5e8)
    words = ("--networks=tiny", "--threads=1,2", f"--seconds={SECONDS}")
    code, out, _ = bench("train", *words)
    header, *table, line = out.splitlines()
    rows = json.loads(line)
    assert code == 0 and header.split()[:4] == ["network", "threads", "window", "way"]
    assert [(row["threads"], row["way"]) for row in rows] == [(n, way) for n in (1, 2) for way in ("ours", "conv1d")]
    for row, printed, other in zip(rows, table, [rows[1], rows[0], rows[3], rows[2]]):
        assert set(row) >= KEYS and row["bound"] == other["bound"] and row["window"] == 100
        assert f"{row['samples_per_second']:,}" in printed.split() and f"{row['fraction']:.3f}" in printed.split()
        assert row["samples_per_second"] > 0 and 0 <= row["fraction"] < 1 and 0 <= row["fraction_of_library"] < 1


def test_the_profile_of_a_step_adds_up(bench):
    """To 100 percent, with time in every part."""
    words = ("--networks=tiny", "--threads=1", f"--seconds={SECONDS}", "--profile")
    code, out, _ = bench("train", *words)
    (row,) = json.loads(out.splitlines()[-1])
    assert code == 0 and list(row["percent"]) == list(step_time.PARTS)
    assert sum(row["percent"].values()) == pytest.approx(100) and min(row["percent"].values()) > 0


def test_the_profile_tells_products_from_what_is_between_them(tmp_path):
    """The wider the layers, the more of a step is products, and the less is what surrounds them."""
    narrow, wide = (
        step_time.step_shares(case, tmp_path, SECONDS)[1] for case in cases(["tiny", "baseline_adam_x2"], [1], tmp_path)
    )
    assert wide["products"] > 2 * narrow["products"]
    assert all(wide[part] < narrow[part] for part in ("data", "metrics", "rest"))


@pytest.mark.parametrize("name", ["baseline_adam", "baseline_adam_x2", "a39d", "tiny"])
def test_the_weights_that_count_are_those_of_the_network(name, tmp_path):
    """All matrices of the WaveNet but the embedding."""
    settings = composed(name, tmp_path)
    geometry = Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet)
    with torch.device("meta"):
        wavenet = build_model(settings, geometry, 1).wavenet
    matrices = [
        weights for part, weights in wavenet.named_parameters() if weights.dim() > 1 and "embedding" not in part
    ]
    assert matrix_weights(settings) == sum(weights.numel() for weights in matrices)


def test_twice_the_width_is_twice_every_width(tmp_path):
    """And nothing else."""
    one, two = (composed(name, tmp_path) for name in ("baseline_adam", "baseline_adam_x2"))
    for name in ("residual_channels", "gate_channels", "skip_channels", "post_channels"):
        assert getattr(two.wavenet, name) == 2 * getattr(one.wavenet, name)
    assert two.upsampling.channels == 2 * one.upsampling.channels
    assert Geometry.of(one.features, one.encoder, one.upsampling, one.wavenet) == Geometry.of(
        two.features, two.encoder, two.upsampling, two.wavenet
    )


def test_a_step_on_a_cpu_is_of_the_experiments_windows(tmp_path):
    """As many of them as do not make it last minutes."""
    windows = {case.network: case.settings.window for case in cases(["baseline_adam", "a39d"], [1], tmp_path)}
    assert (windows["baseline_adam"].samples, windows["baseline_adam"].batch_size) == (250, 2)
    assert (windows["a39d"].samples, windows["a39d"].batch_size) == (5000, 1)


def test_all_steps_are_of_one_size(small, tmp_path):
    """Across the end of an epoch, whose last batch has fewer windows."""
    chassis = Chassis(small("window.batch_size=5"), tmp_path / "run")
    windows = len(chassis.windows.epoch(0))
    assert windows % 5
    batches = list(islice(train.full_batches(chassis), 3 * windows // 5))
    assert {len(batch.mask) for batch in batches} == {5} and max(batch.after.epoch for batch in batches) >= 2


def test_a_measure_is_made_of_whole_repeats():
    """One at least, also of an action that takes longer than the time it has."""
    done = []
    assert train.rate(lambda: done.append(torch.eye(500).inverse()), 1, 1e-9, CPU) > 0 and len(done) == 1
    per_second = train.rate(lambda: done.append(None), 2, 0.05, CPU)
    assert 0 < per_second <= 2 * (len(done) - 1) / 0.05


@pytest.mark.parametrize(
    "words, told",
    [
        (["no-such-benchmark"], "'generate', 'prepare', 'ceiling', 'train'"),
        ([], "benchmark"),
        (["train", "--networks=baselin"], "baseline_adam, baseline_adam_x2, a39d, tiny"),
        (["train", "--threads=0"], "at least 1, as in 1,2"),
        (["train", "--seconds=-1"], "-1 is not a number above 0"),
        (["train", "--seconds=nan"], "nan is not"),
    ],
)
def test_what_cannot_be_measured_is_refused(words, told, bench):
    """With one sentence that says what would work, and exit code 2."""
    code, out, err = bench(*words)
    assert code == 2 and told in err and out == "" and len(err.splitlines()) == 1


def test_an_installed_package_says_what_is_missing(tmp_path, monkeypatch):
    """It has no conf/."""
    monkeypatch.setattr("mfcc_wavenet.bench.networks.CONF", tmp_path / "conf")
    assert "clone the repository" in refused(composed, "baseline_adam", tmp_path)
