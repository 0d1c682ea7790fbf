"""Passes while training, over the training part and over the valid one: which ends it, and which was the best."""

from typing import TYPE_CHECKING, Any

from mfcc_wavenet.config.files import BEST, CHECKPOINT
from mfcc_wavenet.data.prepared import splits
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.evaluation.latents import latent_figures
from mfcc_wavenet.evaluation.teacher_forced import TeacherForced, teacher_forced
from mfcc_wavenet.evaluation.zero_error import certify
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs.history import samples_to_zero, score, worst_jump
from mfcc_wavenet.runs.records import hardware
from mfcc_wavenet.training.report import Report
from mfcc_wavenet.training.state import restore_weights

if TYPE_CHECKING:
    from mfcc_wavenet.training.chassis import Chassis


def windows_to_validate_on(chassis: "Chassis", parts: dict[str, Corpus]) -> Windows | None:
    """Of the valid part, as much as train.validate_samples says; None where nothing is validated."""
    settings = chassis.settings
    if not settings.train.validate_interval:
        return None
    return chassis.windows.over(splits.some(parts[splits.VALID], settings.data, settings.train.validate_samples))


def evaluate(chassis: "Chassis", report: Report) -> TeacherForced:
    """A pass over everything that is trained on, which goes into history and onto the report."""
    measured = teacher_forced(chassis.evaluated_model, chassis.windows, chassis.ranks)
    seen = chassis.metrics.samples_seen
    chassis.history.append({"step": chassis.step, "samples_seen": seen, "wrong": measured.wrong})
    if chassis.valid is None:
        note_pass(chassis, {"wrong": measured.wrong, "margin": measured.margin})
    reached = score(chassis.history, measured.samples)
    report.evaluation(chassis.step, chassis.position.epochs, seen, measured, reached)
    return measured


def validate(chassis: "Chassis", report: Report) -> bool:
    """A pass over the valid part, which goes into history and onto the report. Whether it is the end."""
    measured = teacher_forced(chassis.evaluated_model, chassis.valid, chassis.ranks)
    seen, figures = chassis.metrics.samples_seen, {"valid_nats": measured.nats, "valid_error": measured.error}
    chassis.history.append({"step": chassis.step, "samples_seen": seen, **figures})
    note_pass(chassis, figures)
    report.validation(chassis.step, chassis.position.epochs, seen, measured)
    return is_out_of_patience(chassis)


def is_out_of_patience(chassis: "Chassis") -> bool:
    """Whether train.patience ends the training: so many passes over the valid part were made since the best one."""
    patience = chassis.settings.train.patience
    nats = [row["valid_nats"] for row in chassis.history if "valid_nats" in row]
    return patience is not None and bool(nats) and len(nats) - 1 - nats.index(min(nats)) >= patience


def is_worth_it(chassis: "Chassis") -> bool:
    """Whether the error of the latest row is low enough, by train.evaluate_below, for a pass to find none."""
    errors = [row["error"] for row in chassis.history if "error" in row]
    return bool(errors) and errors[-1] < chassis.settings.train.evaluate_below


def look_for_zero(chassis: "Chassis", report: Report) -> TeacherForced | None:
    """A pass. It is the end if nothing is wrong and generation repeats every sample."""
    measured = evaluate(chassis, report)
    return measured if chassis.settings.train.stop_at_zero and is_exact(chassis, measured) else None


def zero_of_before(chassis: "Chassis") -> TeacherForced | None:
    """The pass that ended this run, if it was stopped before its results were written; it is logged already."""
    is_zero = any(row.get("wrong") == 0 for row in _rows_of_this_step(chassis))
    if not chassis.settings.train.stop_at_zero or not is_zero:
        return None
    measured = teacher_forced(chassis.evaluated_model, chassis.windows, chassis.ranks)
    return measured if is_exact(chassis, measured) else None


def is_exact(chassis: "Chassis", measured: TeacherForced) -> bool:
    """Nothing is wrong, and generation repeats every sample."""
    return certify(chassis.evaluated_model, chassis.windows, measured, chassis.ranks) == measured.samples


