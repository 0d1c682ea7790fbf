"""The order of windows: each number once, evenly mixed, and computed for a billion of them as for one."""

import json
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from support.architectures import examples
from support.settings import ROOT

from mfcc_wavenet.data.order import MAX_DRAWN, Permutation, permutation
from mfcc_wavenet.data.prepared.corpus import FRAME, ID, NAME, SAMPLE, SPEAKER
from mfcc_wavenet.data.windows import Epoch

SEEDS = st.integers(0, 2**63)
MANY = 10**12 + 39
# A program: what opening a corpus of 1e9 windows, prepared in argv[1], and its first batch take.
OPEN = """
import sys, time
from pathlib import Path
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.data.statistics import Statistics
from support.settings import compose_settings
import numpy as np
memory = lambda name: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
settings = compose_settings("window.batch_size=64")
geometry = Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet)
statistics = Statistics(np.zeros(39, np.float32), np.ones(39, np.float32))
before, started = memory("VmRSS"), time.perf_counter()
corpus = Corpus(Path(sys.argv[1]))
windows = Windows(corpus, geometry, settings.window, statistics, tuple(corpus.speaker_samples), 0, None)
batch = windows[Position(3, 500_000_000, 0)]
print(batch.after.of, time.perf_counter() - started, (memory("VmHWM") - before) / 1024)
"""


def keyed(count: int, *seed: int) -> Permutation:
    return Permutation(count, np.random.default_rng(seed))


def everything(order: Permutation) -> np.ndarray:
    return order[np.arange(len(order))]


# --- each number once -----------------------------------------------------------------------------


def test_every_count_has_a_permutation():
    """Of its numbers, from a single one on."""
    for count in [*range(1, 400), 1023, 1024, 1025, 4097, 65_537, 100_003]:
        assert np.array_equal(np.sort(everything(keyed(count, 1, 2))), np.arange(count)), count


@examples(40)
@given(count=st.integers(1, 5000), seed=SEEDS, epoch=st.integers(0, 100))
def test_any_key_makes_a_permutation(count, seed, epoch):
    assert np.array_equal(np.sort(everything(keyed(count, seed, epoch))), np.arange(count))


@examples(30)
@given(count=st.integers(2**21, 2**60), seed=SEEDS)
def test_of_numbers_that_nobody_could_list_none_comes_twice(count, seed):
    """Among the first, the last and some in between, all of which are in range."""
    first = np.arange(1000)
    positions = np.unique(np.concatenate([first, count - 1 - first, first * (count // 1001)]))
    found = keyed(count, seed)[positions]
    assert len(np.unique(found)) == len(positions) and found.min() >= 0 and found.max() < count


def test_what_stands_at_a_position_depends_on_nothing_else():
    """Neither on what was looked at before nor on what is asked for together with it."""
    order = keyed(100_003, 5)
    expected = everything(order)
    for position in (0, 1, 77_777, 100_002):
        assert order[np.array([position])] == expected[position] == everything(keyed(100_003, 5))[position]


# --- mixed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [50_000, 1_000_003, MANY])
def test_neighbours_are_as_far_apart_as_chance_has_them(count):
    """A third of the count on average, and as often forwards as backwards."""
    found = keyed(count, 8)[np.arange(50_000)].astype(np.float64) / count
    steps = np.diff(found)
    assert abs(np.abs(steps).mean() - 1 / 3) < 0.01 and abs(steps.mean()) < 0.001
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(found[:-lag], found[lag:])[0, 1]) < 0.02


@pytest.mark.parametrize("count", [1_000_003, MANY])
def test_each_part_of_an_epoch_has_windows_of_all_the_corpus(count):
    """In 100 bins of the corpus, of the first 50,000 windows and of those in the middle: a chi-squared test."""
    order = keyed(count, 9)
    for first in (0, count // 2):
        bins = np.bincount(order[np.arange(first, first + 50_000)] * 100 // count, minlength=100)
        assert 50 < (np.square(bins - 500) / 500).sum() < 170  # of 99 degrees of freedom: 5 standard deviations


def test_no_position_stays_where_it_was():
    """But for about one, as of any permutation of chance."""
    assert sum((everything(keyed(20_011, seed)) == np.arange(20_011)).sum() for seed in range(20)) in range(5, 45)


def test_seeds_and_epochs_differ():
    """Every pair, in nearly all positions."""
    drawn = [everything(keyed(10_007, seed, epoch)) for seed in (0, 1) for epoch in range(3)]
    for number, one in enumerate(drawn):
        assert all((one == other).mean() < 0.002 for other in drawn[:number])


# --- of windows -----------------------------------------------------------------------------------


def test_few_windows_are_drawn_as_ever():
    """By numpy's own shuffle, on which what is pinned depends."""
    for count in (1, 2, 1000, MAX_DRAWN):
        drawn = permutation(count, np.random.default_rng([0, 7]))
        assert np.array_equal(drawn, np.random.default_rng([0, 7]).permutation(count))
    assert isinstance(permutation(MAX_DRAWN + 1, np.random.default_rng(0)), Permutation)


@pytest.mark.parametrize(("lengths", "samples"), [((700_000, 1, 800_001), 1), ((5_000_000, 2, 3, 4_000_000), 7)])
def test_an_epoch_of_many_windows_has_every_sample_once(lengths, samples):
    """Each window within its utterance, but for its ends, and the windows of an utterance next to one another."""
    epoch = Epoch(np.array(lengths), samples, np.random.default_rng([0, 0]))
    windows = epoch[:]
    assert len(epoch) == len(windows) > MAX_DRAWN
    for utterance, length in enumerate(lengths):
        starts = np.sort(windows[windows[:, 0] == utterance, 1])
        assert -samples < starts[0] <= 0 and starts[-1] < length <= starts[-1] + samples
        assert (np.diff(starts) == samples).all()
    assert np.array_equal(epoch[1000:1010], windows[1000:1010])


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_billion_windows_are_there_in_seconds(tmp_path):
    """Of 2.6 million utterances of 2,400 speakers, 8,700 h; the files are sparse, but for the table of utterances."""
    count, random = 2_600_000, np.random.default_rng(0)
    rows = np.zeros((ID + 1, count + 1), np.int64)
    rows[SPEAKER, :-1] = random.integers(0, 2400, count)
    samples = random.integers(16_000, 23 * 16_000, count)
    sizes = {SAMPLE: samples, FRAME: 1 + samples // 160, NAME: np.full(count, 20), ID: np.full(count, 40)}
    for row, of_each in sizes.items():
        rows[row, 1:] = np.cumsum(of_each)
    rows[ID] += rows[NAME, -1]
    rows.tofile(tmp_path / "utterances.bin")
    sizes = {"codes.bin": rows[SAMPLE, -1], "frames.bin": 4 * 39 * rows[FRAME, -1], "sums.bin": 16 * 39 * count}
    for name, size in (sizes | {"texts.bin": rows[ID, -1]}).items():
        with open(tmp_path / name, "wb") as file:
            file.truncate(int(size))
    index = {"digest": "", "quantization_channels": 256, "preemphasis": 0.0, "utterances": count}
    index["speakers"] = [str(n) for n in range(2400)]
    (tmp_path / "index.json").write_text(json.dumps(index))
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    windows, seconds, mebibytes = map(float, done.stdout.split())
    assert windows > 1e9 and seconds < 5 and mebibytes < 200, done.stdout
