"""What a model is worth on a corpus: teacher-forced error and likelihood, and the certificate of inversion.

Given the true past, every sample's arg-max code is compared with the true one. If none is wrong on a
whole utterance, greedy free-running generation repeats it by induction: each step's past is right.
Floating-point sums in another order may still tip a near tie, which is why reproduction is measured
by generating, not deduced, and why the smallest margin between the true code and its nearest rival
is reported beside it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Integer
from tqdm import tqdm

from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data.mulaw import decode
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.generation.generator import Generator
from mfcc_wavenet.models.mfcc_inverter import MfccInverter

Sample = tuple[str, np.ndarray, np.ndarray]  # name, original and generated amplitudes (samples,) of an utterance
PASS_WINDOW = 8000  # samples per forward pass of an evaluation; bounds memory, not results


@dataclass(frozen=True)
class TeacherForced:
    """A pass over every sample of a corpus, given the true past."""

    wrong: int  # samples whose arg-max code is not the true one
    samples: int
    nats: float  # mean negative log likelihood per sample
    margin: float  # the smallest logit difference between the true code and its nearest rival (negative where wrong)

    def values(self) -> dict[str, float | int]:
        """What is logged of it, by name."""
        return {
            "wrong": self.wrong,
            "samples": self.samples,
            "error": self.wrong / self.samples,
            "nats": self.nats,
            "bits_per_sample": self.nats / math.log(2),
            "margin": self.margin,
        }


@torch.no_grad()
def teacher_forced(model: MfccInverter, windows: Windows) -> TeacherForced:
    """Every sample of the corpus, the first included, predicted from the true codes before it."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    nats, margin, wrong = 0.0, float("inf"), 0
    for utterance in range(len(windows.corpus)):
        for batch in windows.whole(utterance, PASS_WINDOW):
            batch = batch.to(device)
            pred, target = model.run(batch)
            log_probabilities = pred.transpose(1, 2)[batch.mask].double().log_softmax(-1)  # M, Q
            target = target[batch.mask][:, None]
            of_target = log_probabilities.gather(1, target)[:, 0]
            of_rival = log_probabilities.scatter(1, target, -torch.inf).max(-1).values
            nats -= of_target.sum().item()
            margin = min(margin, (of_target - of_rival).min().item())
            # A tie counts as wrong: which code an arg-max takes then is chance.
            wrong += (of_target <= of_rival).sum().item()
    model.train(was_training)
    samples = windows.corpus.samples
    return TeacherForced(wrong, samples, nats / samples, margin)


def generated(
    model: MfccInverter, windows: Windows, utterances: Sequence[int], most: int | None = None
) -> list[Integer[np.ndarray, " _"]]:
    """Greedy free-running codes of each of these utterances, from its MFCCs and its length alone.

    most: samples after which an utterance is broken off; None: never.
    """
    corpus = windows.corpus
    lengths = [min(corpus.lengths[utterance], most or corpus.samples) for utterance in utterances]
    with tqdm(total=sum(lengths), desc="generating", unit="sample", leave=False, disable=None) as bar:
        return Generator(model).generate_all(
            [windows.statistics.normalise(corpus.frames(utterance).T).T for utterance in utterances],
            [windows.speaker_index[utterance] for utterance in utterances],
            lengths,
            progress=bar.update,
        )


def first_utterances(model: MfccInverter, windows: Windows, settings: Settings) -> Iterator[Sample]:
    """Originals and what the model makes of their MFCCs: as many utterances, as much of each, as the settings say."""
    corpus = windows.corpus
    most = round(settings.train.sample_seconds * settings.features.sample_rate)
    utterances = range(min(settings.train.sample_utterances, len(corpus)) if most else 0)
    for utterance, codes in zip(utterances, generated(model, windows, utterances, most)):
        original = corpus.codes(utterance)[:most]
        yield corpus.names[utterance], *(decode(c, corpus.quantization_channels) for c in (original, codes))


def reproduced(model: MfccInverter, windows: Windows) -> int:
    """Samples that free-running generation repeats exactly, over all utterances."""
    utterances = range(len(windows.corpus))
    codes = generated(model, windows, utterances)
    return sum(int((copy == windows.corpus.codes(utterance)).sum()) for utterance, copy in zip(utterances, codes))
