"""What a model makes of clips, next to librosa and mu-law: the right audio, means and intervals."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from support.checkpoints import checkpoint
from support.corpora import FEATURES, RATE, folder_of, refused, speech
from support.settings import SMALL, compose_settings

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.mfcc import mfcc
from mfcc_wavenet.evaluation.clips import Clip, clips
from mfcc_wavenet.evaluation.free_running import corpus_windows
from mfcc_wavenet.evaluation.griffin_lim import griffin_lim
from mfcc_wavenet.evaluation.held_out import (
    TEMPERATURES,
    best_temperature,
    mean_and_interval,
    quality,
    shaped_noise,
    temperatures,
)
from mfcc_wavenet.evaluation.speech_quality import MEASURES, Original, missing_packages
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.models import checkpoint as checkpoints

CLIPS = [Clip("one", 0, speech(0)[:3210]), Clip("two", 1, speech(1)[:4000])]
WARM = Sampling(0.8, seed=3)


@pytest.fixture(scope="module")
def untrained():
    return checkpoint(training=False)


@pytest.fixture(scope="module")
def measured(untrained):
    return quality(untrained, CLIPS, WARM)


# --- the audio --------------------------------------------------------------------------------------


def test_the_systems_are_the_model_and_what_it_is_measured_by(measured, untrained):
    """The model's clips are those that an Inverter makes of the MFCCs, at its temperature and greedily."""
    inverter = Inverter(untrained)
    for clip, takes in zip(CLIPS, measured.takes):
        assert list(takes) == ["ours", "uncorrected", "greedy", "librosa", "noise", "mu-law"]
        coefficients, samples = mfcc(clip.original, FEATURES), len(clip.original)
        chosen = {"ours": {"temperature": 0.8}, "uncorrected": {"temperature": 0.8, "corrections": 0}}
        for system, sampling in (chosen | {"greedy": {"temperature": 0}}).items():
            wav = inverter.invert(coefficients, samples=samples, seed=3, **sampling)
            np.testing.assert_array_equal(takes[system].wav, wav)
        np.testing.assert_array_equal(takes["librosa"].wav, griffin_lim(coefficients, samples, FEATURES))
        np.testing.assert_array_equal(takes["mu-law"].wav, mulaw.decode(mulaw.encode(clip.original, 256), 256))


def test_the_model_may_have_several_candidates(untrained):
    """Then it is what an Inverter makes of them, the first is what is uncorrected, and the others have one."""
    several, one = quality(untrained, CLIPS, WARM, candidates=3), quality(untrained, CLIPS, WARM)
    results = several.results()
    assert (results["candidates"], one.results()["candidates"]) == (3, 1)
    assert results["rows"] == one.results()["rows"] | {"ours": "ours, at 0.8, of 3"}
    for clip, takes, of_one in zip(CLIPS, several.takes, one.takes):
        wav = Inverter(untrained).invert(
            mfcc(clip.original, FEATURES), samples=len(clip.original), temperature=0.8, seed=3, candidates=3
        )
        np.testing.assert_array_equal(takes["ours"].wav, wav)
        assert not np.array_equal(of_one["ours"].wav, wav)
        for system in takes.keys() - {"ours"}:
            np.testing.assert_array_equal(takes[system].wav, of_one[system].wav)
    assert "all the same" in refused(quality, untrained, CLIPS, Sampling(), candidates=2)


def test_noise_has_the_envelope_and_nothing_of_the_model(measured):
    """Corrected noise is nearer to the MFCCs than librosa's inverse, whose envelope is least squares."""
    for clip, takes in zip(CLIPS, measured.takes):
        coefficients = mfcc(clip.original, FEATURES)
        noise = shaped_noise(coefficients, len(clip.original), FEATURES)
        np.testing.assert_array_equal(takes["noise"].wav, noise)
        assert takes["noise"].values["mfcc_rmse"] < takes["librosa"].values["mfcc_rmse"]


def test_the_random_numbers_are_the_seeds(measured, untrained):
    """The same seed gives the same values, another one other audio; a greedy model is measured once."""
    again, other = (quality(untrained, CLIPS[:1], replace(WARM, seed=seed)).takes[0] for seed in (3, 4))
    np.testing.assert_equal(again["ours"].values, measured.takes[0]["ours"].values)
    assert not np.array_equal(again["ours"].wav, other["ours"].wav)
    np.testing.assert_array_equal(again["greedy"].wav, other["greedy"].wav)
    assert list(quality(untrained, CLIPS[:1], Sampling()).takes[0]) == ["ours", "librosa", "noise", "mu-law"]


