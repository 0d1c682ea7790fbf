"""Every command ends with the same exit codes."""

import os
import signal
import subprocess
import sys

import pytest
from support.settings import ROOT

from mfcc_wavenet.config.errors import Interrupted, UserError, exit_codes


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("It is so."), 2, "It is so.\n"),
        (Interrupted("Stopped.", signal.SIGTERM), 143, "Stopped.\n"),
        (KeyboardInterrupt(), 130, "Stopped by Ctrl-C.\n"),
    ],
)
def test_an_end_is_one_sentence_and_its_code(capsys, error, code, said):
    @exit_codes
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code and capsys.readouterr().err == said


def test_a_program_error_stays_a_traceback():
    """Hiding it would hide a fault of ours."""

    @exit_codes
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_a_reader_that_goes_away_ends_quietly():
    """As in `python -m mfcc_wavenet.bench generate | head -1`."""
    program = (
        "from mfcc_wavenet.config.errors import exit_codes\n"
        "@exit_codes\n"
        "def main():\n"
        "    while True: print('line', flush=True)\n"
        "main()"
    )
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, cwd=ROOT, text=True
    )
    os.close(write)
    os.close(read)
    assert process.communicate()[1] == "" and process.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_end_is_no_traceback(number):
    """It comes while Python itself ends, which takes a moment with what has been loaded."""
    program = (
        "import atexit, os\n"
        "from mfcc_wavenet.config.errors import exit_codes\n"
        "@exit_codes\n"
        "def main():\n"
        f"    atexit.register(os.kill, os.getpid(), {number.value})\n"
        "    print('done')\n"
        "main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT, text=True)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("done\n", "", -number)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "Stopped by Ctrl-C.\n"), (signal.SIGTERM, 143, "Stopped by SIGTERM.\n")],
)
def test_a_signal_in_a_callback_is_not_swallowed(number, code, said):
    """As in those of Python's imports, which cannot pass exceptions on."""
    program = (
        "import os, time, weakref\n"
        "from mfcc_wavenet.config.errors import exit_codes\n"
        "class Thing: pass\n"
        "@exit_codes\n"
        "def main():\n"
        "    thing = Thing()\n"
        f"    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), {number.value}))\n"
        "    del thing\n"
        "    time.sleep(30)\n"
        "main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT, text=True, timeout=20)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", said, code)
