"""An embedding whose gradient has the same bits every time, also where torch.compile makes the network."""

import torch
from torch import Tensor, nn


class Embedding(nn.Embedding):
    """torch's; compiled code looks it up by an operation of its own.

    torch.compile would add up the gradients of a row in whichever order its threads come to them, and a resumed run
    would not be the uninterrupted one. torch's own gradient has an order.
    """

    def forward(self, input: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return lookup(self.weight, input)
        return super().forward(input)


@torch.library.custom_op("mfcc_wavenet::lookup", mutates_args=())
def lookup(table: Tensor, indices: Tensor) -> Tensor:
    """Rows (..., C) of a table (N, C)."""
    return torch.nn.functional.embedding(indices, table)


@lookup.register_fake
def _(table: Tensor, indices: Tensor) -> Tensor:
    return table.new_empty((*indices.shape, table.shape[1]))


@torch.library.custom_op("mfcc_wavenet::lookup_gradient", mutates_args=())
def lookup_gradient(gradient: Tensor, indices: Tensor, rows: int) -> Tensor:
    """The gradient (N, C) of the table, N = rows."""
    return torch.ops.aten.embedding_dense_backward(gradient, indices, rows, -1, False)


@lookup_gradient.register_fake
def _(gradient: Tensor, indices: Tensor, rows: int) -> Tensor:
    return gradient.new_empty((rows, gradient.shape[-1]))


def _keep(ctx, inputs, output) -> None:
    table, indices = inputs
    ctx.save_for_backward(indices)
    ctx.rows = len(table)


def _backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
    (indices,) = ctx.saved_tensors
    return lookup_gradient(gradient, indices, ctx.rows), None


lookup.register_autograd(_backward, setup_context=_keep)
