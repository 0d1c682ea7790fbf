"""What every model under the Chassis offers, so that nobody has to ask which one it is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.data.batch import Batch


@dataclass(frozen=True)
class Predictions:
    """What a model makes of a batch: all that its objective and the metrics need."""

    pred: Float[Tensor, "B Q N"]  # logits
    target: Int[Tensor, "B N"]  # the codes that they should point at
    mask: Bool[Tensor, "B N"]  # which samples count
    penalties: dict[str, Float[Tensor, ""]] = field(default_factory=dict)  # nats per sample, not yet weighted
    figures: dict[str, Float[Tensor, ""]] = field(default_factory=dict)  # logged next to the metrics

    def negative_log_likelihood(self) -> Float[Tensor, ""]:
        """Mean over the unmasked samples, in nats per sample."""
        # Rows of contiguous logits: cross_entropy over a middle axis is several times slower.
        nats = functional.cross_entropy(
            self.pred.transpose(1, 2).flatten(0, 1), self.target.flatten(), reduction="none"
        )
        mask = self.mask.flatten()
        return (nats * mask).sum() / mask.sum().clamp(min=1)  # 0 where no sample counts

    def detached(self) -> "Predictions":
        """The same without gradients, and so without all that the network keeps for them."""
        return replace(self, **{name: tensor.detach() for name, tensor in self._tensors().items()})

    @staticmethod
    def joined(parts: "list[Predictions]") -> "Predictions":
        """Of the parts of a batch as of the whole; penalties and figures are the last part's."""
        if len(parts) == 1:
            return parts[0]
        tensors = [part._tensors() for part in parts]
        return replace(parts[-1], **{name: torch.cat([one[name] for one in tensors]) for name in tensors[0]})

    def _tensors(self) -> dict[str, Tensor]:
        return {"pred": self.pred, "target": self.target, "mask": self.mask}


class Model(nn.Module, ABC):
    """A network from frames and past codes to logits of the next code.

    forward is the architecture alone; run, objective and the hooks below are how it is trained.
    """

    geometry: Geometry

    @abstractmethod
    def run(self, batch: Batch) -> Predictions:
        """The batch through the network; on the batch's device, without a synchronisation."""

    def objective(self, predictions: Predictions, step: int) -> Float[Tensor, ""]:
        """What training minimises, in nats per unmasked sample.

        A model with penalties adds each with its weight, which may depend on the step and on nothing else.
        """
        return predictions.negative_log_likelihood()

    @abstractmethod
    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All trained parameters by what they do, which is how update_ratio_NAME is logged."""

    @abstractmethod
    def encode(self, frames: Float[Tensor, "B F K"]) -> Float[Tensor, "B L C"]:
        """What conditions the decoder, from normalised frames."""

    def before_training(self, batches: Iterator[Batch]) -> None:
        """Called before the first step of a run, with its training batches from the first on, made when asked for.

        It moves neither the run's position nor the global random state. It is called neither on resume nor where
        training starts from a checkpoint's weights. Of several processes, each sees its own windows, and all of them
        go on with the weights of process 0.
        """

    def after_step(self, step: int, finite: Bool[Tensor, ""]) -> dict[str, Float[Tensor, ""]]:
        """Called after every step of the optimizer; what it returns is logged.

        finite: on the device, whether the step was taken; where it was skipped, nothing may change here either.
        """
        return {}
