"""What callers of the library pass: each function returns what was meant, or raises UserError."""

import numbers
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float32

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import MAX_SAMPLE_RATE
from mfcc_wavenet.data.audio import MAX_PEAK, MIN_SAMPLE_RATE

MAX_SHOWN = 40  # characters of a wrong value

# What callers pass. Inverter checks it itself and raises a UserError, so that here the types and the shapes, of arrays,
# tensors on any device, or lists or tuples of numbers, only document.
Mfcc = Annotated[Any, "n_mfcc frames"]
MfccFrame = Annotated[Any, "n_mfcc"]
Units = Annotated[Any, "units or latents"]
Wav = Annotated[Any, "samples"]
Name = Annotated[Any, str | None]
Whole = Annotated[Any, int]
Temperature = Annotated[Any, float | None]
Lengths = Annotated[Any, int | None | list[int | None]]


def float_array(given: Any, what: str, expected: str) -> Float32[np.ndarray, "..."]:
    """float32 of an array, a tensor, or a list or tuple of numbers, of any shape; all values finite.

    what and expected are for the sentence: "These MFCCs", "(n_mfcc, frames) in dB". A tensor may be on any device and
    require gradients.
    """
    refusal = f"{what} contain values that are not finite numbers; expected are {expected}."
    try:
        array = np.asarray(detached(given) if isinstance(given, torch.Tensor) else given)
    except Exception as error:  # lists of different lengths, tensors without values: each has an error of its own
        raise UserError(f"{what} are not an array of numbers; expected are {expected}.") from error
    if not isinstance(given, np.ndarray | torch.Tensor | list | tuple):
        raise UserError(f"{what} are {shown(given)}, not an array of numbers; expected are {expected}.")
    if array.dtype.kind not in "fiu" or not (np.abs(array.astype(np.longdouble)) <= np.finfo(np.float32).max).all():
        raise UserError(refusal)
    return array.astype(np.float32)


def mfcc_array(given: Mfcc, n_mfcc: int) -> Float32[np.ndarray, "n_mfcc frames"]:
    """(n_mfcc, frames) of the MFCCs of an utterance, at least one frame."""
    array = float_array(given, "These MFCCs", "(n_mfcc, frames) in dB")
    if array.ndim != 2 or array.shape[0] != n_mfcc or array.shape[1] < 1:
        turned = array.ndim == 2 and array.shape[1] == n_mfcc
        raise UserError(
            f"These MFCCs have the shape {array.shape}; the model expects (n_mfcc, frames) = ({n_mfcc}, 1 or more)"
            f"{', so transpose them' if turned else ''}."
        )
    return array


def mfcc_frame(given: MfccFrame, n_mfcc: int) -> Float32[np.ndarray, " n_mfcc"]:
    """(n_mfcc,) of the MFCCs of one frame."""
    array = float_array(given, "These MFCCs", "(n_mfcc,) in dB for each frame")
    if array.shape != (n_mfcc,):
        raise UserError(f"This frame has the shape {array.shape}; the model expects (n_mfcc,) = ({n_mfcc},).")
    return array


def wav_array(given: Any) -> Float32[np.ndarray, " samples"]:
    """(samples,) float32, at least one sample, of a wav in [-1, 1]; a little more is clipped by codecs, not here."""
    wav = float_array(given, "These samples", "floats (samples,) in [-1, 1]")
    if wav.ndim != 1 or len(wav) < 1:
        raise UserError(
            f"These samples have the shape {wav.shape}; expected is one channel, (samples,), with 1 or more."
        )
    is_integer = not np.issubdtype(_dtype(given), np.floating)
    if is_integer or np.abs(wav).max() > MAX_PEAK:
        kind = "are integers" if is_integer else f"have a peak of {np.abs(wav).max():,.6g}"
        raise UserError(f"These samples {kind}; full scale is 1.0, so 16-bit samples must be divided by 32768.")
    return wav


def sample_rate_hz(given: Any) -> int:
    """Hz, from MIN_SAMPLE_RATE to MAX_SAMPLE_RATE."""
    is_whole = is_integer(given) or (isinstance(given, float) and given.is_integer())
    if not is_whole or not MIN_SAMPLE_RATE <= given <= MAX_SAMPLE_RATE:
        raise UserError(
            f"sample_rate={shown(given)}: it must be a whole number of Hz, {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}."
        )
    return int(given)


def checked_device(name: Any) -> torch.device:
    """A device that samples can be generated on, by torch's name."""
    gpus = torch.cuda.device_count()
    if name not in ("cpu", *["cuda"][:gpus], *(f"cuda:{index}" for index in range(gpus))):
        found = f"torch sees {gpus} of these" if gpus else "torch sees none of these here"
        raise UserError(f"device={name}: samples are generated on cpu, or on cuda, cuda:1, ..., and {found}.")
    return torch.device(name)


def is_several(mfcc: Any) -> bool:
    """Whether this is a batch, a list or tuple of arrays, and not one array, be it a list of lists of numbers."""
    if not isinstance(mfcc, list | tuple):
        return False
    return len(mfcc) == 0 or any(isinstance(one, np.ndarray | torch.Tensor) and one.ndim > 0 for one in mfcc)


def lengths_of(samples: Any, count: int) -> list[int | None]:
    """One length in samples, or None, for each of that many arrays: those given, or the one that is given for all."""
    lengths = list(samples) if isinstance(samples, list | tuple) else [samples] * count
    if len(lengths) != count:
        raise UserError(f"samples has {len(lengths)} entries for {count} arrays; give one for each.")
    for length in lengths:
        if length is not None and not (is_integer(length) and length >= 0):
            raise UserError(f"samples={shown(length)}: it must be a whole number, 0 or more, or None for whole hops.")
    return [None if length is None else int(length) for length in lengths]


def length_of_frames(frames: int, given: int | None, geometry: Geometry) -> int:
    """The length in samples of audio with that many frames: the given one, or all whole hops for None."""
    length, limit = geometry.samples_of(frames) if given is None else given, (frames + 1) * geometry.hop_length
    if length >= limit:
        raise UserError(f"samples={length} does not match {frames} frames; it must be 0 to {limit - 1}.")
    return length


def speaker_index(given: Any, speakers: Sequence[str], channels: int) -> int:
    """The index of that speaker of a model, the first for None.

    channels: of the model's speaker embedding. Raises UserError for a speaker that the model does not have, and for a
    choice where it has one voice for all of them.
    """
    if given is None:
        return 0
    if not (isinstance(given, str) and given in speakers):
        raise UserError(f"speaker={given} is unknown; the model's speakers are {', '.join(speakers)}.")
    if len(speakers) > 1 and not channels:
        raise UserError(
            f"speaker={given}: this model has one voice for all of its {len(speakers)} speakers, since it was trained "
            "with wavenet.speaker_channels=0; without speaker= it is heard."
        )
    return speakers.index(given)


def is_integer(given: Any) -> bool:
    """A whole number of Python or numpy, but not a truth value."""
    return isinstance(given, numbers.Integral) and not isinstance(given, bool)


def shown(given: Any) -> str:
    """A value in a sentence: in one line, and not all of a long one."""
    try:
        text = " ".join(repr(given).split())
    except Exception:  # of an object that cannot even be printed
        text = type(given).__name__
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def detached(tensor: torch.Tensor) -> np.ndarray:
    """A tensor of whatever device and type as an array."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).resolve_conj().resolve_neg().numpy()


def _dtype(given: Any) -> np.dtype:
    return detached(given).dtype if isinstance(given, torch.Tensor) else np.asarray(given).dtype
