"""Saving and loading: plain tensors and containers only, written so that a failure costs nothing.

A checkpoint is one file with everything that is needed to use the model (settings, speakers,
statistics, weights) and, unless it is pinned, to continue training bit for bit ("training").
Files of every format that was ever pinned load: each is upgraded to the next one, step by step.
"""

import hashlib
import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import replacing
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.parse import parse, plain
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data.statistics import Statistics
from mfcc_wavenet.models.base import Model
from mfcc_wavenet.models.build import build_model

MARK = "mfcc_wavenet checkpoint"
FORMAT = 7  # raise it when the layout or the meaning of what is in a file changes, and add an upgrade


@dataclass(frozen=True)
class Checkpoint:
    """A model and how it came to be."""

    settings: Settings
    speakers: tuple[str, ...]  # their order gives the indices of the embedding
    statistics: Statistics  # of the frames of the corpus that it was trained on
    weights: dict[str, torch.Tensor]  # the ones to use: averaged, if averaging is on; float32
    training: dict[str, Any] | None  # None: a pinned checkpoint, which cannot continue training
    corpus: str | None = None  # the digest of the prepared corpus that it was trained on; None: it is not known
    temperature: float = 0.0  # at which it generates best, as far as that is known; 0: greedily

    @property
    def geometry(self) -> Geometry:
        """Of its model."""
        return Geometry.of(
            self.settings.features, self.settings.encoder, self.settings.upsampling, self.settings.wavenet
        )

    def model(self) -> Model:
        """The model with its weights, in evaluation mode; UserError if the weights are another architecture's."""
        model = build_model(self.settings, self.geometry, len(self.speakers))
        load_weights(model, self.weights)
        return model.eval()


def save(path: Path, checkpoint: Checkpoint, weights: torch.dtype = torch.float32) -> None:
    """Writes the file whole or not at all: the previous checkpoint is there until the new one is.

    weights: the type in which the weights are stored; loading makes float32 of them again.
    Raises UserError if it cannot be written; the previous one is then untouched.
    """
    content = {
        "format": f"{MARK} {FORMAT}",
        "settings": plain(checkpoint.settings),
        "speakers": list(checkpoint.speakers),
        "mean": torch.from_numpy(checkpoint.statistics.mean),
        "std": torch.from_numpy(checkpoint.statistics.std),
        "weights": in_type(checkpoint.weights, weights),
        "training": checkpoint.training,
        "corpus": checkpoint.corpus,
        "temperature": checkpoint.temperature,
    }
    try:
        with replacing(path) as unfinished, open(unfinished, "wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its zip writer
        kept = "; the previous checkpoint there is whole" if path.is_file() else ""
        causes = [one.strerror for one in (error, error.__context__) if isinstance(one, OSError)]
        reason = next(filter(None, causes), "the disk may be full")
        raise UserError(f"The checkpoint {path} could not be written ({reason}){kept}.") from error


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint without running anything that it holds.

    Raises UserError, in one sentence, for a file that is missing, truncated, not a checkpoint of this
    project, of a newer format, or a pickle that carries code.
    """
    content = _upgraded(path, _read(path))
    try:
        _refuse_nested(content["settings"])
        settings = parse(content["settings"])
        _refuse_useless(content, settings.features.channels)
        checkpoint = Checkpoint(
            settings=settings,
            speakers=tuple(content["speakers"]),
            statistics=Statistics(content["mean"].numpy(), content["std"].numpy()),
            weights=in_type(content["weights"], torch.float32),
            training=content["training"],
            corpus=content["corpus"],
            temperature=Sampling(content["temperature"]).temperature,
        )
    except (UserError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{path} has the mark of a checkpoint, but not its contents ({reason}).") from error
    return checkpoint


def in_type(weights: dict[str, torch.Tensor], kind: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights in that type; what counts something stays as it is."""
    return {name: one.to(kind) if one.is_floating_point() else one for name, one in weights.items()}


def _refuse_nested(settings: Any) -> None:
    """ValueError for what is not groups of plain values: nested deep enough, it would take for ever to walk through."""
    values = [value for group in settings.values() for value in group.values()]
    entries = [entry for value in values for entry in (value if isinstance(value, list) else [value])]
    if not all(entry is None or isinstance(entry, str | int | float) for entry in entries):
        raise ValueError("its settings are not plain values")


def _refuse_useless(content: dict[str, Any], channels: int) -> None:
    """ValueError for values that would make noise of everything, without a word."""
    speakers, training = content["speakers"], content["training"]
    if not speakers or not all(isinstance(speaker, str) for speaker in speakers):
        raise ValueError("it names no speakers")
    for name in ("mean", "std"):
        if content[name].shape != (channels,) or not content[name].isfinite().all():
            raise ValueError(f"its {name} is not a finite number for each of {channels} channels")
    if not (content["std"] > 0).all():
        raise ValueError("its std is not above 0")
    for name, weight in content["weights"].items():
        if not weight.isfinite().all():
            raise ValueError(f"its weight {name} is not finite")
    if training is not None and not isinstance(training, dict):
        raise ValueError("its training state is not a mapping")
    if not isinstance(content["corpus"], str | None):
        raise ValueError("its corpus is not a digest")


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}.")
    try:
        if not zipfile.is_zipfile(path):  # as text and bare pickles are not, so that they are not even read
            raise UserError(f"{path} is truncated or not a checkpoint.")
    except OSError as error:
        raise UserError(f"The checkpoint {path} cannot be read ({error.strerror}).") from error
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise UserError(f"{path} is not a checkpoint of this project: it would grow when it is read.")
        with warnings.catch_warnings(action="ignore"):  # torch's, about what is then refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a checkpoint of this project: it is a pickle with more than tensors and plain values, "
            "which could run code, so it was not opened."
        ) from error
    except Exception as error:  # a damaged file can raise anything, an IndexError for instance
        raise UserError(f"{path} is damaged or not a checkpoint.") from error


