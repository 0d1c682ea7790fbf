"""Error and likelihood on a corpus, given the true past of every sample."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.evaluation.sharing import ALONE, Alone
from mfcc_wavenet.generation.float32 import float32_products
from mfcc_wavenet.models.base import Model, Predictions

PASS_WINDOW = 8000  # samples per forward pass of an evaluation; bounds memory, not results


@dataclass(frozen=True)
class TeacherForced:
    """A pass over every sample of a corpus, given the true past."""

    wrong: int  # samples whose arg-max code is not the true one
    samples: int
    nats: float  # mean negative log likelihood per sample
    margin: float  # the smallest logit difference between the true code and its nearest rival (negative where wrong)

    @property
    def error(self) -> float:
        """The fraction of samples that are wrong."""
        return self.wrong / self.samples

    def values(self) -> dict[str, float | int]:
        """What is logged of it, by name."""
        return {
            "wrong": self.wrong,
            "samples": self.samples,
            "error": self.error,
            "nats": self.nats,
            "bits_per_sample": self.nats / math.log(2),
            "margin": self.margin,
        }


class Pass(NamedTuple):
    """What one forward pass found."""

    wrong: int  # samples
    log_likelihood: float  # nats, of all its samples together, summed in float64
    margin: float


def pass_of(predictions: Predictions) -> Pass:
    """What these predictions, of one forward pass, come to."""
    mask = predictions.mask
    log_probabilities = predictions.pred.transpose(1, 2)[mask].double().log_softmax(-1)  # M, Q
    target = predictions.target[mask][:, None]
    of_target = log_probabilities.gather(1, target)[:, 0]
    of_rival = log_probabilities.scatter(1, target, -torch.inf).max(-1).values
    # A tie counts as wrong: which code an arg-max takes then is chance.
    wrong = (of_target <= of_rival).sum().item()
    return Pass(wrong, of_target.sum().item(), (of_target - of_rival).min().item())


@torch.no_grad()
def teacher_forced(model: Model, windows: Windows, processes: Alone = ALONE) -> TeacherForced:
    """Every sample of the corpus, the first included, predicted from the true codes before it.

    In float32, in whichever precision the model was trained: that is what generation computes in. processes: that share
    the utterances, and of which each gets the same result, that of a single one.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    found: dict[int, list[Pass]] = {}
    for utterance in processes.share(windows.corpus.lengths):
        found[utterance] = []
        for batch in windows.whole(utterance, PASS_WINDOW):
            with float32_products(device):
                predictions = model.run(batch.to(device))
            found[utterance].append(pass_of(predictions))
    model.train(was_training)
    # Summed up in the order of the utterances, so that the result does not depend on who measured which.
    passes = [one for utterance in processes.collect(found).values() for one in utterance]
    nats, samples = 0.0, windows.corpus.samples
    for one in passes:
        nats -= one.log_likelihood
    return TeacherForced(
        sum(one.wrong for one in passes), samples, nats / samples, min((one.margin for one in passes), default=math.inf)
    )
