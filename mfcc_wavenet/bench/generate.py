"""Speed of generation, next to its roofline on this machine: `python -m mfcc_wavenet.bench generate`.

Prints a table and then one line of JSON. Everything is measured in the same run: this project's generation, the
roofline (Williams et al. 2009) of its steps, and the ways in which one would otherwise generate. Figures are medians.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from statistics import median

import numpy as np
import torch
from jaxtyping import Float32, Integer
from numba import njit

from mfcc_wavenet.bench.measure import interleaved, multiplication_rate, ones, seconds
from mfcc_wavenet.config.geometry import Geometry, Span
from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings
from mfcc_wavenet.data.mulaw import silence
from mfcc_wavenet.generation.generator import Generator, StreamState
from mfcc_wavenet.models.mfcc_inverter import MfccInverter

HOP_LENGTH, FRAME_CHANNELS = 160, 39
WIDE = UpsamplingSettings((256,), 3, (160,), (160,), 32, 0.0, 1.0, False)
STAGED = UpsamplingSettings((), 1, (5, 4, 4, 2), (25, 16, 16, 16), 128, 0.0, 1.0, False)
NETWORKS = {
    "baseline_adam": (WIDE, WavenetSettings(256, 64, 96, 128, 128, 2, 5, 2, 0, "none", 16, "codes", 0.0)),
    "a39d": (STAGED, WavenetSettings(256, 368, 256, 256, 256, 2, 10, 2, 10, "none", 16, "codes", 0.0)),
}
READS = 5e9  # by each core in a measurement of its rate: some tenths of a second


@dataclass(frozen=True)
class Row:
    """What is timed: a network, how many utterances in a batch, on how many threads."""

    network: str
    batch_size: int
    num_threads: int
    hops: int  # of each utterance in a run


CORES = os.cpu_count() or 1
ROWS = (
    Row("baseline_adam", 1, 1, 100),
    Row("baseline_adam", 16, 1, 20),
    Row("a39d", 1, CORES, 8),
    Row("a39d", 16, CORES, 4),
)


def benchmark() -> list[dict]:
    """Measures every row; returns one mapping per row, and prints a line of the table as each is done."""
    torch.set_num_threads(1)
    print(f"{'network':<14}{'batch':>8}{'threads':>8}{'samples/s':>12}{'roofline':>12}{'fraction':>10}", flush=True)
    rows = []
    for row in ROWS:
        model = untrained_model(row.network)
        advance = cached_generation(model, row.batch_size, row.num_threads)
        rates, rooflines = interleaved(
            lambda advance=advance, row=row: (
                row.batch_size * row.hops * HOP_LENGTH / seconds(partial(advance, row.hops))
            ),
            partial(roofline, model, row.batch_size, row.num_threads),
        )
        rate, bound = median(rates), median(rooflines)
        fraction = median(rate / bound for rate, bound in zip(rates, rooflines))
        rows.append(
            {
                "network": row.network,
                "batch_size": row.batch_size,
                "num_threads": row.num_threads,
                "samples_per_second": round(rate),
                "roofline": round(bound),
                "fraction": round(fraction, 2),
            }
        )
        print(
            f"{row.network:<14}{row.batch_size:>8}{row.num_threads:>8}{rate:>12,.0f}{bound:>12,.0f}{fraction:>10.2f}",
            flush=True,
        )
    model = untrained_model("baseline_adam")
    for name, way, samples in (("naive re-run", naive, 200), ("torch step loop", torch_loop, 2000)):
        (rates,) = interleaved(lambda way=way, samples=samples: samples / seconds(partial(way, model, samples)))
        print(f"{name:<24}{median(rates):>12,.0f}", flush=True)
        rows.append({"network": "baseline_adam", "way": name, "samples_per_second": round(median(rates))})
    return rows


def untrained_model(name: str) -> MfccInverter:
    """One of NETWORKS with random weights, on which speed does not depend."""
    torch.manual_seed(0)
    upsampling, wavenet = NETWORKS[name]
    dilations = tuple(2**layer for layer in range(wavenet.layers_per_block)) * wavenet.blocks
    frames = (upsampling.frame_kernel_size,) * len(upsampling.frame_channels)
    geometry = Geometry(HOP_LENGTH, frames, upsampling.strides, upsampling.kernel_sizes, dilations, wavenet.kernel_size)
    return MfccInverter(geometry, upsampling, wavenet, FRAME_CHANNELS, 1).eval()


# --- the ways to generate -------------------------------------------------------------------------


def cached_generation(
    model: MfccInverter, batch_size: int, num_threads: int
) -> Callable[[int], list[Integer[np.ndarray, " _"]]]:
    """This project's: a function that generates that many further hops of each utterance of a batch.

    The first hop, and with it the silence before it, is generated here.
    """
    generator = Generator(model, num_threads)
    state = StreamState(generator, [0] * batch_size)

    def advance(hops: int) -> list[Integer[np.ndarray, " _"]]:
        ends = generator.block_ends(state.position, state.position + hops * HOP_LENGTH)
        blocks = [state.generate([end] * batch_size, lambda _, span: _frames(span)) for end in ends]
        return [np.concatenate(of_utterance) for of_utterance in zip(*blocks)]

    advance(1)
    return advance


@torch.no_grad()
def naive(model: MfccInverter, samples: int) -> Integer[np.ndarray, " samples"]:
    """The whole receptive field through the network again for every sample."""
    past = model.geometry.receptive_field
    codes = torch.full((1, past), silence(model.wavenet.embedding.num_embeddings))
    conditioning = _conditioning(model, samples)
    for sample in range(samples):
        logits = model.wavenet(codes[:, -past:], conditioning[:, sample : sample + past], 1)
        codes = torch.cat([codes, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return codes[0, past:].numpy()


@torch.no_grad()
def torch_loop(model: MfccInverter, samples: int) -> Integer[np.ndarray, " samples"]:
    """Ring buffers in torch tensors, one torch operation at a time."""
    wavenet, past = model.wavenet, model.geometry.receptive_field
    layers = list(wavenet.layers)
    ring_buffers = [
        torch.zeros((layer.kernel_size - 1) * layer.dilation, wavenet.embedding.embedding_dim) for layer in layers
    ]
    code = torch.tensor(silence(wavenet.embedding.num_embeddings))
    codes = []
    for position, conditioning in enumerate(_conditioning(model, samples)[0]):
        x = wavenet.embedding(code)
        gated = []
        for layer, ring in zip(layers, ring_buffers):
            oldest = position % len(ring)
            taps = [ring[(oldest + tap * layer.dilation) % len(ring)] for tap in range(layer.kernel_size - 1)]
            filtered, gate = layer.gate(torch.cat([*taps, x, conditioning])).chunk(2)
            ring[oldest] = x
            gated.append(torch.tanh(filtered) * torch.sigmoid(gate))
            if layer.residual is not None:
                x = x + layer.residual(gated[-1])
        if position >= past - 1:
            hidden = torch.relu(wavenet.post(torch.relu(wavenet.skip(torch.cat(gated)))))
            code = wavenet.logits(hidden).argmax()
            codes.append(int(code))
    return np.array(codes)


def _frames(span: Span) -> Float32[np.ndarray, "F K"]:
    """Noise for frames, the same for every way."""
    return np.stack(
        [np.random.default_rng(abs(frame)).standard_normal(FRAME_CHANNELS) for frame in range(*span)]
    ).astype(np.float32)


def _conditioning(model: MfccInverter, samples: int) -> Float32[torch.Tensor, "1 T C"]:
    """Of every position at which the network runs to predict the samples: T = receptive_field - 1 + samples."""
    geometry = model.geometry
    positions = geometry.input_span((0, samples))
    span = geometry.latent_span(positions)
    offset = torch.tensor([positions[0] - geometry.upsampled_span(span)[0]])
    return model.conditioning(
        torch.from_numpy(_frames(span))[None], offset, positions[1] - positions[0], torch.tensor([0])
    )


# --- the roofline ---------------------------------------------------------------------------------


def roofline(model: MfccInverter, batch_size: int, num_threads: int) -> float:
    """Samples per second of a step that is either bandwidth bound or compute bound, and does nothing else.

    A step advances every utterance of the batch by one sample. It reads every weight once, at the rate of a sum over as
    much memory, and multiplies it with every utterance's vector, at the rate of the loop's own gemm in the cache.
    """
    per_thread = _weights_per_step(model) // num_threads
    reads = round(READS / per_thread)
    with ThreadPoolExecutor(num_threads) as pool:
        memory = [ones(per_thread) for _ in range(num_threads)]
        reading = seconds(lambda: list(pool.map(_sum, memory, repeat(reads)))) / reads
    multiplying = per_thread * batch_size / multiplication_rate(batch_size, num_threads)
    return batch_size / max(reading, multiplying)


@njit(nogil=True, fastmath=True)  # which allows any order of summation, so that the loop is vectorised
def _sum(memory, repeats):
    total = np.float32(0)
    for _ in range(repeats):
        for index in range(memory.shape[0]):
            total += memory[index]
    return total


def _weights_per_step(model: MfccInverter) -> int:
    """Weights that every sample multiplies: without those of the conditioning, whose projection is precomputed."""
    wavenet = model.wavenet
    head = sum(linear.weight.numel() for linear in (wavenet.skip, wavenet.post, wavenet.logits))
    taps = wavenet.layers[0].kernel_size * wavenet.embedding.embedding_dim  # columns of a gate's weight
    gates = sum(layer.gate.out_features * taps for layer in wavenet.layers)
    return head + gates + sum(layer.residual.weight.numel() for layer in wavenet.layers if layer.residual is not None)
