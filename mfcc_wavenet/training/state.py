"""What a checkpoint holds of a training, and how it is put back."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import BEST, CHECKPOINT, HISTORY
from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.evaluation.teacher_forced import TeacherForced
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
        "best": chassis.best,
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
    _restore_weights(chassis, checkpoint)
    training = checkpoint.training
    if training is None:
        return
    chassis.metrics.load_state_dict(training["metrics"])
    torch.set_rng_state(training["random"])
    if training["random_cuda"] is not None and chassis.device.type == "cuda":
        torch.cuda.set_rng_state(training["random_cuda"], chassis.device)
    chassis.position = Position(**training["position"])
    chassis.step = training["step"]
    chassis.bad_steps.fill_(training["bad_steps"])
    chassis.seconds = training["seconds"]
    chassis.history = training["history"]
    chassis.best = training["best"]
    chassis.rows_logged = training["rows_logged"]
    chassis.run_id = training["run_id"]
    if training["corpus"] != chassis.corpus.digest:
        print("The corpus is not the one that the checkpoint was trained on.", file=sys.stderr)


def _restore_weights(chassis: "Chassis", checkpoint: Checkpoint) -> None:
    """Weights, averaged weights and the optimizer's moments."""
    training = checkpoint.training
    weights = checkpoint.weights if training is None else training["weights"]  # a pinned one's are a start
    checkpoints.load_weights(chassis.model, weights)
    if chassis.averaged is not None:
        checkpoints.load_weights(chassis.averaged, checkpoint.weights)
    if training is not None:
        groups = chassis.optimizer.state_dict()["param_groups"]
        chassis.optimizer.load_state_dict({"state": training["optimizer"], "param_groups": groups})


# --- the best pass --------------------------------------------------------------------------------


def note_pass(chassis: "Chassis", measured: TeacherForced) -> None:
    """Remembers the pass over everything that has just been made, if fewer samples were wrong than in any before.

    The next save() then writes it into a file of its own, and it has to come before the next step.
    """
    if chassis.best is None or measured.wrong < chassis.best["wrong"]:
        chassis.best = {
            "step": chassis.step,
            "epochs": chassis.position.epochs,
            "samples_seen": chassis.metrics.samples_seen,
            "wrong": measured.wrong,
            "margin": measured.margin,
            "loss": next((row["loss"] for row in reversed(chassis.history) if "loss" in row), None),
        }


def is_best(chassis: "Chassis") -> bool:
    """Whether the best pass was made at this very step: what is saved now is its checkpoint."""
    return chassis.best is not None and chassis.best["step"] == chassis.step


def match_best_file(chassis: "Chassis") -> None:
    """Before a run begins or resumes: what its folder holds as the best pass is the checkpoint's, or there is none.

    A run saves at its best pass, first its checkpoint and then the best one. So no checkpoint is older than the file
    that belongs to it; the one that a kill left without its file is of that very step, and saving it again writes both.
    """
    path = chassis.folder / BEST
    if chassis.best is None:
        path.unlink(missing_ok=True)  # of another run, which this one replaces
    elif not (is_best(chassis) or path.is_file()):
        chassis.best = None  # somebody removed it, or it stayed in another folder


def results_of_best(chassis: "Chassis", wrong: int) -> dict[str, Any]:
    """What results say of the best pass and of returns to it; wrong: samples of the last pass, which wins a draw."""
    best = chassis.best
    is_earlier = best is not None and best["wrong"] < wrong
    return {
        "best_wrong": best["wrong"] if is_earlier else wrong,
        "best_step": best["step"] if is_earlier else chassis.step,
        "best_checkpoint": BEST if is_earlier else CHECKPOINT,
        "returns": sum("returned_to" in row for row in chassis.history),
    }


def is_far_from_best(chassis: "Chassis", loss: float | None) -> bool:
    """Whether train.return_to_best asks for the best pass, given the loss of the row that has just been logged."""
    factor, best = chassis.settings.train.return_to_best, chassis.best
    if factor is None or best is None or best["loss"] is None or loss is None:
        return False
    return loss > factor * best["loss"]


def return_to_best(chassis: "Chassis") -> dict[str, Any]:
    """Weights, averaged weights and moments become those of the best pass, whose figures are returned.

    Step and learning rate, position, randomness and metrics go on, and history has a row of it. UserError if the
    file is gone or damaged.
    """
    _restore_weights(chassis, checkpoints.load(chassis.folder / BEST))
    seen, to = chassis.metrics.samples_seen, chassis.best["step"]
    chassis.history.append({"step": chassis.step, "samples_seen": seen, "returned_to": to})
    return chassis.best
