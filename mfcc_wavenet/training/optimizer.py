"""The optimizer from settings, and steps that a GPU skips by itself where a gradient is not finite."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn, optim

from mfcc_wavenet.config.training_settings import OptimSettings

ITERATIONS = 3  # 5 take two thirds longer and come to zero error no sooner: docs/steps_to_zero.md
# Of the polynomial that is iterated: Jordan et al. chose those that lift small singular values fastest.
A, B, C = 3.4445, -4.7750, 2.0315
LEAST_NORM = 1e-7  # what a matrix is divided by at the least
ENCODER_GROUPS = ("encoder", "bottleneck")
MATRIX_GROUPS = ("layers", "head")  # whose matrices Muon moves; not lookup tables, nor what few frames of a step reach


class Muon(optim.Adam):
    """Muon for the network's matrices, and torch's fused Adam for everything else: groups without a "momentum".

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks": the momentum of a matrix is replaced
    by the nearest matrix whose singular values are all about 1, so that a step moves in every direction alike, also in
    those whose gradients are small.

    torch.optim.Muon takes matrices one at a time and in bfloat16, which a CPU computes slowly, and cannot skip a step
    whose gradients are not finite without waiting for a GPU. Here, matrices of one shape are one product, in their own
    precision.
    """

    @torch.no_grad()
    def step(self) -> None:
        """One step of all groups, or none where `found_inf` is set, as in torch's fused optimizers."""
        for group in self.param_groups:
            if "momentum" in group:
                self._step_of_matrices(group, self.found_inf == 0)
        super().step()

    def _step_of_matrices(self, group: dict, finite: Bool[Tensor, ""]) -> None:
        by_shape = defaultdict(list)
        for matrix in group["params"]:
            by_shape[matrix.shape].append(matrix)
        for (rows, columns), matrices in by_shape.items():
            gradients = torch.stack([matrix.grad for matrix in matrices])
            gradients = torch.where(finite, gradients, 0)
            momenta = torch.stack([self._momentum(matrix) for matrix in matrices])
            momenta.lerp_(gradients, (1 - group["momentum"]) * finite)
            steps = orthogonalised(gradients.lerp(momenta, group["momentum"]))  # Nesterov's
            rate = group["lr"] * max(1, rows / columns) ** 0.5 * finite
            for matrix, momentum, step in zip(matrices, momenta, steps):
                self.state[matrix]["momentum"].copy_(momentum)
                self.state[matrix]["step"].add_(finite)
                matrix.mul_(1 - group["lr"] * group["weight_decay"] * finite).sub_(rate * step)
                matrix.grad = None  # so that Adam leaves it alone

    def _momentum(self, matrix: nn.Parameter) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["step"] = torch.zeros((), device=matrix.device)  # Adam looks for it in every state that is loaded
            state["momentum"] = torch.zeros_like(matrix)
        return state["momentum"]


def orthogonalised(matrices: Float[Tensor, "M R C"]) -> Float[Tensor, "M R C"]:
    """U V^T of each, roughly, where U S V^T is its singular value decomposition.

    Newton and Schulz's iteration, with a polynomial of degree 5. Singular values of a fiftieth of the matrix's norm and
    more become 0.7 to 1.2, smaller ones less.
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=LEAST_NORM)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=B, alpha=C), x, beta=A)
    return x if wide is matrices else x.mT


CLASSES = {"adam": optim.Adam, "adamw": optim.AdamW, "muon": Muon}


def make_optimizer(settings: OptimSettings, groups: dict[str, list[nn.Parameter]]) -> optim.Optimizer:
    """Adam, AdamW or Muon (Kingma and Ba 2015; Loshchilov and Hutter 2019; Jordan et al. 2024) for named parameters."""
    parts = [{"params": parameters, "name": name} for name, parameters in groups.items()]
    for part in parts:
        if part["name"] in ENCODER_GROUPS:
            part["rate_factor"] = settings.encoder_factor
    if settings.optimizer == "muon":
        parts = [part for group in parts for part in _matrices_apart(group, settings)]
    return CLASSES[settings.optimizer](
        parts, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )


def _matrices_apart(group: dict, settings: OptimSettings) -> list[dict]:
    """The group, or its matrices for Muon and the rest of it for Adam."""
    if group["name"] not in MATRIX_GROUPS:
        return [group]
    matrices = [parameter for parameter in group["params"] if parameter.ndim == 2]
    others = [parameter for parameter in group["params"] if parameter.ndim != 2]
    factor = settings.muon_learning_rate / settings.learning_rate
    of_muon = {"params": matrices, "momentum": settings.muon_momentum, "rate_factor": factor}
    return [part for part in (group | of_muon, group | {"params": others}) if part["params"]]


def take_step(optimizer: optim.Optimizer, learning_rate: float, finite: Bool[Tensor, ""]) -> None:
    """One step at that rate; where finite is False, neither weights nor moments change.

    The fused optimizers look at found_inf on the device, as they do for torch.amp.GradScaler: nothing waits for it.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1)
    optimizer.grad_scale = None
    optimizer.found_inf = (~finite).float()
    optimizer.step()


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, finite: Bool[Tensor, ""]) -> None:
    """average = decay * average + (1 - decay) * model, for parameters; buffers are copied. Nothing if not finite."""
    fraction = finite * (1 - decay)
    for mean, parameter in zip(average.parameters(), model.parameters()):
        mean.lerp_(parameter, fraction)
    for kept, buffer in zip(average.buffers(), model.buffers()):
        kept.copy_(torch.where(finite, buffer, kept))


def count_bad_steps(count: Int[Tensor, ""], finite: Bool[Tensor, ""], most: int) -> Int[Tensor, ""]:
    """Those in a row that were not finite, after one more step; a count beyond the most stays until it is read."""
    return torch.where(finite & (count <= most), 0, count + ~finite)


def copies(parameters: Iterable[Tensor]) -> list[Tensor]:
    """As they are now."""
    return [parameter.detach().clone() for parameter in parameters]


def relative_change(before: list[Tensor], after: Iterable[Tensor]) -> Tensor:
    """Norm of what changed, over the norm of what was there."""
    changes = torch.stack([(new.detach() - old).norm() for new, old in zip(after, before)])
    return changes.norm() / torch.stack([old.norm() for old in before]).norm()
