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
    """All that it takes to continue bit for bit, as plain tensors and containers.

    Of several processes, process 0's; metrics are those of all of them, and "ranks" is what each has of its own.
    """
    cuda = chassis.device.type == "cuda"
    own = {
        "metrics": chassis.metrics.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(chassis.device) if cuda else None,
    }
    ranks = chassis.ranks.gather(own)
    sums = {name: sum(one["metrics"]["sums"][name] for one in ranks) for name in chassis.metrics.SUMS}
    return {
        "weights": chassis.model.state_dict(),
        "optimizer": chassis.optimizer.state_dict()["state"],
        **own,
        "metrics": own["metrics"] | {"sums": sums},
        "ranks": ranks if len(ranks) > 1 else [],
        "position": asdict(chassis.position),
        "step": chassis.step,
        "bad_steps": int(chassis.bad_steps),
        "seconds": chassis.seconds,
        "history": chassis.history,
        "best": chassis.best,
        "rows_logged": count_rows(chassis.folder / HISTORY),
        "choices": chassis.choices,
        "run_id": chassis.run_id,
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
    restore_weights(chassis, checkpoint)
    training = checkpoint.training
    if training is None:
        return
    ranks, same_size = chassis.ranks, len(training["ranks"]) == chassis.ranks.size
    own = training["ranks"][ranks.rank] if same_size else training
    chassis.metrics.load_state_dict(own["metrics"])
    torch.set_rng_state(own["random"])
    if own["random_cuda"] is not None and chassis.device.type == "cuda":
        torch.cuda.set_rng_state(own["random_cuda"], chassis.device)
    if not same_size and not ranks.leads:  # process 0 has all sums so far, and the random state that was
        chassis.metrics.load_state_dict(own["metrics"] | {"sums": {}})
        ranks.scatter_random()
    chassis.position = Position(**training["position"])
    chassis.step = training["step"]
    chassis.is_untrained = chassis.step == 0
    chassis.bad_steps.fill_(training["bad_steps"])
    chassis.seconds = training["seconds"]
    chassis.history = training["history"]
    chassis.best = training["best"]
    chassis.rows_logged = training["rows_logged"]
    chassis.run_id = training["run_id"]
    if checkpoint.corpus != chassis.corpus.digest:
        print("The corpus is not the one that the checkpoint was trained on.", file=sys.stderr)


def restore_weights(chassis: "Chassis", checkpoint: Checkpoint) -> None:
    """Weights, averaged weights and the optimizer's moments."""
    training = checkpoint.training
    weights = checkpoint.weights if training is None else training["weights"]  # a pinned one's are a start
    checkpoints.load_weights(chassis.model, weights)
    if chassis.averaged is not None:
        checkpoints.load_weights(chassis.averaged, checkpoint.weights)
    if training is not None:
        groups = chassis.optimizer.state_dict()["param_groups"]
        chassis.optimizer.load_state_dict({"state": training["optimizer"], "param_groups": groups})
