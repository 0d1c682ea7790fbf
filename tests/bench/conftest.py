"""The command line of the benchmarks, and the threads that they set."""

import pytest
import torch

from mfcc_wavenet.bench import __main__


@pytest.fixture(autouse=True)
def same_threads():
    """The tests that follow have as many as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bench(capsys, monkeypatch):
    """bench(*WORDS) is `python -m mfcc_wavenet.bench WORDS`: exit code, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["bench", *words])
        code = 0
        try:
            __main__.main()
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return call
