"""Who may import whom, and how large files and folders may get."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from support.settings import ROOT

PACKAGE = ROOT / "mfcc_wavenet"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "demo")
MAX_LINES, MAX_FILES = 350, 12
SLOW = {"torch", "librosa", "numba", "wandb"}  # to be imported

# What each folder, or module of its own right, may import of this project; a folder may always import itself.
ALLOWED = {
    "config": (),
    "__main__": ("config",),
    "librosa": ("config",),
    "data": ("config", "librosa"),
    "models": ("config", "data.batch", "data.statistics", "data.mulaw"),
    "generation": ("config", "librosa", "data", "models"),
    "evaluation": ("config", "librosa", "data", "models", "generation"),
    "runs": ("config",),
    "runs.plots": ("config", "librosa"),
    "runs.records": ("config", "models.checkpoint"),
    "training": ("config", "data", "models", "evaluation", "runs"),
    "sweep": ("config", "runs.history", "runs.plots", "runs.interrupt"),
    "compare": ("config", "data", "models.checkpoint", "evaluation.free_running", "runs.plots", "runs.history"),
    "bench": ("config", "data", "models", "generation", "evaluation", "training"),
    "modes": ("config", "data", "models", "generation", "evaluation", "runs", "training"),
    "workspace": ("config", "runs"),
}
FOLDERS = tuple(ALLOWED)


def module_name(path: Path) -> str:
    """As in an import, without the package's name: data.mfcc, for instance."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@cache
def imports(path: Path) -> set[str]:
    """The modules of this project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            # `from folder import module` means the module, `from module import name` the module itself.
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if (ROOT / (name.replace(".", "/") + ".py")).is_file() else node.module for name in inside}
    return {name.removeprefix("mfcc_wavenet.") for name in found if name.startswith("mfcc_wavenet.")}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_what_its_folder_may(path):
    name = module_name(path)
    own, _, _ = name.partition(".")
    if own == "__init__":
        return
    allowed = (*ALLOWED.get(name, ALLOWED[own]), own)
    refused = {other for other in imports(path) if not any(f"{other}.".startswith(f"{one}.") for one in allowed)}
    assert not refused


def test_folders_form_no_circle():
    """Each can be read knowing only what is below it."""
    below = {folder: set() for folder in FOLDERS if "." not in folder}
    for path in MODULES:
        own = module_name(path).partition(".")[0]
        below.get(own, set()).update(other.partition(".")[0] for other in imports(path))
    order: list[str] = []
    while len(order) < len(below):
        ready = [folder for folder in below if folder not in order and below[folder] - {folder} <= set(order)]
        assert ready, f"a circle among {sorted(set(below) - set(order))}"
        order += ready


@pytest.mark.parametrize("module", ["config.experiments", "config.geometry", "sweep.__main__", "runs.history"])
def test_what_starts_at_once_imports_no_torch(module):
    """Sweeps start programs and whoever watches runs is there at once; neither waits for what trains."""
    code = f"import sys, mfcc_wavenet.{module}; print(*sorted({SLOW} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_generation_on_a_processor_imports_torch_in_two_modules_alone():
    """What packs the weights and what computes the conditioning read the model; the loop knows arrays."""
    folder = PACKAGE / "generation" / "cpu"
    importing = {path.stem for path in folder.glob("*.py") if "torch" in path.read_text().split()}
    assert importing == {"packed_weights", "conditioning"}


def test_every_init_is_a_docstring_and_nothing_else():
    for path in PACKAGE.rglob("*/__init__.py"):
        (statement,) = ast.parse(path.read_text()).body
        assert isinstance(statement, ast.Expr) and isinstance(statement.value.value, str), path


def test_files_and_folders_stay_small():
    lines = {str(path): len(path.read_text().splitlines()) for path in [*MODULES, *(ROOT / "tests").rglob("*.py")]}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}
    folders = {path.parent for path in MODULES}
    files = {str(folder): len(list(folder.glob("*.*"))) for folder in folders}
    assert {folder: count for folder, count in files.items() if count > MAX_FILES} == {}


def test_tests_mirror_the_folders():
    """What is tested where can be guessed."""
    for path in (ROOT / "tests").glob("*/**/test_*.py"):
        assert (PACKAGE / path.relative_to(ROOT / "tests").parent).is_dir(), path