def test_a_model_without_error_is_as_good_as_mu_law(inverted):
    """Greedily it generates the codes of its audio, and nothing is nearer."""
    chassis, _ = inverted
    exact = checkpoints.load(chassis.checkpoint_path)
    (clip,) = clips(chassis.windows, exact.settings, 30, 10.0)
    takes = quality(exact, [clip], Sampling()).takes[0]
    assert len(clip.original) == 1600
    np.testing.assert_equal(takes["ours"].values, takes["mu-law"].values)
    assert takes["ours"].values["lsd"] < takes["librosa"].values["lsd"]


# --- the figures ------------------------------------------------------------------------------------


def test_results_are_means_over_clips(measured):
    """Of each measure that can be had; in plain values that any reader of JSON takes."""
    results = json.loads(json.dumps(measured.results(), allow_nan=False))
    assert results["clips"] == 2 and results["seconds"] == round(7210 / RATE, 2)
    assert (results["temperature"], results["seed"], results["corrections"]) == (0.8, 3, 4)
    assert list(results["columns"]) == [name for name in MEASURES if name not in missing_packages()]
    for system, means in results["values"].items():
        lsd = [takes[system].values["lsd"] for takes in measured.takes]
        assert means["lsd"] == {"mean": np.mean(lsd), "interval": mean_and_interval(lsd)["interval"], "clips": 2}
    assert results["rows"] == {
        "ours": "ours, at 0.8",
        "uncorrected": "ours, uncorrected",
        "greedy": "ours, greedy",
        "librosa": "librosa",
        "noise": "noise, floor",
        "mu-law": "mu-law, ceiling",
    }


def test_the_interval_is_students():
    """Of 1, 2, 3: 4.303, of two degrees of freedom, times 1 / sqrt(3). NaN is no value."""
    half = pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert mean_and_interval([1.0, 2.0, 3.0]) == {"mean": 2, "interval": half, "clips": 3}
    assert mean_and_interval([1.0, math.nan, 2.0, 3.0]) == mean_and_interval([1.0, 2.0, 3.0])
    assert mean_and_interval([5.0, math.nan]) == {"mean": 5, "interval": None, "clips": 1}
    assert mean_and_interval([math.nan]) == {"mean": None, "interval": None, "clips": 0}


def test_95_of_100_intervals_hold_the_true_mean():
    """Of normal clips, as few as five."""
    random = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        found = mean_and_interval(random.normal(3, 2, size=5).tolist())
        held.append(abs(found["mean"] - 3) <= found["interval"])
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_the_table_has_a_row_for_each_system(measured):
    """Its columns are as wide as their widest cell; the ceiling's STOI of short clips cannot be had."""
    title, above, below, *rows = measured.table().splitlines()[:9]
    assert title.startswith("2 clips, 0.5 s; ")
    assert above.split("  ")[-1].strip() == "voicing error ↓" and below.split()[0] == "dB"
    systems = ["ours, at 0.8", "ours, uncorrected", "ours, greedy", "librosa", "noise, floor", "mu-law, ceiling"]
    assert [row.split("  ")[0] for row in rows] == systems
    lsd = np.mean([takes["librosa"].values["lsd"] for takes in measured.takes])
    assert f" {lsd:.3f}±" in rows[3]


def test_the_clips_are_kept_as_files(measured, tmp_path):
    """With a list of what each is, and how it was measured."""
    measured.save(tmp_path / "clips")
    listed = json.loads((tmp_path / "clips" / "clips.json").read_text())["rows"]
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {"clips.json", *(row["audio"] for row in listed)}
    assert len(listed) == 2 * 7 and listed[0]["audio"] == "one.original.flac" and listed[0]["LSD, dB ↓"] is None
    for row, kept in zip(measured.rows(), listed):
        wav, rate = soundfile.read(tmp_path / "clips" / kept["audio"], dtype="float32")
        np.testing.assert_allclose(wav, row["audio"], atol=2**-14)
        assert rate == RATE and row | {"audio": ""} == kept | {"audio": ""}


