"""Speed, beside the bound that this machine sets it: `python -m mfcc_wavenet.bench generate`.

Prints a table and then one line of JSON. All is measured in the same run: what memory and arithmetic
allow, and the ways in which a person would otherwise generate. Figures are medians of several runs.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from statistics import median

import numpy as np
import torch
from numba import njit

from mfcc_wavenet.config.geometry import Geometry, Span
from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings
from mfcc_wavenet.data.mulaw import silence
from mfcc_wavenet.generation.cpu.gemm import PANEL, multiply, room
from mfcc_wavenet.generation.generator import Generator, Voices
from mfcc_wavenet.models.mfcc_inverter import MfccInverter

HOP_LENGTH, FRAME_CHANNELS = 160, 39
WIDE = UpsamplingSettings((256,), 3, (160,), (160,), 32, 0.0)
STAGED = UpsamplingSettings((), 1, (5, 4, 4, 2), (25, 16, 16, 16), 128, 0.0)
NETWORKS = {
    "baseline": (WIDE, WavenetSettings(256, 64, 96, 128, 128, 2, 5, 2, 0)),
    "a39d": (STAGED, WavenetSettings(256, 368, 256, 256, 256, 2, 10, 2, 10)),
}
RUNS = 5
CACHED = 16_384  # weights that stay in a core's cache
COLUMNS = 256  # of the matrices that are only multiplied
MULTIPLICATIONS, READ = 5e9, 5e9  # by each core, when its rates are measured: some tenths of a second


@dataclass(frozen=True)
class Row:
    """What is timed: a network, how many utterances at once, on how many cores."""

    network: str
    streams: int
    cores: int
    hops: int  # of each stream in a run


CORES = os.cpu_count() or 1
ROWS = (
    Row("baseline", 1, 1, 100),
    Row("baseline", 16, 1, 20),
    Row("a39d", 1, CORES, 8),
    Row("a39d", 16, CORES, 4),
)


def generate() -> list[dict]:
    """Measures every row; returns one mapping per row, and prints a line of the table as each is done."""
    torch.set_num_threads(1)
    print(f"{'network':<10}{'streams':>8}{'cores':>6}{'samples/s':>12}{'bound':>12}{'fraction':>10}", flush=True)
    rows = []
    for row in ROWS:
        model = network(row.network)
        go_on = ours(model, row.streams, row.cores)
        rates, bounds = in_turns(
            lambda go_on=go_on, row=row: row.streams * row.hops * HOP_LENGTH / seconds(partial(go_on, row.hops)),
            partial(fastest, model, row.streams, row.cores),
        )
        rate, bound = median(rates), median(bounds)
        fraction = median(rate / bound for rate, bound in zip(rates, bounds))
        rows.append(
            {
                "network": row.network,
                "streams": row.streams,
                "cores": row.cores,
                "samples_per_second": round(rate),
                "bound": round(bound),
                "fraction": round(fraction, 2),
            }
        )
        print(
            f"{row.network:<10}{row.streams:>8}{row.cores:>6}{rate:>12,.0f}{bound:>12,.0f}{fraction:>10.2f}", flush=True
        )
    model = network("baseline")
    for name, way, samples in (("naive re-run", naive, 200), ("torch step loop", torch_loop, 2000)):
        (rates,) = in_turns(lambda way=way, samples=samples: samples / seconds(partial(way, model, samples)))
        print(f"{name:<24}{median(rates):>12,.0f}", flush=True)
        rows.append({"network": "baseline", "way": name, "samples_per_second": round(median(rates))})
    return rows


def network(name: str) -> MfccInverter:
    """An untrained model of that architecture; speed does not depend on what the weights are."""
    torch.manual_seed(0)
    upsampling, wavenet = NETWORKS[name]
    dilations = tuple(2**layer for layer in range(wavenet.layers_per_block)) * wavenet.blocks
    frames = (upsampling.frame_kernel_size,) * len(upsampling.frame_channels)
    geometry = Geometry(HOP_LENGTH, frames, upsampling.strides, upsampling.kernel_sizes, dilations, wavenet.kernel_size)
    return MfccInverter(geometry, upsampling, wavenet, FRAME_CHANNELS, 1).eval()


def in_turns(*measures: Callable[[], float]) -> list[list[float]]:
    """What each measure gives in a few rounds, after one that compiles and warms up.

    On a shared machine a busy moment then slows what is measured and its bound alike.
    """
    rounds = [[measure() for measure in measures] for _ in range(1 + RUNS)][1:]
    return [list(figures) for figures in zip(*rounds)]


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


# --- the ways to generate -------------------------------------------------------------------------


def ours(model: MfccInverter, streams: int, cores: int) -> Callable[[int], list[np.ndarray]]:
    """A function that lets all streams, side by side, go on by so many hops; cores: threads of the team.

    The first hop is spoken here: it takes the silence in front along.
    """
    generator = Generator(model, team=cores)
    voices = Voices(generator, [0] * streams)

    def go_on(hops: int) -> list[np.ndarray]:
        stops = generator.stops(voices.spoken, voices.spoken + hops * HOP_LENGTH)
        blocks = [voices.speak([stop] * streams, lambda _, span: _frames(span)) for stop in stops]
        return [np.concatenate(pieces) for pieces in zip(*blocks)]

    go_on(1)
    return go_on


@torch.no_grad()
def naive(model: MfccInverter, samples: int) -> np.ndarray:
    """The whole receptive field through the network again for every sample."""
    past = model.geometry.receptive_field
    codes = torch.full((1, past), silence(model.wavenet.embedding.num_embeddings))
    conditioning = _conditioning(model, samples)
    for sample in range(samples):
        logits = model.wavenet(codes[:, -past:], conditioning[:, sample : sample + past], 1)
        codes = torch.cat([codes, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return codes[0, past:].numpy()


@torch.no_grad()
def torch_loop(model: MfccInverter, samples: int) -> np.ndarray:
    """Every layer's past kept in torch tensors, one torch operation at a time."""
    wavenet, past = model.wavenet, model.geometry.receptive_field
    layers = list(wavenet.layers)
    rings = [torch.zeros((layer.kernel_size - 1) * layer.dilation, wavenet.embedding.embedding_dim) for layer in layers]
    code = torch.tensor(silence(wavenet.embedding.num_embeddings))
    codes = []
    for position, conditioning in enumerate(_conditioning(model, samples)[0]):
        x = wavenet.embedding(code)
        gated = []
        for layer, ring in zip(layers, rings):
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


