"""float32 arithmetic that is float32, for what is measured rather than trained."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def float32_products(device: torch.device) -> Iterator[None]:
    """Within it, products of float32 are those of IEEE 754, whatever autocast and torch's precision switches say.

    torch itself lets a GPU convolve float32 in TF32, whose mantissa has 10 bits.
    """
    backends = torch.backends
    switches = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    switches += (backends.mkldnn.conv, backends.mkldnn.rnn)
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for switch, precision in zip(switches, before):
            switch.fp32_precision = precision
