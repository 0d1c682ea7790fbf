"""What a mode does with one input after the other: read, check, make, write."""

import contextlib
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile

from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.generation.inputs import Item, Readable
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.models.checkpoint import Checkpoint


def failed(failures: Sequence[str], inputs: int, output: Path) -> UserError:
    """What ends a conversion of so many inputs; each failure is printed."""
    print("\n".join(failures), file=sys.stderr)
    others = f"; the others are in {output}" if len(failures) < inputs else ""
    return UserError(f"{len(failures)} of {inputs} inputs failed (see above){others}.")


class Task(ABC):
    """A mode over files: what it reads, what it makes of that, and what it writes."""

    reads: Readable
    what: str  # it makes, to begin a sentence
    writes: Sequence[str]  # suffixes of an output, the first of them in a folder
    folder: str  # of many outputs, by default
    doing, does = "generating", "generates"

    def __init__(self, checkpoint: Checkpoint, command: Command):
        """UserError where the model cannot do it, or a value of the command is out of its range."""
        self.command = command
        self.inverter = Inverter(checkpoint, command.device)

    @abstractmethod
    def made_with(self) -> dict[str, Any]:
        """All that decides what outputs are, next to the checkpoint and the inputs."""

    @abstractmethod
    def is_one(self, source: Path) -> bool:
        """Whether a file is one item, by its name."""

    @abstractmethod
    def single_output(self, source: Path) -> str:
        """The name, by default, of what is made of that one file."""

    @abstractmethod
    def read(self, source: Path, output: Path) -> Iterator[Item]:
        """What there is to be made of a file; output: of one item, or else in the same folder."""

    @abstractmethod
    def check(self, item: Item) -> None:
        """Raises UserError, naming the source, before any work is done, if it cannot be made."""

    @abstractmethod
    def samples(self, item: Item) -> int:
        """Of the audio that it is or becomes."""

    @abstractmethod
    def make(
        self, items: Sequence[Item], progress: Callable[[int], object], finished: Callable[[int, Any], object]
    ) -> None:
        """All of them at once; progress with samples that were added, finished with the index and what was made."""

    @abstractmethod
    def write(self, item: Item, made: Any) -> None:
        """The output, whole or not at all."""

    def summary(self) -> str | None:
        """About all that was written so far, if there is more to say than how long it took."""
        return None

    def remark(self, item: Item, made: Any) -> str | None:
        """A sentence about one that was made alone."""
        return None

    def together(self, inputs: Sequence[Path], output: Path) -> bool:
        """Whether all inputs make this one file, which then is written. UserError, after that, if an input failed."""
        return False


def refuse_unwritable(output: Path) -> None:
    """UserError if the output cannot be written; its folder is there then."""
    with os_errors_as_user_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=output.parent):
            pass


@contextlib.contextmanager
def os_errors_as_user_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, soundfile.SoundFileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"output={output} could not be written ({reason}).") from error


def speed(samples: int, sample_rate: int, started: float) -> str:
    """In words; started: by time.perf_counter()."""
    seconds, audio = time.perf_counter() - started, samples / sample_rate
    return f"{audio:.2f} s of audio in {seconds:.2f} s, {audio / seconds:.2f} times real time"