def test_a_missing_package_drops_its_column_with_a_sentence(untrained, monkeypatch):
    """Whichever of them it is; the others are measured as ever."""
    monkeypatch.setitem(sys.modules, "pystoi", None)
    without = quality(untrained, CLIPS[:1], Sampling())
    assert "stoi" not in without.results()["columns"] and "lsd" in without.results()["columns"]
    assert "STOI ↑" not in without.table().splitlines()[1]
    assert [line for line in without.table().splitlines() if line.startswith("STOI is left out: the package pystoi")]


# --- temperatures -------------------------------------------------------------------------------------


def test_temperatures_are_compared_by_stoi_or_else_by_log_spectra(untrained, monkeypatch):
    """Each by the mean over the clips of what is generated at it, from the same seed."""
    monkeypatch.setitem(sys.modules, "pystoi", None)
    measure, means = temperatures(untrained, CLIPS, seed=3)
    assert measure == "lsd" and tuple(means) == TEMPERATURES
    at_08 = quality(untrained, CLIPS, WARM)
    assert means[0.8] == pytest.approx(np.mean([takes["ours"].values["lsd"] for takes in at_08.takes]))
    assert best_temperature(measure, means) == min(means, key=means.get)


def test_clips_that_are_too_short_for_stoi_are_compared_by_log_spectra(untrained):
    """Whichever packages there are."""
    measure, _ = temperatures(untrained, [Clip("short", 0, speech(0)[:1600])], seed=0)
    assert measure == "lsd"


def test_stoi_compares_temperatures_where_it_can_be_had(untrained):
    pytest.importorskip("pystoi", reason="pystoi is not installed: pip install -r requirements-eval.txt")
    clip = Clip("half a second", 0, speech(0))
    measure, means = temperatures(untrained, [clip], seed=0)
    wav = Inverter(untrained).invert(mfcc(clip.original, FEATURES), samples=len(clip.original), temperature=0.5)
    assert measure == "stoi"
    assert means[0.5] == pytest.approx(
        Original(clip.original, FEATURES).quality(wav, frozenset(MEASURES) - {"stoi"})["stoi"]
    )


def test_the_best_temperature_is_that_of_the_best_mean():
    """The highest STOI, the lowest distance; of equal ones the lowest temperature."""
    assert best_temperature("stoi", {0.5: 0.7, 0.6: 0.8, 0.7: 0.8}) == 0.6
    assert best_temperature("lsd", {0.5: 9.0, 0.6: 8.0, 0.7: 8.5}) == 0.6


# --- clips --------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path, untrained):
    """Four utterances, two of which share a name; and the last one cut by data.seconds."""
    root = folder_of(tmp_path, "ann/a.wav", "ann/b.wav", "bob/a.wav", "bob/c.flac")
    settings = compose_settings(
        *SMALL, f"data.root={root}", "data.seconds=1.75", f"data.prepared={tmp_path / 'prepared'}"
    )
    of_it = replace(untrained, settings=settings, speakers=("bob", "ann"))
    return corpus_windows(of_it), settings


def test_clips_are_the_files_themselves(corpus):
    """Of the corpus's utterances, cut where it cuts them; with the speakers as the model numbers them."""
    windows, settings = corpus
    found = clips(windows, settings, 30, 10.0)
    assert [clip.name for clip in found] == windows.corpus.names == ["a", "b", "a-2", "c"]
    assert [len(clip.original) for clip in found] == [8000, 8000, 8000, 4000]
    assert [clip.speaker for clip in found] == list(windows.speaker_index)
    for number, clip in enumerate(found):
        np.testing.assert_allclose(clip.original, speech(number)[: len(clip.original)], atol=2**-15)


def test_fewer_clips_are_spread_over_the_corpus(corpus):
    """And shorter ones are the beginnings."""
    windows, settings = corpus
    assert [clip.name for clip in clips(windows, settings, 2, 10.0)] == ["b", "c"]
    assert [clip.name for clip in clips(windows, settings, 1, 10.0)] == ["a-2"]
    assert [len(clip.original) for clip in clips(windows, settings, 4, 0.3)] == [4800, 4800, 4800, 4000]


def test_a_file_that_has_changed_is_not_taken_for_the_utterance(corpus):
    """It is another sentence now; whoever prepared the corpus heard the former one."""
    windows, settings = corpus
    soundfile.write(f"{settings.data.root[0]}/ann/b.wav", speech(5), RATE)
    sentence = refused(clips, windows, settings, 4, 10.0)
    assert sentence == "The audio of b is not in data.root any more as it was when the corpus was prepared."
