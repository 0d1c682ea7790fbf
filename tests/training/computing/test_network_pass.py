"""Precision and compilation: what they may change, what they may not, and what is refused."""

import json
import os
import subprocess
import sys

import pytest
import torch
from support.settings import ROOT, SMALL

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.evaluation.teacher_forced import teacher_forced
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.modes import with_settings
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.computing.network_pass import has_bfloat16, pick_compile, pick_precision

CPU = torch.device("cpu")
COMPILE, SEVEN = "train.compile=true", "train.steps=7"
NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
ROUNDING = 1e-4  # of float32, in sums of some hundred terms that are added in another order
ONE_COMPILER = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # others would each import torch first
QUICK = ("upsampling.jitter=0.2", "window.batch_size=3", "train.sample_utterances=0", "train.device=cpu")


def test_by_default_a_cpu_computes_in_float32_and_does_not_compile():
    assert pick_precision(None, CPU) == pick_precision("float32", CPU) == torch.float32
    assert pick_compile(None, CPU) is pick_compile(False, CPU) is False


@NEEDS_A_GPU
def test_by_default_a_gpu_computes_in_bfloat16():
    gpu = torch.device("cuda")
    assert pick_precision(None, gpu) == (torch.bfloat16 if has_bfloat16(gpu) else torch.float32)
    assert pick_precision("float32", gpu) == torch.float32


@pytest.mark.skipif(not has_bfloat16(CPU), reason="a CPU without bfloat16")
def test_bfloat16_is_in_the_products_alone(small, tmp_path):
    """Logits differ from float32's by its rounding; logits, gradients, weights and moments are float32."""
    settings = ("train.device=cpu", "window.batch_size=2", "upsampling.jitter=0")
    exact, rounded = (
        Chassis(small(*settings, f"train.precision={name}"), tmp_path / name) for name in ("float32", "bfloat16")
    )
    batch = next(exact._batches(Position()))
    logits, of_rounded = (chassis.network_pass(batch).pred for chassis in (exact, rounded))
    assert logits.dtype == of_rounded.dtype == torch.float32
    assert 0 < (logits - of_rounded).abs().max() < 0.02 * logits.abs().max()
    rounded.training_step(iter([batch]))
    moments = [value for state in rounded.optimizer.state_dict()["state"].values() for value in state.values()]
    gradients = [parameter.grad for parameter in rounded.model.parameters()]
    for tensor in [*moments, *gradients, *rounded.model.state_dict().values()]:
        assert tensor.dtype == torch.float32


@pytest.mark.skipif(not has_bfloat16(CPU), reason="a CPU without bfloat16")
def test_evaluation_is_float32_whatever_training_was(small, tmp_path):
    """The same weights have the same nats and margin to the last bit, also under a caller's autocast."""
    chassis = Chassis(small("train.device=cpu", "train.precision=bfloat16"), tmp_path)
    measured = teacher_forced(chassis.model, chassis.windows)
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher_forced(chassis.model, chassis.windows) == measured
        chassis.model.double()
        in_float64 = teacher_forced_in_float64(chassis)
    assert measured.nats == pytest.approx(in_float64, abs=1e-6)


def teacher_forced_in_float64(chassis: Chassis) -> float:
    """Nats per sample of a model in float64."""
    total = 0.0
    for batch in chassis.windows.whole(0, chassis.windows.corpus.samples):
        model = chassis.model.eval()
        past, target = batch.codes[:, :-1], batch.codes[:, model.geometry.receptive_field :]
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            logits = model.wavenet(past, conditioning_in_float64(model, batch, past), target.shape[1])
        total += torch.nn.functional.cross_entropy(logits[0], target[0]).item()
    return total


def conditioning_in_float64(model, batch, past) -> torch.Tensor:
    upsampled = model.upsampling(batch.frames.double())
    start = int(batch.offsets)
    return upsampled[:, start : start + past.shape[1]]


@pytest.mark.skipif(not has_bfloat16(CPU), reason="a CPU without bfloat16")
def test_resuming_is_exact_in_bfloat16(small, tmp_path):
    """12 steps are 7 and 5 after a load, bit for bit; the weights in the checkpoint are float32."""
    settings = (*QUICK, "train.precision=bfloat16", "train.steps=12")
    whole = Chassis(small(*settings), tmp_path / "whole")
    whole.train()
    first = Chassis(small(*settings, SEVEN), tmp_path / "first")
    first.train()
    checkpoint = checkpoints.load(first.checkpoint_path)
    assert all(weight.dtype == torch.float32 for weight in checkpoint.training["weights"].values())
    resumed = Chassis(small(*settings), tmp_path / "resumed", with_settings(checkpoint, small(*settings)))
    resumed.train()
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_A_GPU, id="gpu")])
def test_compiled_training(tmp_path, device):
    """Resumes bit for bit, in one graph, is the network that it is without, and changes no name in a checkpoint."""
    command = [sys.executable, "-m", "support.compiled", str(tmp_path), device]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"} | ONE_COMPILER
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if "torch.compile does not work on" in done.stderr:  # said before anything of ours is compiled
        pytest.skip("no C++ compiler, or no Python headers")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["equal"] and found["resumed"] == 5 and found["epochs"] > 1 and found["smaller"] > 0
    assert found["same_names"] and found["graph_breaks"] == found["waits"] == 0
    assert found["logits"] < ROUNDING and found["gradients"] < ROUNDING


def test_padded_windows_count_for_nothing(small, tmp_path):
    """Loss and gradients of a batch that was padded are those of the batch."""
    chassis = Chassis(small("train.device=cpu", "window.batch_size=2"), tmp_path)
    batch = next(chassis._batches(Position()))
    padded = batch.padded(5)
    assert len(padded.mask) == 5 and padded.after == batch.after and batch.padded(2) is batch
    losses, gradients = [], []
    for one in (batch, padded):
        chassis.model.zero_grad()
        losses.append(chassis.model.objective(chassis.network_pass(one), 0))
        losses[-1].backward()
        gradients.append([parameter.grad.clone() for parameter in chassis.model.parameters()])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)


def test_compiling_without_a_compiler_is_one_sentence(tmp_path):
    """Before training starts, and before the corpus is prepared."""
    command = [sys.executable, str(ROOT / "run.py"), *SMALL, COMPILE, "train.device=cpu", "runs=runs", "name=mine"]
    nothing_yet = {"CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    environment = os.environ | nothing_yet | ONE_COMPILER
    done = subprocess.run(
        [*command, "data.prepared=prepared"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert sentence.startswith("train.compile=true: torch.compile does not work on this CPU (")
    assert "needs a C++ compiler" in sentence and "train.compile=false does without" in sentence
    assert "Traceback" not in done.stderr and not (tmp_path / "prepared").exists()


def test_a_cpu_without_bfloat16_is_refused_it():
    """oneDNN is told to use what a processor of 2013 has; it reads that when it is loaded."""
    program = (
        "import torch; from mfcc_wavenet.config.errors import UserError\n"
        "from mfcc_wavenet.training.computing.network_pass import pick_precision\n"
        "try: pick_precision('bfloat16', torch.device('cpu'))\n"
        "except UserError as error: print(error)"
    )
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == (
        "train.precision=bfloat16: this CPU has no bfloat16 arithmetic; train.precision=float32 works.\n"
    )


@pytest.mark.parametrize(("value", "words"), [("bf16", "there are float32, bfloat16"), ("16", "float32, bfloat16")])
def test_other_precisions_are_refused(small, value, words):
    with pytest.raises(UserError, match=words):
        small(f"train.precision={value}")