def _frames(span: Span) -> np.ndarray:
    """Noise for frames, the same for every way."""
    return np.stack(
        [np.random.default_rng(abs(frame)).standard_normal(FRAME_CHANNELS) for frame in range(*span)]
    ).astype(np.float32)


def _conditioning(model: MfccInverter, samples: int) -> torch.Tensor:
    """(1, receptive_field - 1 + samples, C): of every position that the samples need."""
    geometry = model.geometry
    positions = geometry.input_span((0, samples))
    span = geometry.frame_span(positions)
    offset = torch.tensor([positions[0] - geometry.upsampled_span(span)[0]])
    return model.conditioning(
        torch.from_numpy(_frames(span))[None], offset, positions[1] - positions[0], torch.tensor([0])
    )


def _taps(model: MfccInverter) -> int:
    """Inputs of a layer's product that are taps, not conditioning."""
    return model.wavenet.layers[0].kernel_size * model.wavenet.embedding.embedding_dim


# --- what the machine allows ----------------------------------------------------------------------


def fastest(model: MfccInverter, streams: int, cores: int) -> float:
    """Samples per second if a step did nothing but read its weights, or multiply them, whichever takes longer.

    A step advances every stream by a sample. It reads every weight once, at the rate of a sum over as much memory,
    and multiplies each with every stream, at the rate of the loop's own product in the cache.
    """
    weights = _weights_in_step(model)
    part = weights // cores
    repeats, products = round(READ / part), round(MULTIPLICATIONS / (CACHED * streams))
    with ThreadPoolExecutor(cores) as pool:
        parts = [_ones(part) for _ in range(cores)]
        reading = seconds(lambda: list(pool.map(_read, parts, repeat(repeats)))) / repeats
        matrices = [_ones(CACHED // (COLUMNS * PANEL), COLUMNS, PANEL) for _ in range(cores)]
        vectors = np.ones((streams, COLUMNS), np.float32)
        out = np.zeros((cores, streams, CACHED // COLUMNS), np.float32)
        multiplying = seconds(lambda: list(pool.map(_multiply, out, matrices, repeat(vectors), repeat(products))))
    return streams / max(reading, multiplying / (products * CACHED) * part)


def _ones(*shape: int) -> np.ndarray:
    """As weights lie in memory; of memory that nobody has written to, all pages are one."""
    ones = room((np.float32, shape))
    ones[:] = 1
    return ones


@njit(nogil=True, fastmath=True)  # which lets a sum be taken in any order, and so fill registers
def _read(memory, repeats):
    total = np.float32(0)
    for _ in range(repeats):
        for index in range(memory.shape[0]):
            total += memory[index]
    return total


@njit(nogil=True)
def _multiply(out, panels, vectors, repeats):
    for _ in range(repeats):
        multiply(out, out, panels, vectors)


def _weights_in_step(model: MfccInverter) -> int:
    """Weights that every sample multiplies: not those of the conditioning, which is computed ahead."""
    wavenet = model.wavenet
    head = sum(linear.weight.numel() for linear in (wavenet.skip, wavenet.post, wavenet.logits))
    gates = sum(layer.gate.out_features * _taps(model) for layer in wavenet.layers)
    return head + gates + sum(layer.residual.weight.numel() for layer in wavenet.layers if layer.residual is not None)
