"""What one command does with a run or a model: the values that define no run, and how codes are chosen."""

import numbers
from dataclasses import dataclass
from typing import Any

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import QUANTIZATION_CHANNELS

MODES = ("train", "evaluate", "generate", "encode", "decode", "pin", "download")
WEIGHTS = ("float32", "float16", "bfloat16")
MIN_CLIP_SECONDS = 0.1
MAX_TEMPERATURE = 1e30  # of sampling, in float32


@dataclass(frozen=True)
class Sampling:
    """How codes are chosen from the logits of a free-running model, checked here."""

    temperature: Any = 0.0  # float; 0: the most likely code; above: drawn from the softmax of logits / temperature
    top_k: Any = 0  # int; codes are drawn from this many most likely ones; 0: from all
    seed: Any = 0  # int; of the random numbers; every utterance starts its own generator from it

    def __post_init__(self):
        if not _is_number(self.temperature) or not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise UserError(f"temperature={self.temperature}: it must be 0 (greedy) or more, and finite.")
        for name, zero in (("top_k", " (all codes)"), ("seed", "")):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
                raise UserError(f"{name}={value}: it must be a whole number, 0{zero} or more.")
        # Plain numbers, whichever were given; a top_k of all codes there can be is all.
        object.__setattr__(self, "temperature", float(self.temperature))
        object.__setattr__(self, "top_k", min(int(self.top_k), QUANTIZATION_CHANNELS[-1]))
        object.__setattr__(self, "seed", int(self.seed))


@dataclass(frozen=True)
class Command:
    """What to do, and with which files: the values at the top of conf/config.yaml, which define no run."""

    mode: str  # one of MODES
    checkpoint: str | None
    name: str | None
    runs: str
    restart: bool
    split: str | None  # the part of the corpus that is evaluated
    input: str | None
    output: str | None
    speaker: str | None
    temperature: float | None  # None: the checkpoint's
    top_k: int
    sampling_seed: int
    corrections: int | None  # of the envelope of what is generated; None: see generation/correction.py
    candidates: int  # utterances that are sampled to generate one
    device: str  # that generates
    clips: int  # utterances that are generated and measured
    clip_seconds: float  # at most, of each of them
    weights: str  # of a pinned checkpoint: one of WEIGHTS

    def __post_init__(self):
        if self.clip_seconds < MIN_CLIP_SECONDS:
            raise UserError(f"clip_seconds={self.clip_seconds:g}: it must be at least {MIN_CLIP_SECONDS:g}.")

    def sampling(self, temperature: float) -> Sampling:
        """temperature: the checkpoint's. UserError where a value is out of its range."""
        given = temperature if self.temperature is None else self.temperature
        return Sampling(given, self.top_k, self.sampling_seed)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
