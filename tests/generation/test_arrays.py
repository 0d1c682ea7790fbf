"""MFCC files: arrays of numbers or one sentence, whatever the bytes; and never much memory."""

import io
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from support.architectures import examples

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.generation.arrays import MAX_BYTES, read_arrays

MFCC = np.random.default_rng(0).normal(size=(13, 20)).astype(np.float32)
MAX_MEMORY = 2**26  # bytes, for files of some kilobytes


def saved(write, *arrays, **named) -> bytes:
    file = io.BytesIO()
    write(file, *arrays, **named)
    return file.getvalue()


CONTENTS = {
    ".npy": saved(np.save, MFCC),
    ".npz": saved(np.savez, a=MFCC, b=MFCC.astype(np.int16)),
    "compressed.npz": saved(np.savez_compressed, a=MFCC, text=np.array("x")),
}


def sentence(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_arrays(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and text.endswith(".")
    return text


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "int16", "uint8"])
@pytest.mark.parametrize("order", "CF")
def test_what_numpy_saves_is_read(tmp_path, dtype, order):
    array = np.asarray(MFCC * 10, dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", one=array, two=array[:, ::2])
    np.savez_compressed(tmp_path / "b.npz", one=array)
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npy")[""], array)
    both = read_arrays(tmp_path / "a.npz")
    assert list(both) == ["one", "two"]
    np.testing.assert_array_equal(both["two"], array[:, ::2])
    np.testing.assert_array_equal(read_arrays(tmp_path / "b.npz")["one"], array)


def test_what_is_no_array_of_numbers_is_refused(tmp_path):
    """By what it is: an archive with another suffix, text, nothing, Python objects."""
    (tmp_path / "archive.npy").write_bytes(CONTENTS[".npz"])
    assert "those of an archive" in sentence(tmp_path / "archive.npy")
    (tmp_path / "array.npz").write_bytes(CONTENTS[".npy"])
    assert "those of one array" in sentence(tmp_path / "array.npz")
    np.savez(tmp_path / "empty.npz")
    assert "holds no array" in sentence(tmp_path / "empty.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("readme.txt", "text")
    assert "holds no array" in sentence(tmp_path / "text.npz")
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    assert "MFCCs are numbers" in sentence(tmp_path / "words.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, None], object), allow_pickle=True)
    assert "MFCCs are numbers" in sentence(tmp_path / "objects.npy")
    (tmp_path / "nothing.npy").write_bytes(b"")
    assert "neither audio nor" in sentence(tmp_path / "nothing.npy")
    assert "No such file" in sentence(tmp_path / "missing.npy")
    assert "not a regular file" in sentence(tmp_path)


def test_a_file_that_would_grow_is_not_read(tmp_path):
    """A header that claims more than there is, and an archive that inflates to a thousand times its size."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (13, 10**15)})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(52))
    assert "13 of 13,000,000,000,000,000 numbers" in sentence(tmp_path / "a.npy")
    with (
        zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(MAX_BYTES // 2**20 + 1):
            member.write(bytes(2**20))
    assert "can be read at a time" in sentence(tmp_path / "b.npz")


FRACTIONS = st.floats(0, 1, exclude_max=True)
CHANGES = st.lists(st.tuples(FRACTIONS, st.integers(0, 255), st.booleans()), max_size=6)


@pytest.mark.parametrize("name", CONTENTS)
@examples(80)
@given(changes=CHANGES, length=st.just(1.0) | FRACTIONS)
def test_changed_bytes_are_arrays_or_a_sentence(name, changes, length):
    content = bytearray(CONTENTS[name])
    for place, byte, in_header in changes:
        content[int(place * (128 if in_header else len(content)))] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{name}"
        path.write_bytes(content[: int(length * len(content))])
        tracemalloc.start()
        try:
            assert all(array.dtype.kind in "fiu" for array in read_arrays(path).values())
        except UserError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and str(error).endswith(".")
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MAX_MEMORY
