"""An installed package holds all that it needs, wherever it lies."""

import shutil
import subprocess
import sys
import zipfile

from support.settings import ROOT

USE_IT = """
import mfcc_wavenet, sys
from mfcc_wavenet import Inverter
from mfcc_wavenet.compare.page import page
from mfcc_wavenet.data.sources import find_sources
assert mfcc_wavenet.__file__.startswith(sys.argv[1])
print(len(find_sources(("package:demo",))), page([]).count("<script"), Inverter.__name__)
"""


def test_the_wheel_holds_every_folder_the_demonstration_corpus_and_the_page(tmp_path):
    """Built, unpacked elsewhere and used there, the tree itself out of sight."""
    source = tmp_path / "source"  # building leaves files behind
    shutil.copytree(ROOT / "mfcc_wavenet", source / "mfcc_wavenet", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "unpacked")
    ours = {path.relative_to(ROOT) for path in (ROOT / "mfcc_wavenet").rglob("*.py")}
    unpacked = tmp_path / "unpacked"
    theirs = {path.relative_to(unpacked) for path in (unpacked / "mfcc_wavenet").rglob("*.py")}
    assert theirs == ours
    use = [sys.executable, "-c", USE_IT, str(tmp_path)]
    done = subprocess.run(use, capture_output=True, text=True, cwd=unpacked)
    assert done.stdout.split()[0] == "9" and done.stdout.split()[2] == "Inverter", done.stderr
