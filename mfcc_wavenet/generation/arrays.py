"""Files of arrays: .npy, one array, and .npz, an archive of arrays by name. Nothing in them is run, little believed."""

import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy.lib import format as npy

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.audio import regular_file

MFCC_SUFFIXES = {".npy", ".npz"}
NUMBERS, TEXTS = "fiu", "U"  # kinds of arrays
MAX_BYTES = 2**28  # of one file's arrays: a day of 13 MFCCs in float64, at 100 frames a second, is half of it
READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(path: Path, what: str = "MFCCs", kinds: str = NUMBERS) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of an .npz by name, or the one of an .npy, named "": of any shape and of these kinds (numpy's word).

    what: they are, for a sentence.
    UserError, naming the file, if it is something else, holds no array or more than MAX_BYTES of them.
    """
    size = regular_file(path).st_size
    is_archive = path.suffix.lower() == ".npz"
    try:
        with open(path, "rb") as file:
            magic = file.read(len(npy.MAGIC_PREFIX))
            if (magic.startswith(b"PK") and not is_archive) or (magic == npy.MAGIC_PREFIX and is_archive):
                found, suffix = ("one array", ".npy") if is_archive else ("an archive", ".npz")
                raise UserError(f"{path}: its contents are those of {found}; a name that ends with {suffix} reads it.")
            file.seek(0)
            arrays = _members(path, file, what, kinds) if is_archive else {"": _array(path, file, size, what, kinds)}
    except UserError:
        raise
    except Exception as error:  # a damaged header can raise anything, from a TokenError to a MemoryError
        raise UserError(f"{path}: neither audio nor an .npy or .npz of numbers.") from error
    if not arrays:
        raise UserError(f"{path}: the archive holds no array.")
    return arrays


def _members(path: Path, file: io.BufferedIOBase, what: str, kinds: str) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        _refuse_too_large(path, sum(member.file_size for member in members))
        for member in members:
            # A member can inflate to more than it declares: no more than that is read.
            with archive.open(member) as content:
                data = content.read(member.file_size)
            arrays[member.filename.removesuffix(".npy")] = _array(path, io.BytesIO(data), len(data), what, kinds)
    return arrays


def _array(path: Path, file: io.BufferedIOBase, size: int, what: str, kinds: str) -> np.ndarray:
    """The array in .npy format that is the whole of the file, which has that many bytes."""
    _refuse_too_large(path, size)
    version = npy.read_magic(file)
    shape, fortran_order, dtype = READ_HEADER[version](file)
    if dtype.kind not in kinds:
        raise UserError(f"{path}: its values are of the type {dtype}, and {what} are numbers.")
    values = np.frombuffer(file.read(), dtype)
    if values.size != np.prod(shape, dtype=object):
        raise UserError(f"{path}: damaged, {values.size:,} of {np.prod(shape, dtype=object):,} numbers are there.")
    return values.reshape(shape, order="F" if fortran_order else "C")


def _refuse_too_large(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise UserError(
            f"{path}: its arrays have {size / 2**20:,.0f} MiB, and {MAX_BYTES // 2**20} can be read at a time; save "
            "them as several files."
        )
