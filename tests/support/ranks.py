"""What two processes that torchrun starts do with small settings: trainings, an evaluation and what is refused.

    python -m torch.distributed.run --standalone --nproc-per-node=2 -m support.ranks FOLDER

All in one group, since starting takes longer than the rest. Process 0 writes what was found to FOLDER/found.json.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.evaluation.clips import clips
from mfcc_wavenet.evaluation.free_running import corpus_windows
from mfcc_wavenet.evaluation.held_out import quality
from mfcc_wavenet.evaluation.zero_error import measure
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models import mfcc_inverter
from mfcc_wavenet.modes import with_settings
from mfcc_wavenet.training import cost
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.distributed import ALONE, Ranks, joined
from support.corpora import folder_of
from support.settings import DEMO, OF_UNITS, SMALL, compose_settings
from support.training import CopiedAtStep, copied

STEPS, HALF = 12, 7  # in epochs of three batches, the last of which has one window, for one process alone
WARM = Sampling(0.8)
FEW = ("data.seconds=0.075", "window.samples=150", "window.batch_size=4", "train.sample_utterances=0")
FEW += ("optim.warmup_steps=0", "optim.learning_rate=0.01", "train.threads=1")
FEW += ("optim.clip_grad_norm=0.5", "optim.ema_decay=0.9", "train.device=cpu")
# Quantised after the fourth step, with codes revived after the sixth; not whitened, for which each would see others.
UNITS = (*OF_UNITS, "bottleneck=vqvae_ema64", "encoder.channels=8", "bottleneck.channels=4", "bottleneck.codes=3")
UNITS += ("bottleneck.quantise_from=4", "bottleneck.memory=16", "bottleneck.revive_below=0.9", "bottleneck.decay=0.9")
UNITS += ("bottleneck.revive_interval=6", "bottleneck.normalise=false")
# What is revived is one of the latents that differ, and how many those are is decided by their last bits.
KEPT = (*UNITS, "bottleneck.revive_interval=0")

# A rate that the network does not survive.
RETURNING = ("train.evaluate_interval=3", "train.evaluate_below=2", "train.return_to_best=1.1")
RETURNING += ("optim.schedule=step", "optim.milestones=[6]", "optim.milestone_factors=[100]")

# Of three utterances, of which two are held out.
VALIDATED = ("data.seconds=null", "data.valid=0.4", "data.split_seed=5", "train.validate_interval=5")
VALIDATED += ("train.evaluate_interval=0",)


def settings(folder: Path, *overrides: str, steps: int = STEPS) -> Settings:
    return compose_settings(
        *SMALL, *FEW, f"data.prepared={folder / 'prepared'}", f"train.steps={steps}", "train.log_interval=1", *overrides
    )


def train(
    folder: Path, name: str, ranks: Ranks, *overrides: str, steps: int = STEPS, copied_at: int = STEPS,
    start: Path | None = None,
) -> Chassis:  # fmt: skip
    """A run in folder/name, which copies its checkpoint at a step; start: the checkpoint that it continues."""
    chosen = settings(folder, *overrides, f"train.checkpoint_interval={copied_at}", steps=steps)
    begun = ranks.of_first(lambda: with_settings(checkpoints.load(start), chosen)) if start else None
    chassis = CopiedAtStep(chosen, folder / name, copied_at, begun, ranks)
    chassis.train()
    return chassis


def refusal(ranks: Ranks, action: Callable[[], object]) -> list[str]:
    """What each process is refused with."""
    try:
        action()
        sentence = ""
    except UserError as error:
        sentence = str(error)
    return ranks.gather(sentence)


def main(folder: Path) -> None:
    found = {}
    cost.MEASURED_SECONDS = 0.0  # so that these short runs tell their speed, too
    mfcc_inverter.WHITENED_WINDOWS = 40
    with joined("cpu") as ranks:
        train(folder, "two", ranks, "train.sample_utterances=2", "train.sample_seconds=0.02", copied_at=3)
        train(folder, "parts", ranks, "train.accumulation=2")
        whitening = train(folder, "whitened", ranks, "upsampling.frame_whitening=true", steps=1)
        weights = whitening.model.state_dict().values()
        found["whitened"] = ranks.gather(sum(float(weight.double().sum()) for weight in weights))
        quantised = train(folder, "units", ranks, *UNITS, steps=9, copied_at=5)
        state = [tensor.double().flatten() for tensor in quantised.model.bottleneck.state_dict().values()]
        found["units"] = ranks.gather(torch.cat(state).tolist())
        train(folder, "units on", ranks, *KEPT, steps=9, start=copied(folder / "units"))
        jitter = "upsampling.jitter=0.3"
        train(folder, "whole", ranks, jitter, copied_at=HALF)
        train(folder, "resumed", ranks, jitter, start=copied(folder / "whole"))
        if ranks.leads:
            train(folder, "then alone", ALONE, steps=8, start=copied(folder / "two"))
        ranks.gather(None)
        train(folder, "two again", ranks, start=folder / "then alone" / "checkpoint.pt")

        chosen = settings(folder, f"data.root={folder_of(folder, 'a.wav', 'b.wav', 'c.wav')}", "data.seconds=null")
        measured = with_settings(checkpoints.load(folder / "two" / "checkpoint.pt"), chosen)
        found["measured"] = ranks.gather(measure(measured, ranks))
        heard = clips(corpus_windows(measured, ranks), chosen, 3, 0.2)
        found["quality"] = ranks.gather(quality(measured, heard, WARM, processes=ranks).results())

        validated = train(folder, "validated", ranks, f"data.root={folder / 'audio'}", *VALIDATED)
        found["validated"] = ranks.gather([row for row in validated.history if "valid_nats" in row])

        own = folder if ranks.leads else folder / "elsewhere"  # where best.pt is not
        returned = train(own, "returning", ranks, *RETURNING)
        found["returned"] = ranks.gather([row["step"] for row in returned.history if "returned_to" in row])
        found["returned weights"] = ranks.gather(
            [float(tensor.double().sum()) for tensor in returned.model.state_dict().values()]
        )

        odd = f"train.seed={ranks.rank}"
        found["settings"] = refusal(ranks, lambda: ranks.refuse_other_settings(settings(folder, odd)))
        audio = ("01_lighthouse.flac", "02_tea.flac")[ranks.rank]
        another = settings(folder, f"data.root={DEMO / audio}")
        found["corpus"] = refusal(ranks, lambda: Chassis(another, folder / "another", ranks=ranks))
        few = settings(folder, "window.batch_size=3", "train.accumulation=2")
        found["windows"] = refusal(ranks, lambda: ranks.refuse_too_few_windows(few))
        long = settings(folder, "window.samples=2000", "data.seconds=0.01")
        found["epoch"] = refusal(ranks, lambda: Chassis(long, folder / "long", ranks=ranks))
        if ranks.leads:
            checkpoints.save(folder / "measured.pt", measured)
            (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
