"""What starts a run is what W&B's agent would start, and W&B is imported for its formatting alone."""

import ast
import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from support.settings import ROOT

from mfcc_wavenet.sweep.command import hydra_text


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


@pytest.mark.parametrize(
    "text",
    [
        "zero_error", "runs/sweeps/a", "000+x-4", "lr (v2)", "größe", "it's", "'quoted'", 'a "b"', "a\\", "a\\'b",
        "null", "True", "007", "1e5", "nan", "", " a ", "${foo}", "\\${foo}", "$HOME", "a,b", "[a]", "{a: b}", "a=b", 
        "x#y", "a:b", "~", "*",
    ],
)  # fmt: skip
def test_hydra_reads_the_text_that_was_meant(text):
    """Of any name, quoted or not, interpolated as in a run."""
    override = OverridesParser.create().parse_override(f"tracking.group={hydra_text(text)}")
    assert not override.is_sweep_override()
    assert OmegaConf.create({"group": override.value()}).group == text


def test_plain_names_are_not_quoted():
    """Which W&B's agent would not do either."""
    assert [hydra_text(text) for text in ("zero_error", "runs/a-b", "000+x-4")] == ["zero_error", "runs/a-b", "000+x-4"]
