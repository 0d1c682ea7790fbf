"""The probe of speakers: it finds them where they can be told apart, and only there; it never sees what it is asked."""

import numpy as np
import pytest
import soxr
from sklearn.linear_model import LogisticRegression
from support.settings import compose_settings
from support.sounds import RATE, SENTENCES

from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.evaluation import probe
from mfcc_wavenet.evaluation.probe import speaker_accuracy

HIGHER = 1.25  # the pitch and the formants of the second voice over those of the first
LENGTH = RATE  # samples of an utterance


@pytest.fixture(scope="module")
def voices() -> tuple[np.ndarray, list[str]]:
    """Mean and deviation of the frames of a second of speech, by two voices, the second of which has fewer."""
    settings = compose_settings().features
    vectors, speakers = [], []
    for name, rate in (("deep", RATE), ("high", RATE / HIGHER)):
        wav = np.concatenate([soxr.resample(sentence, RATE, rate) for sentence in SENTENCES])
        for start in range(0, len(wav) - LENGTH, LENGTH):
            frames = features(wav[start : start + LENGTH].astype(np.float32), settings)
            vectors.append(np.concatenate([frames.mean(1), frames.std(1)]).astype(np.float64))
            speakers.append(name)
    return np.stack(vectors), speakers


def test_two_voices_are_told_apart(voices):
    """By their frames, well above chance; the same every time, and whoever comes first."""
    vectors, speakers = voices
    found = speaker_accuracy(vectors, speakers)
    assert found.accuracy > 0.9 and found == speaker_accuracy(vectors, speakers)
    assert found.chance == max(map(speakers.count, speakers)) / len(speakers) < 0.6
    assert speaker_accuracy(vectors[::-1].copy(), speakers[::-1]).accuracy > 0.9


def test_nothing_is_found_where_there_is_nothing(voices):
    """What is the same of all says chance; drawn speakers are not learnt by heart, since none is asked for twice."""
    vectors, speakers = voices
    alike = speaker_accuracy(np.ones_like(vectors), speakers)
    assert alike.accuracy == pytest.approx(alike.chance)
    drawn = np.random.default_rng(1).permutation(speakers).tolist()
    assert speaker_accuracy(vectors, drawn).accuracy < 0.75


def test_it_needs_two_speakers_with_ten_utterances(voices):
    vectors, speakers = voices
    deep, high = ([place for place, name in enumerate(speakers) if name == one] for one in ("deep", "high"))
    for places, known in ((deep, False), (deep + high[:9], False), (deep[:10] + high[:10], True)):
        assert (speaker_accuracy(vectors[places], [speakers[place] for place in places]) is not None) == known
    # One with fewer is as if it were not there.
    found = speaker_accuracy(vectors[deep + high], [speakers[place] for place in deep + high])
    more, named = np.concatenate([vectors[deep + high], vectors[:3]]), [speakers[p] for p in deep + high] + ["x"] * 3
    assert speaker_accuracy(more, named) == found


def test_the_weights_are_those_of_logistic_regression(voices):
    """By scikit-learn's, of three classes."""
    vectors, speakers = voices
    labels = np.array([speakers.index(name) and 1 for name in speakers]) + (np.arange(len(speakers)) % 7 == 0)
    scaled = (vectors - vectors.mean(0)) / vectors.std(0)
    theirs = LogisticRegression(C=1 / probe.PENALTY, tol=1e-10, max_iter=10_000).fit(scaled, labels)
    weights, bias = probe._fit(scaled, labels, 3)
    logits = scaled @ weights + bias
    expected = scaled @ theirs.coef_.T + theirs.intercept_
    np.testing.assert_allclose(
        logits - logits.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), atol=0.02
    )


def test_every_speaker_is_in_every_fold(voices):
    """As evenly as can be."""
    labels = np.array([name == "high" for name in voices[1]]).astype(np.int64)
    folds = probe._folds(labels)
    for label in (0, 1):
        counts = np.bincount(folds[labels == label], minlength=probe.FOLDS)
        assert counts.max() - counts.min() <= 1 and counts.min() >= 2
