"""Error and likelihood on a corpus, given the true past of every sample."""

import math
from dataclasses import dataclass

import torch

from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.models.base import Model
from mfcc_wavenet.models.float32 import float32_products

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
def teacher_forced(model: Model, windows: Windows) -> TeacherForced:
    """Every sample of the corpus, the first included, predicted from the true codes before it.

    In float32, in whichever precision the model was trained: that is what generation computes in.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    nats, margin, wrong = 0.0, float("inf"), 0
    for utterance in range(len(windows.corpus)):
        for batch in windows.whole(utterance, PASS_WINDOW):
            with float32_products(device):
                predictions = model.run(batch.to(device))
            mask = predictions.mask
            log_probabilities = predictions.pred.transpose(1, 2)[mask].double().log_softmax(-1)  # M, Q
            target = predictions.target[mask][:, None]
            of_target = log_probabilities.gather(1, target)[:, 0]
            of_rival = log_probabilities.scatter(1, target, -torch.inf).max(-1).values
            nats -= of_target.sum().item()
            margin = min(margin, (of_target - of_rival).min().item())
            # A tie counts as wrong: which code an arg-max takes then is chance.
            wrong += (of_target <= of_rival).sum().item()
    model.train(was_training)
    samples = windows.corpus.samples
    return TeacherForced(wrong, samples, nats / samples, margin)
