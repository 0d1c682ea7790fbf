"""Whatever a checkpoint file holds, it is a model that can be used or one sentence; and never much memory."""

import io
import tempfile
import tracemalloc
from functools import cache
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from support.architectures import examples
from support.checkpoints import checkpoint, content_of

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.models.checkpoint import load, save

MAX_MEMORY = 2**26  # bytes, for a file of a hundred kilobytes


@cache
def saved() -> tuple[bytes, dict]:
    """A checkpoint as a file, and what it holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        save(path, checkpoint())
        return path.read_bytes(), content_of(path)


def used_or_refused(content: bytes) -> None:
    """The property: a model of finite weights, or one sentence that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        path.write_bytes(content)
        tracemalloc.start()
        try:
            loaded = load(path)
            model = loaded.model()
            assert all(weight.isfinite().all() for weight in model.state_dict().values())
        except UserError as error:
            assert "\n" not in str(error) and str(error).endswith("."), error
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MAX_MEMORY


FRACTIONS = st.floats(0, 1, exclude_max=True)


@examples(50)
@given(
    changes=st.lists(st.tuples(FRACTIONS, st.integers(0, 255), st.booleans()), max_size=6),
    length=st.just(1.0) | FRACTIONS,
)
def test_changed_bytes(changes, length):
    """Anywhere, and in the pickle at the start; cut anywhere."""
    content = bytearray(saved()[0])
    for place, byte, at_the_start in changes:
        content[int(place * (4096 if at_the_start else len(content)))] = byte
    used_or_refused(bytes(content[: int(length * len(content))]))


def places(content: dict) -> list[tuple]:
    """Where an entry can be replaced: at the top, and in all that is nested."""
    paths = []
    for key, value in content.items():
        paths.append((key,))
        if isinstance(value, dict):
            paths += [(key, *rest) for rest in places(value)]
    return paths


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=5),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([torch.zeros(3), torch.full((13,), float("nan")), torch.tensor(2**40), torch.empty(0), b"x"]),
)  # fmt: skip


@examples(40)
@given(data=st.data(), value=VALUES, removed=st.booleans())
def test_a_replaced_entry(data, value, removed):
    """Any entry of any depth, by any value, or removed."""
    content = torch.load(io.BytesIO(saved()[0]), weights_only=True)
    *parents, last = data.draw(st.sampled_from(places(content)))
    parent = content
    for key in parents:
        parent = parent[key]
    if removed:
        del parent[last]
    else:
        parent[last] = value
    file = io.BytesIO()
    torch.save(content, file)
    used_or_refused(file.getvalue())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", b"x" * 1000])
def test_no_zip_of_tensors(content):
    used_or_refused(content)