def _upgraded(path: Path, content: Any) -> dict[str, Any]:
    """The content as the newest format has it."""
    mark, _, number = str(content.get("format") if isinstance(content, dict) else "").rpartition(" ")
    if mark != MARK or not number.isdigit():
        raise UserError(f"{path} is not a checkpoint of this project (it lacks the mark {MARK!r}).")
    if int(number) not in [*UPGRADES, FORMAT]:
        raise UserError(
            f"{path} has the format {number}, but this version of the project reads the formats up to {FORMAT}."
        )
    for older in range(int(number), FORMAT):
        try:
            UPGRADES[older](content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} has the mark of a checkpoint, but not its contents ({error}).") from error
    return content


def _from_1_to_2(content: dict[str, Any]) -> None:
    """A setting was renamed, averages do not count steps, metrics have names, and a run knows its rows and choices."""
    train = content["settings"]["train"]
    train["max_bad_steps"] = train.pop("most_bad_steps")
    if content["training"] is not None:
        del content["training"]["averaged_steps"]
        content["training"] |= {"choices": None, "rows_logged": None}
        metrics, names = content["training"]["metrics"], ("count", "nats", "errors", "prob_target", "max", "peak_dist")
        metrics["sums"] = dict(zip(names, metrics["sums"].tolist()))


def _from_2_to_3(content: dict[str, Any]) -> None:
    """New settings: what was done before they could be set, by one process. The best pass was not kept."""
    content["settings"]["train"] |= {"precision": "float32", "compile": False, "accumulation": 1}
    content["settings"]["train"] |= {"return_to_best": None}
    if content["training"] is not None:
        content["training"] |= {"best": None, "ranks": []}
    content["settings"]["wavenet"] |= {"prediction": "none", "prediction_order": 16, "difference_target": False}
    content["settings"]["upsampling"] |= {"frame_gain": 1.0, "frame_whitening": False}
    content["settings"]["optim"] |= {"muon_learning_rate": 0.02, "muon_momentum": 0.95}
    tracking = content["settings"]["tracking"]  # where these were nobody's choice, W&B's variables count now
    for name, default in (("project", "mfcc_wavenet"), ("dir", ".")):
        if tracking[name] == default:
            tracking[name] = None


def _from_3_to_4(content: dict[str, Any]) -> None:
    """There are three kinds of classes instead of two, and whitened frames are centred."""
    wavenet, upsampling = content["settings"]["wavenet"], content["settings"]["upsampling"]
    wavenet["classes"] = "differences" if wavenet.pop("difference_target") else "codes"
    if upsampling["frame_whitening"]:
        weights = [content["weights"]] + ([content["training"]["weights"]] if content["training"] else [])
        for held in weights:
            held["upsampling.frame_mean"] = torch.zeros(upsampling["frame_channels"][-1])


def _from_4_to_5(content: dict[str, Any]) -> None:
    """New settings: what was done before they could be set. The corpus is known without the training state, too.

    Generation was greedy.
    """
    content["settings"]["data"] |= {"valid": 0.0, "test": 0.0, "split_by": "utterance", "split_seed": 0}
    content["settings"]["data"] |= {"corpus": None, "subsets": None, "workers": None}
    content["settings"]["train"] |= {"validate_interval": 0, "validate_samples": 320_000, "patience": None}
    content["corpus"] = content["training"] and content["training"].pop("corpus", None)
    content["temperature"] = 0.0


def _from_5_to_6(content: dict[str, Any]) -> None:
    """New settings: what was done before they could be set, with neither an encoder nor a bottleneck."""
    content["settings"]["wavenet"] |= {"preemphasis": 0.0}
    content["settings"]["optim"] |= {"encoder_factor": 0.1}
    content["settings"]["encoder"] = {"channels": 1, "kernel_sizes": [], "strides": []}
    content["settings"]["bottleneck"] = {
        "kind": "none", "channels": 64, "codes": 512, "commitment": 0.25, "decay": 0.999, "normalise": True,
        "quantise_from": 5000, "memory": 20480, "revive_below": 0.05, "revive_interval": 200, "revive_until": 200_000,
        "free_bits": 14.0, "anneal_steps": 60_000, "norm_weight": 0.001,
    }  # fmt: skip


def _from_6_to_7(content: dict[str, Any]) -> None:
    """A new setting, of how the machine computes: its choice."""
    content["settings"]["train"] |= {"products": None}


# By the older format.
UPGRADES = {1: _from_1_to_2, 2: _from_2_to_3, 3: _from_3_to_4, 4: _from_4_to_5, 5: _from_5_to_6, 6: _from_6_to_7}


def load_weights(model: Model, weights: dict[str, torch.Tensor]) -> None:
    """Puts the weights into the model; UserError names the first one that does not fit."""
    own = model.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        expected, found = (str(tuple(w[name].shape)) if name in w else "absent" for w in (own, weights))
        if expected != found:
            raise UserError(
                f"The checkpoint comes from another architecture: its {name} is {found}, "
                f"the settings ask for {expected}; take the checkpoint's settings, or train these without checkpoint=."
            )
    model.load_state_dict(weights)


def digest(path: Path) -> str:
    """SHA-256 of the file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
