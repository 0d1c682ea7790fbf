"""Fixtures, and the check of array shapes."""

import gc
import signal
from pathlib import Path

from jaxtyping import install_import_hook

PACKAGE = Path(__file__).parents[1] / "mfcc_wavenet"
COMPILED = {PACKAGE / "generation" / "cpu" / f"{name}.py" for name in ("barrier", "gemm", "sample_loop")}
COMPILED |= {PACKAGE / "data" / "linear_prediction.py"}
COMPILED |= {PACKAGE / "bench" / "generate.py", PACKAGE / "bench" / "measure.py"}

# Array shapes in signatures are checked, except where numba compiles: it cannot see through the check. Modules without
# them are left alone: checking every argument of every function would take a tenth of the time of all tests.
install_import_hook(
    [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path not in COMPILED and path.stem not in ("__init__", "__main__") and "jaxtyping" in path.read_text()
    ],
    "beartype.beartype",
)

import hypothesis
import pytest

gc.set_threshold(50_000, 20, 20)  # with all that tests import, going through it takes a twentieth of their time

# Fixtures import what takes seconds: of `pytest -n 3`, the process that runs no test does without.

hypothesis.settings.register_profile("shared", deadline=None)  # an example that waits for a processor is no failure
hypothesis.settings.load_profile("shared")


def pytest_configure():
    """After an install, librosa compiles before any test: a program that a test starts would wait, and say so."""
    from mfcc_wavenet import librosa

    librosa.compile_once()


@pytest.fixture
def small(tmp_path):
    """small("train.steps=10", ...): small settings whose prepared corpus lies in the test's own folder."""
    from support.settings import SMALL, compose_settings

    def make(*overrides: str):
        return compose_settings(*SMALL, f"data.prepared={tmp_path / 'prepared'}", *overrides)

    return make


@pytest.fixture(autouse=True)
def signals():
    """Whatever a command leaves to the system at its end, pytest hears of again."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def seeded():
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def inverted(tmp_path_factory):
    """A Chassis trained to zero error, and its results."""
    from support.training import trained_to_zero

    return trained_to_zero(tmp_path_factory.mktemp("inverted") / "run")
