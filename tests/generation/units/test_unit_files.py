"""Files of units: what was written is read, nothing in a file is run, and what is wrong is named."""

import io
import zipfile
from dataclasses import fields
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from support.architectures import examples

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.generation.units.unit_files import Encoded, read_units, write_archive, write_lines

UNITS = np.array([3, 3, 0, 63, 511], np.uint16)


def sentence(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_units(path)
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text and text.endswith(".")
    return text


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
integers = st.none() | st.integers(0, 2**40)
units = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=9).map(lambda values: np.array(values, np.uint16))
vectors = st.integers(1, 4).map(lambda count: np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32))
encoded = st.builds(Encoded, units | vectors, texts, integers, integers, integers, st.none() | texts)


@given(encoded)
@examples(30)
def test_an_archive_holds_what_was_written(tmp_path_factory, one):
    """To the bit and with its type, and the same content is the same file."""
    path = tmp_path_factory.getbasetemp() / "one.npz"
    write_archive(path, one)
    content = path.read_bytes()
    (read,) = read_units(path)
    for field in fields(Encoded):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(one, field.name))
    assert read.units.dtype == one.units.dtype and read.are_latents == (one.units.ndim == 2)
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive) <= {"units", "latents", "samples", "latent_hop", "sample_rate", "codebook", "name"}
    write_archive(path, read)
    assert path.read_bytes() == content


@given(st.lists(st.tuples(texts, units), min_size=1, max_size=4, unique_by=lambda pair: pair[0]))
@examples(30)
def test_text_is_a_line_for_each_utterance(tmp_path_factory, pairs):
    """Of plain integers, whatever its name is; names that text cannot hold are changed, and the units are not."""
    path = tmp_path_factory.getbasetemp() / "all.txt"
    write_lines(path, [Encoded(values, f"{number} {name}") for number, (name, values) in enumerate(pairs)])
    assert len(path.read_text(encoding="utf-8").split("\n")) == len(pairs) + 1
    for number, (read, (name, values)) in enumerate(zip(read_units(path), pairs, strict=True)):
        assert read.name == f"{number} {name}" or not name.isprintable()
        np.testing.assert_array_equal(read.units, values)


def test_units_alone_are_enough(tmp_path):
    """As others write them: integers of any type, without all the rest, lines and the beginning as on Windows."""
    np.savez(tmp_path / "alone.npz", units=UNITS.astype(np.int64))
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\t1 2  3\r\n\r\ntwo\t4\r\n")
    (one,) = read_units(tmp_path / "alone.npz")
    np.testing.assert_array_equal(one.units, UNITS)
    assert (one.name, one.samples, one.latent_hop, one.sample_rate, one.codebook) == (None,) * 5
    assert [(read.name, read.units.tolist()) for read in read_units(tmp_path / "a.txt")] == [
        ("one", [1, 2, 3]),
        ("two", [4]),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"units": np.array([{}], dtype=object)}, "of the type object, and units are numbers"),
        ({"units": UNITS, "latents": np.zeros((2, 3))}, "either units or latents"),
        ({"codes": UNITS}, "it holds codes"),
        ({"units": UNITS, "samples": np.array([1, 2])}, "its samples is not one whole number"),
        ({"units": UNITS, "samples": np.array(1.5)}, "its samples is not one whole number"),
        ({"units": UNITS, "codebook": np.array(1)}, "its codebook is not one text"),
        ({"units": UNITS, "name": np.frombuffer(b"\xff" * 4, "<U1")}, "its name is not one text"),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path, content, words):
    np.savez(tmp_path / "a.npz", **content)
    assert words in sentence(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"one\t1 2\ntwo\t3 x\n", ", line 2: 'x' is not a unit"),
        (b"one\t1 2\ntwo\t3.0\n", ", line 2: '3.0' is not a unit"),
        (b"one\t" + b"9" * 5000, ", line 1: '99999999999999999999' is not a unit"),
        (b"1 2 3\n", ", line 1: no TAB"),
        (b"\n\none\t\n", ", line 3: no units"),
        (b"one\t1\ntwo\t2\none\t3\n", ", line 3: its name 'one' is that of line 1"),
        (b"\n", ": it holds no line of units"),
        (b"\xff\xfe\t1", ": not text in UTF-8"),
    ],
)
def test_text_of_something_else_is_refused(tmp_path, content, words):
    """With the number of the line."""
    (tmp_path / "a.txt").write_bytes(content)
    assert words in sentence(tmp_path / "a.txt")


@given(st.binary(max_size=300), st.integers(0, 10_000), st.sampled_from([".npz", ".txt"]))
@examples(100)
def test_damaged_files_are_refused_in_a_sentence(tmp_path_factory, noise, place, suffix):
    """Bytes of a file replaced by others: units or a sentence, never another exception."""
    file = io.BytesIO()
    np.savez(file, units=UNITS, name=np.array("one"), samples=np.array(5))
    content = file.getvalue() if suffix == ".npz" else b"one\t1 2 3\ntwo\t4 5 6\n"
    place %= len(content)
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    try:
        assert read_units(path)
    except UserError as error:
        assert str(error).startswith(str(path))


def test_nothing_of_a_pickle_is_run(tmp_path):
    """Not even where a member is one by its contents."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("units.npy", b"cos\nsystem\n(S'touch ran'\ntR.")
    assert "neither audio nor" in sentence(tmp_path / "a.npz")
