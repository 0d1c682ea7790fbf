"""The kernel of sample_loop.cu, compiled when it is first needed, and what it is given."""

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int32
from torch import Tensor

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.generation.float32 import float32_products
from mfcc_wavenet.generation.gpu.weights import FLOAT4, Weights, pack_weights
from mfcc_wavenet.models.wavenet import WaveNet

SOURCE = Path(__file__).with_suffix(".cu")
THREADS = 1024  # of a block, and so of an utterance
FLOAT_BYTES = 4
CONFIGURED = 48 * 1024  # bytes of shared memory beyond which a kernel has to ask for it


class SampleLoop:
    """A WaveNet on a GPU that generates codes from conditioning; float32, like the CPU's loop."""

    def __init__(self, wavenet: WaveNet, device: torch.device):
        """UserError for linear prediction, and if a block's shared memory does not hold the activations of a sample."""
        if wavenet.prediction is not None:
            raise UserError("A network with linear prediction is generated on a processor; device=cpu does so.")
        self.device = device
        self.weights, self.projection = pack_weights(wavenet, device)
        self.sizes = sizes(self.weights, wavenet.layers[0].kernel_size)
        self.shared_bytes = shared_bytes(self.sizes)
        available = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
        if self.shared_bytes > available:
            raise UserError(
                f"A sample of this network has activations of {self.shared_bytes:,} bytes, and a block on "
                f"{torch.cuda.get_device_name(device)} has {available:,}; device=cpu generates it."
            )

    @property
    def max_batch_size(self) -> int:
        """Utterances that are generated at the same time: one on each multiprocessor."""
        return torch.cuda.get_device_properties(self.device).multi_processor_count

    def start(self, batch_size: int) -> partial:
        """A function that continues a batch, from before its first sample on, with each call."""
        channels = self.weights.embedding.shape[1]
        return partial(self, torch.zeros(batch_size, int(self.weights.ring_starts[-1]), channels, device=self.device))

    def __call__(
        self,
        ring_buffers: Float32[Tensor, "B ring_positions C"],
        past: Int[np.ndarray, "B order"],
        first: int,
        conditioning: Float[np.ndarray, "positions B D"],
        prediction: None,
        uniforms: Float[np.ndarray, "B positions"],
        sampling: Sampling,
    ) -> Int32[np.ndarray, "B positions"]:
        """The codes of the positions from first on, 0 at negative ones; the ring buffers are brought up to date.

        past: the codes before the first position; uniforms: random numbers in [0, 1).
        """
        positions, batch_size, _ = conditioning.shape
        with torch.cuda.device(self.device), float32_products(self.device):
            moved = torch.from_numpy(conditioning).to(self.device).transpose(0, 1)
            projected = torch.nn.functional.linear(moved, *self.projection).contiguous()
            codes = torch.zeros(batch_size, positions, dtype=torch.int32, device=self.device)
            kernel = compiled(self.shared_bytes, torch.cuda.current_device())
            kernel(
                grid=(batch_size, 1, 1),
                block=(THREADS, 1, 1),
                args=[
                    *self.weights, projected, torch.from_numpy(uniforms).to(self.device), ring_buffers,
                    torch.from_numpy(past[:, -1]).int().to(self.device), codes, *self.sizes, positions, first,
                    float(sampling.temperature), sampling.top_k,
                ],
                shared_mem=self.shared_bytes,
            )  # fmt: skip
            return codes.cpu().numpy()


def sizes(weights: Weights, taps: int) -> tuple[int, ...]:
    """L, K, C, G, S, P and Q, as the kernel takes them."""
    layers, both, _ = weights.gates.shape
    channels, quantization_channels = weights.embedding.shape[1], len(weights.embedding)
    return layers, taps, channels, both // 2, len(weights.skip), len(weights.post), quantization_channels


def shared_bytes(sizes: tuple[int, ...]) -> int:
    """What the kernel lays out in shared memory, its arrays in their order there."""
    layers, taps, channels, gates, skip, post, quantization_channels = sizes
    arrays = [layers * _padded(taps * channels), layers * 2 * gates, layers * gates, gates, skip, post]
    arrays += [quantization_channels] * 2
    return sum(map(_padded, arrays)) * FLOAT_BYTES


def _padded(length: int) -> int:
    return -(-length // FLOAT4) * FLOAT4


@cache
def compiled(shared_memory: int, device: int):
    """The kernel for the current GPU, of that number, by NVRTC, which comes with torch; it takes tenths of a second."""
    from torch.utils import cpp_extension  # which warns where there is no GPU

    if cpp_extension.CUDA_HOME is None:  # torch looks for headers there, of which this source needs none
        cpp_extension.CUDA_HOME = str(SOURCE.parent)
    capability = "{}{}".format(*torch.cuda.get_device_capability(device))
    kernel = torch.cuda._compile_kernel(SOURCE.read_text(), "sample_loop", compute_capability=capability)
    if shared_memory >= CONFIGURED:
        kernel.set_shared_memory_config(shared_memory)
    return kernel
