"""Frames are normalised by the mean and deviation of all frames of their corpus."""

import numpy as np
import pytest
from support.corpora import FEATURES, speech

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.data.statistics import Statistics


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


def test_a_corpus_of_silence_is_normalised_to_nothing():
    frames = features(np.zeros(12_000, np.float32), FEATURES)
    assert np.abs(Statistics.of([frames]).normalise(frames)).max() < 0.1


def test_statistics_of_nothing_are_refused():
    with pytest.raises(UserError, match="empty"):
        Statistics.of([])
