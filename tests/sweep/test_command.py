"""What starts a run is what W&B's agent would start, and W&B is imported for its formatting alone."""

import ast
import subprocess
import sys

from support.settings import ROOT


def test_wandb_is_imported_in_one_function():
    """So that a sweep starts at once, and nothing of W&B decides anything else in it."""
    places = set()
    for path in (ROOT / "mfcc_wavenet" / "sweep").glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in [*tree.body, *(function for function in ast.walk(tree) if isinstance(function, ast.FunctionDef))]:
            imports = [line for line in ast.walk(node) if isinstance(line, ast.Import | ast.ImportFrom)]
            if any(ast.unparse(line).split()[1].split(".")[0] == "wandb" for line in imports):
                places.add((path.stem, getattr(node, "name", None)))
    assert places == {("command", "command")}


def test_help_waits_for_no_slow_import():
    """Neither for W&B nor for scipy.stats, which take longer than everything else together."""
    code = (
        "import sys, mfcc_wavenet.sweep.__main__; print(*sorted({'wandb', 'scipy.stats', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
