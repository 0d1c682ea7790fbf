"""A training step never waits for a GPU.

torch's own check (torch.cuda.set_sync_debug_mode) needs one. Where there is none, every operation of a step on the
processor is looked at instead, and those that would have to wait for the values of a tensor on a GPU are refused.
"""

import pytest
import torch
from support.compiled import waits as waits_on_gpu
from support.waiting import Waiting, waits

from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.computing.network_pass import has_bfloat16
from mfcc_wavenet.training.loader import load_batches, on_device

CPU = torch.device("cpu")
FLOAT32, BFLOAT16 = "train.precision=float32", "train.precision=bfloat16"
ON_A_CPU = [
    FLOAT32,
    pytest.param(BFLOAT16, marks=pytest.mark.skipif(not has_bfloat16(CPU), reason="a CPU without bfloat16")),
]
needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
# Everything that a step can do: jitter, averaging, clipping, speakers, and the gradients that a row shows.
ALL = ("upsampling.jitter=0.2", "optim.ema_decay=0.9", "optim.clip_grad_norm=1", "train.log_interval=2")
ALL += ("wavenet.speaker_channels=2", "window.batch_size=2")


@pytest.mark.parametrize("mode", ON_A_CPU)
def test_a_step_waits_for_nothing(small, tmp_path, mode):
    chassis = Chassis(small(*ALL, mode, "train.device=cpu"), tmp_path)
    assert waits(chassis, 4) == []


@needs_a_gpu
@pytest.mark.parametrize("mode", [FLOAT32, BFLOAT16])
def test_torch_sees_no_step_wait_for_a_gpu(small, tmp_path, mode):
    """From the third step on: the first ones make what is kept, as libraries do when they are first used.

    support/compiled.py does the same with torch.compile.
    """
    chassis = Chassis(small(*ALL, mode, "train.device=cuda", "train.compile=false"), tmp_path)
    assert waits_on_gpu(chassis) == 0
    assert chassis.metrics.read()["loss"] > 0


@needs_a_gpu
def test_batches_arrive_on_a_gpu_as_they_were(small, tmp_path):
    """In their order, and to the last bit, although each is copied while something else is computed."""
    chassis, gpu = Chassis(small("window.batch_size=2", "train.device=cpu"), tmp_path), torch.device("cuda")
    sent = load_batches(chassis.windows, Position(), 0, CPU)
    received = on_device(load_batches(chassis.windows, Position(), 0, gpu), gpu)
    busy = torch.randn(2000, 2000, device=gpu)
    for _ in range(20):
        one, other = next(sent), next(received)
        busy = busy @ busy / busy.norm()
        assert other.frames.is_cuda and other.after == one.after
        for name in ("codes", "frames", "offsets", "speakers", "mask"):
            assert torch.equal(getattr(one, name), getattr(other, name).cpu())


def test_reading_a_row_does_wait(small, tmp_path):
    """Otherwise the test above would pass on anything."""
    chassis = Chassis(small(), tmp_path)
    waits(chassis, 1)
    with Waiting() as waiting:
        chassis.metrics.read()
        torch.ones(3)[torch.tensor([True, False, True])]
    assert {"aten::_local_scalar_dense", "aten::index"} <= set(waiting.found)
