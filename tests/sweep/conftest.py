"""Where sweeps are tested."""

import pytest
from support.sweeps import PROGRAM

from mfcc_wavenet.sweep import engine


@pytest.fixture
def program_folder(tmp_path, monkeypatch):
    """A folder with the program of support.sweeps in it, which is the current one; sweeps that poll often."""
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.02)
