"""One audio file to mono float32 at the rate of the features."""

import contextlib
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import MAX_SAMPLE_RATE
from mfcc_wavenet.config.size import memory_bytes

AUDIO_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {".oga", ".opus", ".aif", ".sph"}
AUDIO_SUFFIXES -= {".raw"}  # headerless: says neither its rate nor its sample type

MIN_SAMPLE_RATE = 1000  # Hz: below, a header is damaged, and resampling would make thousands of samples of each
MAX_PEAK = 8.0  # full scale is 1, which lossy codecs and mixes exceed, but not by so much
BLOCK_VALUES = 2**20  # that are read at a time
UNKNOWN = 2**63 - 1  # frames, where a header does not say how many there are (libsndfile's SF_COUNT_MAX)
FLOAT_BYTES = 4
FRONT_END_BYTES = 20  # per sample at the rate of the features, while MFCCs and codes are computed (measured)

# libsndfile believes the length of a WAV, AIFF or AU file rather than its header; only its log says
# what the header promised. Who writes to a pipe does not know the length and promises 2 GB or more.
PROMISED = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
MIN_PLACEHOLDER = 2_000_000_000  # bytes

ID3_HEADER_BYTES = 10
FIRST_MP3_FRAME_BYTES = 4096  # at the most, with what may lie before it


def read_audio(path: Path, sample_rate: int, least: int = 1) -> Float32[np.ndarray, " samples"]:
    """(samples,) float32, full scale 1: the file mixed down to one channel and resampled.

    UserError, naming the file, if it is not a readable audio file, truncated, empty, shorter than that many
    samples, larger than the memory or contains NaN, infinities or amplitudes beyond MAX_PEAK.
    """
    size = regular_file(path).st_size
    blocks, count, peak = [], 0, 0.0
    try:
        with _opened(path) as file:
            rate, promised, log = file.samplerate, file.frames % UNKNOWN, file.extra_info
            if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
                usable = f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz can be used"
                raise UserError(f"{path}: its sample rate is {rate} Hz; {usable}.")
            _refuse_too_long(path, promised, sample_rate / rate)
            while len(block := file.read(BLOCK_VALUES // file.channels, dtype="float32", always_2d=True)):
                count += len(block)
                _refuse_too_long(path, count, sample_rate / rate)
                peak = np.maximum(peak, np.abs(block).max())  # which keeps NaN
                blocks.append(block.mean(axis=1))
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).rpartition(": ")[2].strip().rstrip(".") or "damaged"
        raise UserError(f"{path}: not readable as audio ({reason}).") from error
    if count < promised:
        raise UserError(f"{path}: truncated, {count} of {promised} samples are there.")
    # A promise of no more than the whole file counts the header as audio, and nothing is missing.
    if (cut := PROMISED.search(log)) and size < int(cut[1]) < MIN_PLACEHOLDER:
        raise UserError(f"{path}: truncated, {cut[2]} of {cut[1]} bytes of audio are there.")
    if not np.isfinite(peak):
        raise UserError(f"{path}: contains NaN or infinite samples.")
    if peak > MAX_PEAK:
        raise UserError(
            f"{path}: its peak is {peak:,.6g}, where full scale is 1; 16-bit samples stored as floats must be divided "
            "by 32768."
        )
    mono = np.concatenate(blocks or [np.zeros(0, np.float32)])
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="VHQ").astype(np.float32)
    if len(mono) < least:
        raise UserError(f"{path}: {len(mono)} samples at {sample_rate} Hz; at least {least} (one hop) are needed.")
    return mono


def regular_file(path: Path) -> os.stat_result:
    """Its size and times; UserError, naming it, if it cannot be read or is a pipe, a device or anything else."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            path.open("rb").close()
            return status
    except (OSError, ValueError) as error:  # ValueError: the name contains a null byte
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    raise UserError(f"{path}: not a regular file; a pipe or a device has to be written to one first.")


def _refuse_too_long(path: Path, samples: int, resampling: float) -> None:
    """UserError where that many samples, resampled by that factor, do not fit into memory."""
    needed = samples * (2 * FLOAT_BYTES + resampling * FRONT_END_BYTES)
    if needed > (there := memory_bytes()):
        raise UserError(
            f"{path}: {samples:,} samples need {needed / 2**30:,.0f} GiB of memory, of {there / 2**30:,.0f}; "
            "cut into several files, they fit."
        )


class _Sequential(soundfile.SoundFile):
    """A file that is only read from start to end.

    SoundFile seeks after each block, which decoders of unknown length refuse and lossy ones answer with other samples.
    """

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """The file, with the number of frames that it really has."""
    # Names may hold bytes that are not text.
    with open(path, "rb") as stream, _Sequential(os.fsencode(path)) as file:
        if file.format != "MP3" or _mp3_declares_length(stream):
            yield file
        else:
            with _Sequential(_WithoutLength(stream)) as scanned:
                yield scanned


def _mp3_declares_length(stream: io.BufferedReader) -> bool:
    """Whether the first frame of an MP3 is a Xing or Info frame, which says how many there are."""
    tag = stream.read(ID3_HEADER_BYTES)
    start = 0
    if tag.startswith(b"ID3") and len(tag) == ID3_HEADER_BYTES:
        start = ID3_HEADER_BYTES
        for position, seven_bits in enumerate(reversed(tag[-4:])):
            start += seven_bits << (7 * position)
    stream.seek(start)
    first = stream.read(FIRST_MP3_FRAME_BYTES)
    return b"Xing" in first or b"Info" in first


class _WithoutLength:
    """A file whose size nobody can ask for.

    libsndfile estimates the length of an MP3 from its size and its first frame, which is wrong where the bit rate
    varies, and reads no further than that. Without a size, it counts the frames.
    """

    def __init__(self, stream: io.BufferedReader):
        self.stream = stream
        self.stream.seek(0)
        self.is_at_end = False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.is_at_end = whence == os.SEEK_END
        if not self.is_at_end:
            self.stream.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return UNKNOWN if self.is_at_end else self.stream.tell()

    def read(self, count: int) -> bytes:
        return self.stream.read(count)
