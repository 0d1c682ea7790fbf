"""Muon for the network's matrices, and Adam for everything else.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks": the momentum of a matrix is replaced by
the nearest matrix whose singular values are all about 1, so that a step moves in every direction alike, also in those
whose gradients are small.

torch.optim.Muon takes matrices one at a time and in bfloat16, which a CPU computes slowly, and cannot skip a step whose
gradients are not finite without waiting for a GPU. Here, matrices of one shape are one product, in their own precision.
"""

from collections import defaultdict

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn, optim

ITERATIONS = 5
# Of the polynomial that is iterated: Jordan et al. chose those that lift small singular values fastest.
A, B, C = 3.4445, -4.7750, 2.0315
LEAST_NORM = 1e-7  # what a matrix is divided by at the least


class Muon(optim.Adam):
    """torch's fused Adam, except in groups with a "momentum": those are of matrices, which Muon moves."""

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
    """U V^T of each, roughly, where U S V^T is its singular value decomposition: singular values between 0.7 and 1.2.

    Newton and Schulz's iteration, with a polynomial of degree 5.
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=LEAST_NORM)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=B, alpha=C), x, beta=A)
    return x if wide is matrices else x.mT
