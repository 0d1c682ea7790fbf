"""librosa's inverse is librosa's, with the parameters of our front end."""

from dataclasses import replace

import numpy as np
import pytest
from support.corpora import FEATURES, RATE, speech

from mfcc_wavenet import librosa
from mfcc_wavenet.data.mfcc import mfcc
from mfcc_wavenet.evaluation.griffin_lim import SEED, griffin_lim
from mfcc_wavenet.evaluation.speech_quality import mfcc_rmse

CHANGES = [{}, {"hop_length": 80}, {"n_fft": 512, "win_length": 320, "n_mels": 40, "n_mfcc": 20}]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_it_is_mfcc_to_audio(changes, monkeypatch):
    """Sample for sample, once the phases that librosa draws are drawn from the same seed."""
    features, wav = replace(FEATURES, **changes), speech()
    coefficients = mfcc(wav, features)
    inverted = griffin_lim(coefficients, len(wav), features)
    assert inverted.dtype == np.float32 and inverted.shape == wav.shape
    monkeypatch.setattr(np.random, "default_rng", lambda: np.random.RandomState(SEED))
    parameters = {"n_fft": features.n_fft, "win_length": features.win_length, "hop_length": features.hop_length}
    with librosa.one_thread():
        theirs = librosa.feature.inverse.mfcc_to_audio(
            coefficients, sr=RATE, n_mels=features.n_mels, length=len(wav), **parameters
        )
    np.testing.assert_array_equal(inverted, theirs)


def test_what_it_makes_has_the_mfccs_that_it_was_made_from():
    """Within a few decibels; those of the same audio played backwards are far away."""
    wav = speech()
    coefficients = mfcc(wav, FEATURES)
    inverted = griffin_lim(coefficients, len(wav), FEATURES)
    near = mfcc_rmse(coefficients, mfcc(inverted, FEATURES))
    assert near < 10 and near < mfcc_rmse(coefficients, mfcc(wav[::-1], FEATURES)) / 2


def test_the_same_mfccs_give_the_same_audio():
    wav = speech()[:3210]  # not a whole number of hops
    coefficients = mfcc(wav, FEATURES)
    np.testing.assert_array_equal(*(griffin_lim(coefficients, len(wav), FEATURES) for _ in range(2)))
