"""How a training step computes: on which device, in which precision, whether torch.compile makes the network, and which
library its products.

Weights, gradients, moments, loss and metrics are float32 (sums of metrics float64) whatever the precision. bfloat16 is
that of autocast: matrix products take and give it, and what is between them follows.
"""

import contextlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.config.size import gate_matrix, memory_bytes, windows_at_once
from mfcc_wavenet.data.batch import Batch
from mfcc_wavenet.models.base import Model, Predictions
from mfcc_wavenet.training.computing import products

NetworkPass = Callable[[Batch], Predictions]


def pick_device(name: str) -> torch.device:
    """The named device; auto is cuda where there is one, else cpu. UserError if torch cannot use it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except Exception as error:  # a ModuleNotFoundError, for a device of another build of torch, for instance
        raise UserError(f"train.device={name}: torch cannot use it ({str(error).splitlines()[0]}).") from error


def device_memory(device: torch.device) -> int:
    """Bytes in all, whether they are free or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return memory_bytes()


def pick_precision(setting: str | None, device: torch.device) -> torch.dtype:
    """float32 or bfloat16 by its name; None: bfloat16 on a GPU that has it, else float32.

    UserError where the device would compute bfloat16 more slowly than float32, since it only emulates it.
    """
    if setting is None:
        return torch.bfloat16 if device.type == "cuda" and has_bfloat16(device) else torch.float32
    if setting == "bfloat16" and not has_bfloat16(device):
        raise UserError(
            f"train.precision=bfloat16: {_name(device)} has no bfloat16 arithmetic; train.precision=float32 works."
        )
    return getattr(torch, setting)


def has_bfloat16(device: torch.device) -> bool:
    """Whether its products of bfloat16 are more than an emulation.

    A GPU has them from compute capability 8.0 on. Of a processor, oneDNN asks for AVX-512, or for its Arm counterpart;
    on others torch falls back on loops without vector instructions.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.amp.is_autocast_available(device.type)


def pick_compile(setting: bool | None, device: torch.device) -> bool:
    """Whether to compile; None: on a GPU that can.

    UserError where the setting asks for it and torch.compile does not work: on a CPU it needs a C++ compiler (CXX, or
    g++), on a GPU Triton and a C compiler.
    """
    if setting is False or (setting is None and device.type != "cuda"):
        return False
    problem = _compile_problem(device)
    if problem is None:
        return True
    if setting is None:
        print(f"Training without torch.compile, which does not work here ({problem}).", file=sys.stderr)
        return False
    needed = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler (g++, or the one that CXX names)"
    raise UserError(
        f"train.compile=true: torch.compile does not work on {_name(device)} ({problem}); it needs {needed}, and "
        "train.compile=false does without."
    )


def pick_products(
    settings: Settings,
    device: torch.device,
    precision: torch.dtype,
    compiled: bool,
    processes: int = 1,
    of_first: Callable[[Callable[[], str]], str] = lambda measure: measure(),
) -> str:
    """blas or onednn; where the settings do not say, the one that is faster for the product with most operations.

    processes: that share a step; of_first: what the first of them chooses, for all who can.

    UserError where they ask for oneDNN and torch, or this step, has none.
    """
    setting = settings.train.products
    can = device.type == "cpu" and precision == torch.float32 and not compiled and products.is_available()
    if setting == "onednn" and not can:
        raise UserError(
            "train.products=onednn: it is for float32 on a CPU without torch.compile, and a torch with oneDNN; "
            "train.products=null does without."
        )
    samples = settings.window.samples * windows_at_once(settings, processes)
    # All processes ask the first one, also those that compile and can do nothing with its answer.
    chosen = of_first(lambda: setting or (products.faster(samples, *gate_matrix(settings)) if can else "blas"))
    return chosen if can else "blas"


def make_network_pass(
    model: Model, precision: torch.dtype, compiled: bool, device: torch.device, by: str = "blas"
) -> NetworkPass:
    """What a step calls instead of model.run: the same predictions, with logits in float32.

    The model itself, and so the names of its weights, stay as they are. Compiled, it takes batches of one shape, whose
    frames have a gradient or not: each other kind is compiled anew.
    """
    if device.type == "cuda" and precision == torch.float32:  # torch's default for convolutions there is TF32
        torch.backends.cudnn.allow_tf32 = False
    run = torch.compile(model.run, dynamic=False, options={"deterministic": True}) if compiled else model.run

    def network_pass(batch: Batch) -> Predictions:
        of_products = products.ByOneDnn() if by == "onednn" else contextlib.nullcontext()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16), of_products:
            predictions = run(batch)
        return replace(predictions, pred=predictions.pred.float())

    return network_pass


def _compile_problem(device: torch.device) -> str | None:
    """Why torch.compile does not work, found out by compiling a sum; None where it does."""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, about itself
            torch.compile(_sum, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # of inductor, of triton, or of whatever they call
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return str(cause).strip().splitlines()[0][:200].rstrip(".") if str(cause).strip() else type(cause).__name__
    return None


def _sum(x: torch.Tensor) -> torch.Tensor:
    return (x * 2).sum()


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"this {device.type.upper()}"
