"""Where training computes."""

import torch

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.size import memory_bytes


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
