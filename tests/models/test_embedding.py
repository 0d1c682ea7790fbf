"""The embedding, and the operation that compiled code looks it up by."""

import torch

from mfcc_wavenet.models.embedding import Embedding, lookup


def test_the_lookup_of_compiled_code_is_the_embedding():
    """Rows and gradients, to the last bit."""
    embedding, codes = Embedding(30, 5), torch.randint(30, (4, 100))
    weight = torch.randn(4, 100, 5)
    (embedding(codes) * weight).sum().backward()
    table = embedding.weight.detach().clone().requires_grad_()
    looked_up = lookup(table, codes)
    assert torch.equal(looked_up, embedding(codes))
    (looked_up * weight).sum().backward()
    assert torch.equal(table.grad, embedding.weight.grad)


def test_the_lookup_is_an_operation_that_torch_can_rely_on():
    """Its shapes without data, its gradient and its use in compiled code, by torch's own check of operations."""
    table, codes = torch.randn(7, 3, requires_grad=True), torch.randint(7, (2, 5))
    torch.library.opcheck(lookup, (table, codes))
