"""Generation on a GPU is that on the CPU. The kernel's source also runs on a processor, one thread to a block."""

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.architectures import (
    ARCHITECTURE,
    FOLDER,
    LENGTHS,
    Architecture,
    architectures,
    examples,
    random_type_checks,
    windows,
)
from support.settings import DEMO, ROOT

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.mulaw import encode, silence
from mfcc_wavenet.generation.cpu.conditioning import Conditioner
from mfcc_wavenet.generation.generator import Generator
from mfcc_wavenet.generation.gpu.sample_loop import SOURCE, shared_bytes, sizes
from mfcc_wavenet.generation.gpu.weights import pack_weights
from mfcc_wavenet.generation.inverter import Inverter

pytestmark = random_type_checks
CPU, GPU = torch.device("cpu"), torch.device("cuda")
NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
SAMPLES = 60
SAMPLINGS = st.sampled_from([Sampling(), Sampling(0.7, seed=1), Sampling(2.0, 3, seed=2)])


@cache
def library() -> ctypes.CDLL:
    """The kernel's source for this processor."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    folder = Path(mkdtemp(dir=FOLDER.name))
    source = f'#include "{ROOT}/tests/support/cuda_emulation.hpp"\n#include "{SOURCE}"\n'
    (folder / "loop.cpp").write_text(source + 'extern "C" void set_block(int block) { blockIdx.x = block; }\n')
    command = [compiler, "-O1", "-w", "-shared", "-fPIC", "-o", folder / "loop.so", folder / "loop.cpp"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "loop.so"))


def emulated(architecture: Architecture, batch: list[int], sampling: Sampling, block: int) -> list[np.ndarray]:
    """The codes of a batch of utterances, in blocks of that many samples; the first starts with the silence."""
    model, some = architecture.model(), windows(architecture)
    weights, projection = pack_weights(model.wavenet, CPU)
    numbers = sizes(weights, model.wavenet.layers[0].kernel_size)
    assert shared_bytes(numbers) <= 16 * 2**16
    conditioner, random = Conditioner(model), [np.random.default_rng(sampling.seed) for _ in batch]
    last = torch.full((len(batch),), silence(architecture.wavenet.quantization_channels), dtype=torch.int32)
    rings = torch.zeros(len(batch), int(weights.ring_starts[-1]), weights.embedding.shape[1])
    blocks, position = [], 0
    while position < SAMPLES:
        first, stop = position or model.geometry.input_span((0, 1))[0], min(position + block, SAMPLES)
        conditioning = np.stack(
            [_conditioning(conditioner, some, utterance, (first, stop)) for utterance in batch]
        )  # B, positions, D
        projected = torch.nn.functional.linear(torch.from_numpy(conditioning), *projection).contiguous()
        uniforms = torch.zeros(len(batch), stop - first, dtype=torch.float64)
        uniforms[:, position - first :] = torch.from_numpy(np.stack([r.random(stop - position) for r in random]))
        codes = torch.zeros(len(batch), stop - first, dtype=torch.int32)
        tensors = [*weights, projected, uniforms, rings, last, codes]
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
        integers = [ctypes.c_int(number) for number in (*numbers, stop - first, first)]
        temperature = ctypes.c_double(sampling.temperature)
        for utterance in range(len(batch)):
            library().set_block(utterance)
            library().sample_loop(*pointers, *integers, temperature, ctypes.c_int(sampling.top_k))
        blocks.append(codes[:, position - first :].numpy())
        position = stop
    return list(np.concatenate(blocks, axis=1))


def _conditioning(conditioner: Conditioner, some, utterance: int, span: tuple[int, int]) -> np.ndarray:
    frames = some.frames(utterance)
    start, stop = conditioner.geometry.latent_span(span)
    return conditioner(frames[np.arange(start, stop).clip(0, len(frames) - 1)], some.speaker_index[utterance], span)


@examples(12)
@given(architecture=architectures(), sampling=SAMPLINGS, block=st.integers(7, SAMPLES))
def test_the_kernel_generates_what_the_cpu_generates(architecture, sampling, block):
    """Greedy or sampled, in blocks of any length, utterances of several speakers next to each other.

    Sums are added up in another order, which may tip a near tie: what follows it is another past, and not compared.
    """
    generator, some = Generator(architecture.model()), windows(architecture)
    batch = list(range(len(LENGTHS)))
    for utterance, codes in zip(batch, emulated(architecture, batch, sampling, block), strict=True):
        expected = generator.generate(some.frames(utterance), some.speaker_index[utterance], SAMPLES, sampling)
        different = np.flatnonzero(codes != expected)
        assert len(different) == 0 or different[0] > SAMPLES // 3


def test_it_is_batch_invariant():
    alone = [emulated(ARCHITECTURE, [utterance], Sampling(1.0), 25)[0] for utterance in (0, 1)]
    for one, other in zip(alone, emulated(ARCHITECTURE, [0, 1], Sampling(1.0), 60), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nvrtc_compiles_the_kernel():
    """For the oldest GPUs that torch knows and for newer ones; that needs the CUDA libraries, and no GPU."""
    utilities = pytest.importorskip("torch.cuda._utils")
    try:
        utilities._get_gpu_rtc_library()
    except OSError:
        pytest.skip("no NVRTC")
    for capability in ("80", "90"):
        binary, name = utilities._nvrtc_compile(SOURCE.read_text(), "sample_loop", compute_capability=capability)
        assert len(binary) > 1000 and name == "sample_loop"


@NEEDS_A_GPU
def test_the_pinned_sentence_is_exact_on_a_gpu():
    """Alone, and in a batch with parts of itself: every code is the CPU's, and the true one."""
    audio, rate = soundfile.read(DEMO / "01_lighthouse.flac", dtype="float32")
    inverter = Inverter.from_experiment("baseline_adam", device="cuda")
    audio = audio[:53_360]
    mfcc = inverter.features(audio, rate)
    (codes,) = inverter.invert_codes([mfcc], samples=[len(audio)])
    np.testing.assert_array_equal(codes, encode(audio, 256))
    parts = [mfcc[:, :100], mfcc, mfcc[:, :30]]
    on_cpu = Inverter.from_experiment("baseline_adam").invert_codes(parts)
    for mine, theirs in zip(inverter.invert_codes(parts), on_cpu, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@NEEDS_A_GPU
@examples(8)
@given(architecture=architectures(), sampling=SAMPLINGS)
def test_any_architecture_on_a_gpu(architecture, sampling):
    """As on a processor, with many threads."""
    some, generators = windows(architecture), [Generator(architecture.model(), device=device) for device in (CPU, GPU)]
    frames = [some.frames(utterance) for utterance in range(len(LENGTHS))]
    expected, codes = (
        g.generate_all(frames, some.speaker_index, [SAMPLES] * len(frames), sampling) for g in generators
    )
    for mine, theirs in zip(codes, expected, strict=True):
        different = np.flatnonzero(mine != theirs)
        assert len(different) == 0 or different[0] > SAMPLES // 3


@pytest.mark.parametrize("name", ["cuda:999", "abacus", "meta"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match=f"device={name}: samples are generated on cpu, or on cuda"):
        Inverter.from_experiment("baseline_adam", device=name)
