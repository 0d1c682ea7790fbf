"""Training with torch.compile, which cannot see through the checks of shapes: a program without them.

`python -m support.compiled FOLDER DEVICE` prints one line of JSON.
"""

import json
import sys
from pathlib import Path

import torch

from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.training.chassis import Chassis
from support.settings import SMALL, compose_settings
from support.training import CopiedAtStep, copied

STEPS, PART = 12, 7


def main(folder: Path, device: str) -> dict[str, bool | float | int]:
    """What is equal to what, over the end of an epoch whose last batch is a smaller one."""
    torch.set_num_threads(1)
    whole = CopiedAtStep(settings(folder, device), folder / "whole", PART)
    whole.train()
    checkpoint = checkpoints.load(copied(whole.folder))
    resumed = Chassis(checkpoint.settings, folder / "resumed", checkpoint)
    resumed.train()
    ours, theirs = whole.model.state_dict(), resumed.model.state_dict()
    eager = Chassis(settings(folder, device, "train.compile=false"), folder / "eager")
    return {
        "resumed": resumed.step - PART,
        "equal": all(torch.equal(weight, theirs[name]) for name, weight in ours.items()),
        "epochs": whole.position.epoch,
        "smaller": len(whole.windows.epoch(0)) % whole.settings.window.batch_size,
        "same_names": checkpoint.weights.keys() == eager.model.state_dict().keys(),
        "graph_breaks": sum(torch._dynamo.utils.counters["graph_break"].values()),
        "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],
        **differences(eager, whole),
        "waits": waits(whole) if device == "cuda" else 0,
    }


def settings(folder: Path, device: str, *overrides: str) -> Settings:
    """Two layers, which are compiled in time; with jitter on a GPU alone, for which they are compiled once more."""
    return compose_settings(
        *SMALL, f"data.prepared={folder / 'prepared'}", "train.compile=true", f"train.device={device}",
        "train.precision=float32", "window.samples=500", "window.batch_size=3", "wavenet.speaker_channels=2",
        "wavenet.blocks=1", "wavenet.layers_per_block=2",
        f"upsampling.jitter={0.2 if device == 'cuda' else 0}", "train.sample_utterances=0", f"train.steps={STEPS}",
        f"train.checkpoint_interval={PART}", *overrides,
    )  # fmt: skip


def differences(eager: Chassis, compiled: Chassis) -> dict[str, float]:
    """Of the logits and of the gradients' norm of a batch, the weights being the same, without jitter, relative."""
    eager.model.load_state_dict(compiled.model.state_dict())
    batch = next(eager._batches(Position()))
    found = []
    for chassis in (eager, compiled):
        chassis.model.jitter = 0.0
        _, predictions, scalars = chassis.loss_fn(iter([batch]), logged=True)
        found.append((predictions.pred.detach(), scalars["grad_norm"]))
    (logits, norm), (others, other_norm) = found
    return {
        "logits": float((logits - others).abs().max() / logits.abs().max()),
        "gradients": float((norm - other_norm).abs() / norm),
    }


def waits(chassis: Chassis) -> int:
    """Steps that torch says wait for the GPU, the first ones apart."""
    batches = chassis._batches(Position())
    for _ in range(2):
        chassis.training_step(batches)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(4):
            chassis.training_step(batches)
    except RuntimeError:
        return 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return 0


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
