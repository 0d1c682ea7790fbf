"""One process at a time compiles librosa's functions: what two at once leave crashes whoever loads it."""

import ast
import os
import subprocess
import sys
import tempfile
import time

import pytest
from support.settings import ROOT

from mfcc_wavenet import librosa
from mfcc_wavenet.config.files import owned


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """That of this librosa in a folder of its own, as after an install."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    librosa.compile_once.cache_clear()
    yield librosa._mark()
    librosa.compile_once.cache_clear()


def test_the_first_use_waits_for_whoever_compiles(mark, capfd):
    held, done = mark.with_name("held"), mark.with_name("done")
    if not (other := os.fork()):
        with owned(mark, "it"):
            held.touch()
            time.sleep(0.5)
            done.touch()
        os._exit(0)
    while not held.exists():
        time.sleep(0.01)
    assert librosa.hz_to_mel(0) == 0
    assert done.exists() and mark.exists()
    assert f"What librosa compiles once after an install is in use by process {other}" in capfd.readouterr().err
    os.waitpid(other, 0)


def test_what_is_compiled_is_loaded_without_waiting(mark):
    librosa.hz_to_mel(0)
    librosa.compile_once.cache_clear()
    with owned(mark, "it"):
        assert librosa.hz_to_mel(0) == 0


def test_what_has_been_removed_is_compiled_by_one_process_again(mark, tmp_path):
    librosa.hz_to_mel(0)
    assert librosa._is_compiled(mark)
    mark.write_text(str(tmp_path / "emptied"))
    assert not librosa._is_compiled(mark)


def test_another_cache_is_another_install(mark, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")
    assert librosa._mark() != mark


def test_one_thread_is_that_of_all_products_whatever_was_loaded_before():
    """In a process that has loaded nothing yet, where all is compiled already."""
    code = (
        "from mfcc_wavenet import librosa; from threadpoolctl import threadpool_info\n"
        "def threads(): return [one['num_threads'] for one in threadpool_info() if one['user_api'] == 'blas']\n"
        "with librosa.one_thread(): inside = threads()\n"
        "librosa.feature.inverse.mfcc_to_mel; after = threads()\n"
        "assert set(inside) == {1} and len(inside) == len(after), (inside, after)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_loads_librosa_past_the_lock():
    """Neither a module nor a test."""
    past = []
    for path in [
        *(ROOT / "mfcc_wavenet").rglob("*.py"),
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "docs").glob("*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            past += [path for name in named if name.partition(".")[0] == "librosa"]
    assert past == []