def conclude(chassis: "Chassis", report: Report, zero: TeacherForced | None) -> dict[str, Any]:
    """The last passes of a run, as far as they were not just made, and what it came to.

    zero: the pass that ended it. A run that validates and makes no passes over what it is trained on, which may be
    hundreds of hours, makes none now: its results are of the valid part.
    """
    if is_out_of_patience(chassis):
        patience = chassis.settings.train.patience
        report.note(f"Training ended after {patience} passes over the valid part that were no better (train.patience).")
    if chassis.valid is not None and not any("valid_nats" in row for row in _rows_of_this_step(chassis)):
        validate(chassis, report)
    if chassis.valid is not None and not chassis.settings.train.evaluate_interval:
        return results(chassis, chassis.valid, teacher_forced(chassis.evaluated_model, chassis.valid, chassis.ranks))
    return results(chassis, chassis.windows, zero or evaluate(chassis, report))


def results(chassis: "Chassis", windows: Windows, measured: TeacherForced) -> dict[str, Any]:
    """Of a run, whose last pass was over these windows."""
    rate = chassis.settings.features.sample_rate
    return {
        "score": score(chassis.history, chassis.corpus.samples),
        **measured.values(),
        **latent_figures(chassis.evaluated_model, windows, measured.nats, rate, chassis.ranks),
        "reproduced": certify(chassis.evaluated_model, windows, measured, chassis.ranks),
        "split": splits.TRAIN if windows is chassis.windows else splits.VALID,
        "steps": chassis.step,
        "epochs": round(chassis.position.epochs, 3),
        "samples_seen": chassis.metrics.samples_seen,
        "samples_to_zero": samples_to_zero(chassis.history),
        "worst_jump": worst_jump(chassis.history),
        **results_of_best(chassis),
        "seconds": round(chassis.seconds, 1),
        "seed": chassis.settings.train.seed,
        "hardware": hardware(chassis.device),
    }


def temperature(chassis: "Chassis") -> float:
    """At which its model is to generate until mode=pin measures that: 0, greedily, what is reproduced or is to be.

    1 for a model that is judged by what is held out, and for an autoencoder, unless the latest whole pass found none
    wrong: greedily, such a model drones or falls silent.
    """
    wrong = [row["wrong"] for row in chassis.history if "wrong" in row]
    if wrong and not wrong[-1]:
        return 0.0
    return 1.0 if chassis.settings.data.held_out or chassis.model.encoder is not None else 0.0


# --- the best pass --------------------------------------------------------------------------------


def note_pass(chassis: "Chassis", figures: dict[str, float | int]) -> None:
    """Remembers the pass that has just been made, if it is better than any before: by the first of its figures.

    That is the nats of the valid part or, of a run that does not validate, the wrong samples of all that it is trained
    on. The next save() then writes it into a file of its own, and it has to come before the next step.
    """
    measure = next(iter(figures))
    if chassis.best is None or measure not in chassis.best or figures[measure] < chassis.best[measure]:
        chassis.best = {
            "step": chassis.step,
            "epochs": chassis.position.epochs,
            "samples_seen": chassis.metrics.samples_seen,
            **figures,
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


def results_of_best(chassis: "Chassis") -> dict[str, Any]:
    """What results say of the best pass, of the last one over the valid part, and of returns to the best."""
    best, measure = chassis.best, "wrong" if chassis.valid is None else "valid_nats"
    last = next(row for row in reversed(chassis.history) if measure in row)
    is_earlier = best is not None and best[measure] < last[measure]  # the last pass wins a draw
    of_valid = {} if chassis.valid is None else {name: last[name] for name in ("valid_nats", "valid_error")}
    return of_valid | {
        f"best_{measure}": best[measure] if is_earlier else last[measure],
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

    Step and learning rate, position, randomness and metrics continue, and history has a row of it. UserError if the
    file is gone or damaged.
    """
    restore_weights(chassis, chassis.ranks.of_first(lambda: checkpoints.load(chassis.folder / BEST)))
    seen, to = chassis.metrics.samples_seen, chassis.best["step"]
    chassis.history.append({"step": chassis.step, "samples_seen": seen, "returned_to": to})
    return chassis.best


def _rows_of_this_step(chassis: "Chassis") -> list[dict]:
    return [row for row in chassis.history if row["step"] == chassis.step]
