"""Passes over the whole corpus while training: what is wrong, whether that is the end, and which pass was the best."""

from typing import TYPE_CHECKING, Any

from mfcc_wavenet.config.files import BEST, CHECKPOINT
from mfcc_wavenet.evaluation.teacher_forced import TeacherForced, teacher_forced
from mfcc_wavenet.evaluation.zero_error import certify
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs.history import samples_to_zero, score, worst_jump
from mfcc_wavenet.training.report import Report
from mfcc_wavenet.training.state import restore_weights

if TYPE_CHECKING:
    from mfcc_wavenet.training.chassis import Chassis


def evaluate(chassis: "Chassis", report: Report) -> TeacherForced:
    """A pass, which goes into history and onto the report."""
    measured = teacher_forced(chassis.evaluated_model, chassis.windows, chassis.ranks)
    seen = chassis.metrics.samples_seen
    chassis.history.append({"step": chassis.step, "samples_seen": seen, "wrong": measured.wrong})
    note_pass(chassis, measured)
    reached = score(chassis.history, measured.samples)
    report.evaluation(chassis.step, chassis.position.epochs, seen, measured, reached)
    return measured


def look_for_zero(chassis: "Chassis", report: Report) -> TeacherForced | None:
    """A pass. It is the end if nothing is wrong and generation repeats every sample."""
    measured = evaluate(chassis, report)
    return measured if chassis.settings.train.stop_at_zero and is_exact(chassis, measured) else None


def zero_of_before(chassis: "Chassis") -> TeacherForced | None:
    """The pass that ended this run, if it was stopped before its results were written; it is logged already."""
    last = chassis.history[-1] if chassis.history else {}
    if not chassis.settings.train.stop_at_zero or last.get("wrong") != 0 or last["step"] != chassis.step:
        return None
    measured = teacher_forced(chassis.evaluated_model, chassis.windows, chassis.ranks)
    return measured if is_exact(chassis, measured) else None


def is_exact(chassis: "Chassis", measured: TeacherForced) -> bool:
    """Nothing is wrong, and generation repeats every sample."""
    return certify(chassis.evaluated_model, chassis.windows, measured, chassis.ranks) == measured.samples


def results(chassis: "Chassis", measured: TeacherForced) -> dict[str, Any]:
    """Of a run, whose last pass this was."""
    return {
        "score": score(chassis.history, measured.samples),
        **measured.values(),
        "reproduced": certify(chassis.evaluated_model, chassis.windows, measured, chassis.ranks),
        "steps": chassis.step,
        "epochs": round(chassis.position.epochs, 3),
        "samples_seen": chassis.metrics.samples_seen,
        "samples_to_zero": samples_to_zero(chassis.history),
        "worst_jump": worst_jump(chassis.history),
        **results_of_best(chassis, measured.wrong),
        "seconds": round(chassis.seconds, 1),
        "seed": chassis.settings.train.seed,
    }


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

    def is_missing() -> bool:
        if chassis.best is None:
            path.unlink(missing_ok=True)  # of another run, which this one replaces
        return not (is_best(chassis) or path.is_file())

    if chassis.ranks.of_first(is_missing):
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
    restore_weights(chassis, checkpoints.load(chassis.folder / BEST))
    seen, to = chassis.metrics.samples_seen, chassis.best["step"]
    chassis.history.append({"step": chassis.step, "samples_seen": seen, "returned_to": to})
    return chassis.best
