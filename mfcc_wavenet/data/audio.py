"""One audio file to mono float32 at the rate of the features."""

import os
import re
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from mfcc_wavenet.config.errors import UserError

AUDIO_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {".oga", ".opus", ".aif", ".sph"}
AUDIO_SUFFIXES -= {".raw"}  # headerless: says neither its rate nor its sample type

# libsndfile believes the length of a WAV, AIFF or AU file rather than its header; only its log says
# that the file was cut. A header that promises 2 GiB was written to a pipe, its length not yet known.
CUT = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
PIPED = 0x7FFF0000  # bytes


def read_audio(path: Path, sample_rate: int, least: int = 1) -> Float32[np.ndarray, " samples"]:
    """(samples,) float32 in [-1, 1]: the file mixed down to one channel and resampled.

    UserError, naming the file, if it is not audio, truncated, empty, shorter than that many samples
    or contains NaN or infinities.
    """
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:  # names may hold bytes that are not text
            promised, rate, cut = file.frames, file.samplerate, CUT.search(file.extra_info)
            audio = file.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).rpartition(": ")[2].strip().rstrip(".")
        raise UserError(f"{path}: not readable as audio ({reason}).") from error
    if len(audio) < promised:
        raise UserError(f"{path}: truncated, {len(audio)} of {promised} samples are there.")
    if cut and int(cut[2]) < int(cut[1]) < PIPED:
        raise UserError(f"{path}: truncated, {cut[2]} of {cut[1]} bytes of audio are there.")
    if not np.isfinite(audio).all():
        raise UserError(f"{path}: contains NaN or infinite samples.")
    mono = audio.mean(axis=1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="VHQ").astype(np.float32)
    if len(mono) < least:
        raise UserError(f"{path}: {len(mono)} samples at {sample_rate} Hz; at least {least} (one hop) are needed.")
    return mono
