"""What a training step does on the processor that would have to wait for the values of a tensor on a GPU."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mfcc_wavenet.training.chassis import Chassis

WAITS = {  # operations whose result, or its shape, the processor has to know
    "aten::_local_scalar_dense",  # item(), tolist() of one value, bool() and float()
    "aten::is_nonzero",
    "aten::equal",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
}


class Waiting(TorchDispatchMode):
    """Notes the operations that would wait."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().partition(".")[0]
        indices = args[1] if name in ("aten::index", "aten::index_put", "aten::index_put_") else ()
        if name in WAITS or any(index is not None and index.dtype == torch.bool for index in indices):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def waits(chassis: Chassis, steps: int) -> list[str]:
    batches = chassis._batches(chassis.position)
    next(batches)  # starting to load asks for a random seed, on the processor
    with Waiting() as waiting:
        for _ in range(steps):
            chassis.training_step(batches)
    return waiting.found
