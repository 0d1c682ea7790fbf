"""A training step never waits for a GPU.

torch's own check (torch.cuda.set_sync_debug_mode) needs one. Here every operation of a step on the processor is looked
at instead, and those that would have to wait for the values of a tensor on a GPU are refused.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mfcc_wavenet.data.batch import Position
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
    batches = chassis._batches(Position())
    next(batches)  # starting to load asks for a random seed, on the processor
    with Waiting() as waiting:
        for _ in range(steps):
            chassis.training_step(batches)
    return waiting.found


def test_a_step_waits_for_nothing(small, tmp_path):
    """With everything on that a step can do: jitter, averaging, clipping, and the gradients that a row shows."""
    settings = ("upsampling.jitter=0.2", "optim.ema_decay=0.9", "optim.clip_grad_norm=1", "train.log_interval=2")
    chassis = Chassis(small(*settings, "wavenet.speaker_channels=2", "window.batch_size=2"), tmp_path)
    assert waits(chassis, 4) == []


def test_reading_a_row_does_wait(small, tmp_path):
    """Otherwise the test above would pass on anything."""
    chassis = Chassis(small(), tmp_path)
    waits(chassis, 1)
    with Waiting() as waiting:
        chassis.metrics.read()
        torch.ones(3)[torch.tensor([True, False, True])]
    assert {"aten::_local_scalar_dense", "aten::index"} <= set(waiting.found)
