"""Where training computes."""

import torch

from mfcc_wavenet.config.errors import UserError


def pick_device(name: str) -> torch.device:
    """The named device; auto is cuda where there is one, else cpu. UserError if torch cannot use it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"train.device={name}: torch cannot use it ({str(error).splitlines()[0]}).") from error
