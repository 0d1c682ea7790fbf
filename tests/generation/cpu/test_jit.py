"""What is kept on disk is what the files say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mfcc_wavenet

SHARED_OUT = """
import numpy as np
from mfcc_wavenet.generation.cpu.gemm import PANEL, multiply, pack
out = np.zeros((1, PANEL), np.float32)
multiply(out, out, pack(np.ones((PANEL, 3))), np.ones((1, 3), np.float32))
print(out.sum() / PANEL, sum(multiply.stats.cache_hits.values()))
"""


def test_a_change_in_what_is_inlined_counts(tmp_path):
    """multiply shares out its panels as barrier.py says; with the old code from the disk, it would go on as before."""
    package = shutil.copytree(
        Path(mfcc_wavenet.__file__).parent, tmp_path / "mfcc_wavenet", ignore=shutil.ignore_patterns("__pycache__")
    )

    def product_and_cache_hits() -> list[str]:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, "-c", SHARED_OUT]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        ).stdout.split()

    assert product_and_cache_hits() == ["3.0", "0"]
    assert product_and_cache_hits() == ["3.0", "1"]
    barrier = package / "generation" / "cpu" / "barrier.py"
    barrier.write_text(barrier.read_text().replace("return panels * rank // team", "return panels"))
    assert product_and_cache_hits() == ["0.0", "0"]
