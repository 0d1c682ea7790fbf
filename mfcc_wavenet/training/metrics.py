"""What is measured while training, accumulated on the device and read out once per row."""

import math
import time
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mfcc_wavenet.models.base import Predictions


class Metrics:
    """Sums over the predictions since the last read, and the latest of each extra scalar.

    update() never waits for the device; read(), state_dict() and samples_seen do. Values, per sample
    unless said otherwise:

    loss                negative log likelihood of the true code, nats
    bits_per_sample     the same in bits
    error, errors       fraction and count of samples whose arg-max code is not the true one
    avg_prob_target     mean probability of the true code
    avg_max             mean probability of the most likely code
    peak_dist           mean distance of the arg-max code from the true one, in codes
    samples_per_second  predicted samples per second of wall-clock since the last read
    samples_seen        predicted samples since training began

    and, handed in by the training step: learning_rate, grad_norm, mfcc_grad_mean and mfcc_grad_sd (of
    the gradient of the loss at the frames), update_ratio_NAME (norm of a step over norm of the
    weights, per parameter group), and what a model logs of itself: of several processes process 0's, where it is of
    their own windows. An autoencoder's, where it has them:

    penalty, objective  the weighted penalties of the latest step, and the loss with them, nats per sample
    commitment          mean squared distance of a latent from its code, per channel
    codebook_loss       the same, of which the gradient moves the codes
    kl, kl_weight       divergence of a latent from the standard normal distribution, nats, and its weight
    kl_bits             the divergence in bits, of which bottleneck.free_bits cost nothing
    free_nats           of that divergence, per latent
    perplexity          exp of the entropy of the codes in use, nats
    codes_used          codes with more than a tenth of 1 / codes
    codes_revived       since training began
    latent_norm         mean norm of the latents that are compared with codes
    latent_sd           their deviation
    code_norm           mean norm of the codes
    latent_grad_sd      deviation of the gradient at the latents
    encoder_zero_N      fraction of the activations of the encoder's layer N that ReLU makes 0
    """

    SUMS = ("count", "nats", "errors", "prob_target", "max", "peak_dist")

    def __init__(self, device: torch.device | None = None, total: Callable[[Tensor], Tensor] = lambda sums: sums):
        """total: the sum over all processes that update metrics of their own, which read and samples_seen give."""
        self._total = total
        self._read = 0  # predicted samples up to the last read
        self._sums = torch.zeros(len(self.SUMS), dtype=torch.float64, device=device)
        self._scalars: dict[str, float | Tensor] = {}
        self._since = time.perf_counter()

    @torch.no_grad()
    def update(self, predictions: Predictions, finite: Bool[Tensor, ""], **scalars: float | Float[Tensor, ""]) -> None:
        """Adds the predictions that the mask keeps, unless the step was skipped; scalars replace their last values."""
        log_probabilities = predictions.pred.transpose(1, 2).log_softmax(-1)  # B, N, Q: rows of contiguous logits
        of_target = log_probabilities.gather(-1, predictions.target[:, :, None])[:, :, 0]
        of_peak, peak = log_probabilities.max(-1)
        distance = (peak - predictions.target).abs()
        # In the order of SUMS.
        rows = [torch.ones_like(of_target), -of_target, distance > 0, of_target.exp(), of_peak.exp(), distance]
        counted = predictions.mask & finite
        self._sums += torch.stack([torch.where(counted, row.double(), 0.0).sum() for row in rows])
        self._scalars.update(scalars)

    def read(self) -> dict[str, float | int]:
        """Every value since the last read, as plain numbers; the sums start again from zero.

        What is not finite is left out, and so is what has no samples to be averaged over.
        """
        sums = dict(zip(self.SUMS, self._total(self._sums).tolist()))
        count = int(sums["count"])
        elapsed = time.perf_counter() - self._since
        self._read += count
        scalars = {name: float(value) for name, value in self._scalars.items()}
        values = {name: value for name, value in scalars.items() if math.isfinite(value)}
        of_penalty = {"objective": sums["nats"] / count + values["penalty"]} if count and "penalty" in values else {}
        self._sums.zero_()
        self._scalars.clear()
        self._since = time.perf_counter()
        if count == 0:
            return values | {"samples_seen": self._read}
        loss = sums["nats"] / count
        return {
            "loss": loss,
            "bits_per_sample": loss / math.log(2),
            "error": sums["errors"] / count,
            "errors": int(sums["errors"]),
            "avg_prob_target": sums["prob_target"] / count,
            "avg_max": sums["max"] / count,
            "peak_dist": sums["peak_dist"] / count,
            "samples_per_second": count / elapsed,
            "samples_seen": self._read,
            **of_penalty,
            **values,
        }

    @property
    def samples_seen(self) -> int:
        """Predicted samples since training began, those since the last read included."""
        return self._read + int(self._total(self._sums)[0])

    def restart_clock(self) -> None:
        """Leaves the time since the last read out of samples_per_second, when it was not spent on training."""
        self._since = time.perf_counter()

    def state_dict(self) -> dict:
        """What a checkpoint needs so that the row after a resume is the row without one: this process's sums."""
        return {"samples_seen": self._read, "sums": dict(zip(self.SUMS, self._sums.tolist()))}

    def load_state_dict(self, state: dict) -> None:
        """By name: a sum that an older checkpoint lacks starts from zero."""
        self._read = state["samples_seen"]
        sums = [state["sums"].get(name, 0.0) for name in self.SUMS]
        self._sums.copy_(torch.tensor(sums, dtype=torch.float64))


def latent_gradients(predictions: Predictions) -> dict[str, Float[Tensor, ""]]:
    """latent_grad_sd: the deviation of the gradient of the objective at the latents, after its backward pass.

    Nothing for a model without an encoder, nor for a compiled one, which keeps no gradient within itself.
    """
    gradient = None if predictions.latents is None else predictions.latents.grad
    return {} if gradient is None else {"latent_grad_sd": gradient.std()}
