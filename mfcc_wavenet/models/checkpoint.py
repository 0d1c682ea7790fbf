"""Saving and loading: plain tensors and containers only, written so that a failure costs nothing.

A checkpoint is one file with everything that is needed to use the model (settings, speakers,
statistics, weights) and, unless it is pinned, to go on training bit for bit ("training").
"""

import hashlib
import os
import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import parse, plain
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data.mfcc import Statistics
from mfcc_wavenet.models.mfcc_inverter import MfccInverter

FORMAT = "mfcc_wavenet checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """A model and how it came to be."""

    settings: Settings
    speakers: tuple[str, ...]  # their order gives the indices of the embedding
    statistics: Statistics  # of the frames of the corpus that it was trained on
    weights: dict[str, torch.Tensor]  # the ones to use: averaged, if averaging is on
    training: dict[str, Any] | None  # None: a pinned checkpoint, which cannot go on training

    def model(self) -> MfccInverter:
        """The model with its weights, in evaluation mode; UserError if the weights are another architecture's."""
        model = MfccInverter.of(self.settings, len(self.speakers))
        load_weights(model, self.weights)
        return model.eval()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes under a temporary name and renames: the previous checkpoint is there until the new one is whole.

    Raises UserError if it cannot be written; the previous one is then untouched.
    """
    content = {
        "format": FORMAT,
        "settings": plain(checkpoint.settings),
        "speakers": list(checkpoint.speakers),
        "mean": torch.from_numpy(checkpoint.statistics.mean),
        "std": torch.from_numpy(checkpoint.statistics.std),
        "weights": checkpoint.weights,
        "training": checkpoint.training,
    }
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its zip writer
        if unfinished.is_file():
            unfinished.unlink()
        kept = "; the previous checkpoint there is whole" if path.is_file() else ""
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"The checkpoint {path} could not be written ({reason}){kept}.") from error


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint without running anything that it holds.

    Raises UserError, in one sentence, for a file that is missing, truncated, not a checkpoint of this
    project, or a pickle that carries code.
    """
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}.")
    if not zipfile.is_zipfile(path):  # as text and bare pickles are not, so that they are not even read
        raise UserError(f"{path} is truncated or no checkpoint at all.")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, about what is then refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is no checkpoint of this project: it is a pickle with more than tensors and plain values, "
            "which could run code, so it was not opened."
        ) from error
    except Exception as error:  # a damaged file can raise anything, an IndexError for instance
        raise UserError(f"{path} is damaged or no checkpoint at all.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is no checkpoint of this project (it lacks the mark {FORMAT!r}).")
    try:
        return Checkpoint(
            settings=parse(content["settings"]),
            speakers=tuple(content["speakers"]),
            statistics=Statistics(content["mean"].numpy(), content["std"].numpy()),
            weights=content["weights"],
            training=content["training"],
        )
    except (UserError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} has the mark of a checkpoint, but not its contents ({error}).") from error


def load_weights(model: MfccInverter, weights: dict[str, torch.Tensor]) -> None:
    """Puts the weights into the model; UserError names the first one that does not fit."""
    own = model.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        expected, found = (str(tuple(w[name].shape)) if name in w else "absent" for w in (own, weights))
        if expected != found:
            raise UserError(
                f"The checkpoint comes from another architecture: its {name} is {found}, "
                f"the settings ask for {expected}; take the checkpoint's settings, or begin anew with restart=true."
            )
    model.load_state_dict(weights)


def digest(path: Path) -> str:
    """SHA-256 of the file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
