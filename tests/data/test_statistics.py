"""Frames are normalised by the mean and deviation of all frames of their corpus."""

import numpy as np
import pytest
from support.corpora import FEATURES, speech

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.data.statistics import Statistics, sums


def test_statistics_are_those_of_all_frames_at_once():
    utterances = [features(speech(n), FEATURES) for n in range(3)]
    statistics = Statistics.of(frames for frames in utterances)
    everything = np.concatenate(utterances, axis=1).astype(np.float64)
    assert statistics.mean == pytest.approx(everything.mean(axis=1), rel=1e-5, abs=1e-5)
    assert statistics.std == pytest.approx(everything.std(axis=1), rel=1e-5)

    normalised = np.concatenate([statistics.normalise(frames) for frames in utterances], axis=1)
    assert normalised.dtype == np.float32
    assert np.abs(normalised.mean(axis=1, dtype=np.float64)).max() < 1e-4
    assert normalised.std(axis=1, dtype=np.float64) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("at_a_time", [1, 2, 3, 7])
def test_sums_of_some_at_a_time_are_those_of_one_after_the_other(at_a_time):
    """To the last bit: they are what a loop over the utterances adds up."""
    utterances = [features(speech(n)[: 1000 * (n + 1)], FEATURES) for n in range(7)]
    count, total, squares = 0, 0.0, 0.0
    for frames in utterances:
        frames = frames.astype(np.float64)
        count, total, squares = (
            count + frames.shape[1], total + frames.sum(axis=1), squares + np.square(frames).sum(axis=1),
        )  # fmt: skip
    each = np.stack([sums(frames) for frames in utterances])
    statistics = Statistics.of_sums(count, (each[n : n + at_a_time] for n in range(0, len(each), at_a_time)))
    mean = total / count
    assert np.array_equal(statistics.mean, mean.astype(np.float32))
    assert np.array_equal(statistics.std, np.sqrt(squares / count - np.square(mean)).astype(np.float32))


def test_a_corpus_of_silence_is_normalised_to_nothing():
    frames = features(np.zeros(12_000, np.float32), FEATURES)
    assert np.abs(Statistics.of([frames]).normalise(frames)).max() < 0.1


def test_statistics_of_nothing_are_refused():
    with pytest.raises(UserError, match="empty"):
        Statistics.of([])
