"""What a checkpoint holds of a training, and how it is put back."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import HISTORY
from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint
from mfcc_wavenet.runs.history import count_rows

if TYPE_CHECKING:
    from mfcc_wavenet.training.chassis import Chassis


def of_training(chassis: "Chassis") -> dict[str, Any]:
    """All that it takes to continue bit for bit, as plain tensors and containers."""
    return {
        "weights": chassis.model.state_dict(),
        "optimizer": chassis.optimizer.state_dict()["state"],
        "metrics": chassis.metrics.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(chassis.device) if chassis.device.type == "cuda" else None,
        "position": asdict(chassis.position),
        "step": chassis.step,
        "bad_steps": int(chassis.bad_steps),
        "seconds": chassis.seconds,
        "history": chassis.history,
        "rows_logged": count_rows(chassis.folder / HISTORY),
        "choices": chassis.choices,
        "run_id": chassis.run_id,
        "corpus": chassis.corpus.digest,
    }


def restore(chassis: "Chassis", checkpoint: Checkpoint) -> None:
    """Puts the checkpoint's weights into the model, and the rest of its training state, if it has one, in its place.

    The learning rate and the optimizer's other numbers are the settings'; its moments are the checkpoint's.
    UserError where the state is damaged, or of another architecture.
    """
    try:
        _restore(chassis, checkpoint)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"The checkpoint cannot be resumed: its training state is damaged, or of another optimizer or version "
            f"({error})."
        ) from error


def _restore(chassis: "Chassis", checkpoint: Checkpoint) -> None:
    training = checkpoint.training
    weights = checkpoint.weights if training is None else training["weights"]  # a pinned one's are a start
    checkpoints.load_weights(chassis.model, weights)
    if chassis.averaged is not None:
        checkpoints.load_weights(chassis.averaged, checkpoint.weights)
    if training is None:
        return
    groups = chassis.optimizer.state_dict()["param_groups"]
    chassis.optimizer.load_state_dict({"state": training["optimizer"], "param_groups": groups})
    chassis.metrics.load_state_dict(training["metrics"])
    torch.set_rng_state(training["random"])
    if training["random_cuda"] is not None and chassis.device.type == "cuda":
        torch.cuda.set_rng_state(training["random_cuda"], chassis.device)
    chassis.position = Position(**training["position"])
    chassis.step = training["step"]
    chassis.bad_steps.fill_(training["bad_steps"])
    chassis.seconds = training["seconds"]
    chassis.history = training["history"]
    chassis.rows_logged = training["rows_logged"]
    chassis.run_id = training["run_id"]
    if training["corpus"] != chassis.corpus.digest:
        print("The corpus is not the one that the checkpoint was trained on.", file=sys.stderr)
