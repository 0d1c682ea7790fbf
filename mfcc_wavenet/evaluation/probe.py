"""How well a linear probe tells speakers apart: what a representation says of who speaks.

Multinomial logistic regression on one vector per utterance, as in Chorowski et al. 2019, where classifiers probe how
much of the speaker the latents still hold. Everything is deterministic and in float64.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

FOLDS = 5
MIN_SPEAKERS, MIN_UTTERANCES = 2, 10  # utterances of each speaker, of whom those with fewer are left out
PENALTY = 1.0  # of half the sum of squared weights, next to the negative log likelihood summed over utterances
MAX_ITERATIONS = 1000
LEAST_DEVIATION = 1e-9  # of a number that tells something


class SpeakerAccuracy(NamedTuple):
    """Fractions of the utterances of which the speaker was found."""

    accuracy: float
    chance: float  # that of always saying the speaker with the most utterances


def speaker_accuracy(vectors: Float64[np.ndarray, "utterances D"], speakers: Sequence[str]) -> SpeakerAccuracy | None:
    """In cross-validation: each fifth of every speaker's utterances, by a probe that is trained on the others.

    vectors: one for each utterance. None where there are not 2 speakers with 10 utterances each.
    """
    counts = Counter(speakers)
    known = sorted(name for name, count in counts.items() if count >= MIN_UTTERANCES)
    if len(known) < MIN_SPEAKERS:
        return None
    usable = np.array([place for place, name in enumerate(speakers) if name in known])
    labels = np.array([known.index(speakers[place]) for place in usable])
    folds, right = _folds(labels), 0
    for fold in range(FOLDS):
        held_out = folds == fold
        train, test = vectors[usable[~held_out]], vectors[usable[held_out]]
        mean, deviation = train.mean(0), train.std(0)
        scale = np.where(deviation > LEAST_DEVIATION, deviation, 1.0)
        weights, bias = _fit((train - mean) / scale, labels[~held_out], len(known))
        right += int(((((test - mean) / scale) @ weights + bias).argmax(1) == labels[held_out]).sum())
    return SpeakerAccuracy(right / len(labels), max(counts[name] for name in known) / len(labels))


def _folds(labels: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """The fold of each utterance: every speaker's are dealt out in turns, in an order drawn for each."""
    folds = np.empty(len(labels), np.int64)
    generator = np.random.default_rng(0)
    for label in range(labels.max() + 1):
        places = generator.permutation(np.flatnonzero(labels == label))
        folds[places] = np.arange(len(places)) % FOLDS
    return folds


def _fit(
    vectors: Float64[np.ndarray, "N D"], labels: Int64[np.ndarray, " N"], classes: int
) -> tuple[Float64[np.ndarray, "D classes"], Float64[np.ndarray, " classes"]]:
    """Weights and biases of the least penalised negative log likelihood, by L-BFGS; biases are not penalised."""
    from scipy.optimize import minimize  # takes a third of a second, which most commands need not wait for
    from scipy.special import log_softmax

    count, channels = vectors.shape
    rows = np.arange(count)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:-classes].reshape(channels, classes), flat[-classes:]
        log_probabilities = log_softmax(vectors @ weights + bias, axis=1)
        error = np.exp(log_probabilities)
        error[rows, labels] -= 1
        value = PENALTY / 2 * np.square(weights).sum() - log_probabilities[rows, labels].sum()
        return value, np.concatenate([(vectors.T @ error + PENALTY * weights).ravel(), error.sum(0)])

    start = np.zeros((channels + 1) * classes)
    flat = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_ITERATIONS}).x
    return flat[:-classes].reshape(channels, classes), flat[-classes:]
