"""The envelope of audio is corrected to that of given MFCCs, and nothing else is changed."""

import numpy as np
import pytest
from scipy.signal import lfilter
from support.corpora import FEATURES, HOP, refused, speech
from support.settings import compose_settings

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.mfcc import mfcc
from mfcc_wavenet.evaluation.speech_quality import mfcc_rmse
from mfcc_wavenet.generation.correction import CORRECTIONS, checked_corrections, corrected
from mfcc_wavenet.generation.inverter import Inverter


@pytest.fixture(scope="module")
def inverter() -> Inverter:
    return Inverter.from_experiment("baseline")


def distance(wav: np.ndarray, given: np.ndarray, features=FEATURES) -> float:
    return mfcc_rmse(given, mfcc(wav, features))


def muffled(wav: np.ndarray) -> np.ndarray:
    """Without half of its treble, and louder and softer than it was, as a model may make it."""
    swell = 10 ** (np.sin(np.arange(len(wav)) / 800) / 2)
    return (0.3 * swell * lfilter([0.5, 0.4], [1.0], wav)).astype(np.float32)


@pytest.mark.parametrize("changed", ["features.n_mels=80", "features.n_mfcc=20", "features=mfcc39_hop320"])
def test_the_mfccs_come_nearer_each_time(changed):
    """Of every front end; what else there is in the audio stays, so that it is nearer to the original, too."""
    features = compose_settings(changed).features
    given, before = mfcc(speech(0), features), muffled(speech(0))
    distances = [distance(corrected(before, given, features, times), given, features) for times in range(5)]
    assert distances == sorted(distances, reverse=True) and distances[4] < 0.1 * distances[0]
    after = corrected(before, given, features, 4)
    assert np.abs(after - speech(0)).mean() < 0.5 * np.abs(before - speech(0)).mean()


def test_the_right_audio_stays_as_it_is():
    """To the rounding of a Fourier transform and back; without corrections, bit for bit."""
    wav = speech(1)
    given = mfcc(wav, FEATURES)
    np.testing.assert_allclose(corrected(wav, given, FEATURES, 4), wav, atol=1e-4)
    np.testing.assert_array_equal(corrected(wav, given + 1, FEATURES, 0), wav)


@pytest.mark.parametrize("samples", [0, 1, HOP - 1, HOP, 5 * HOP - 1, 6 * HOP - 1])
def test_any_length_that_the_mfccs_may_have(samples):
    """It is kept; full scale is not passed, and what is silent is not made of nothing."""
    given = mfcc(speech(0)[: 4 * HOP], FEATURES)
    for wav in (muffled(speech(0))[:samples], np.zeros(samples, np.float32)):
        after = corrected(wav, given + 50, FEATURES, 4)
        assert after.shape == (samples,) and after.dtype == np.float32
        assert np.abs(after).max(initial=0) <= 1 and (wav.any() or not after.any())


def test_what_is_sampled_is_corrected_unless_told_otherwise(inverter):
    """The greedy inverse is not: it is exact, or nothing is known of it."""
    given = mfcc(speech(0), FEATURES)
    for sampling, times in (({"temperature": 0.9, "seed": 1}, CORRECTIONS), ({"temperature": 0}, 0)):
        decoded = mulaw.decode(inverter.invert_codes(given, **sampling), 256)
        for asked, expected in ((None, times), (2, 2), (0, 0)):
            (wav,) = inverter.invert([given], corrections=asked, **sampling)
            np.testing.assert_array_equal(wav, corrected(decoded, given, FEATURES, expected))


def test_autoencoders_are_not_corrected_unless_told_so():
    """Of another speaker's voice, the given MFCCs would make the first one's again."""
    settings = compose_settings("experiment=units64", "data.root=folder")
    assert checked_corrections(None, Sampling(0.8), settings) == 0
    assert checked_corrections(2, Sampling(0.8), settings) == 2


@pytest.mark.parametrize("wrong", [-1, 1.5, "two", True])
def test_a_number_that_is_none_is_refused(inverter, wrong):
    assert refused(checked_corrections, wrong, Sampling(0.8), inverter.settings).startswith(
        f"corrections={wrong}: it must be a whole number"
    )
    assert refused(inverter.invert, mfcc(speech(0), FEATURES), corrections=wrong)
