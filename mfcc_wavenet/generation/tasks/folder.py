"""Many files into a folder: each is made once, and none stops the others."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.generation.inputs import Item, output_paths
from mfcc_wavenet.generation.outputs import OutputFolder
from mfcc_wavenet.generation.tasks.task import Task, failed, speed

# Read before they are made together: utterances, several batches for every core; samples, over an hour at 16 kHz.
MAX_UTTERANCES, MAX_SAMPLES = 64, 2**26


class FolderConversion:
    """Of many inputs into a folder: several are read, and then made together."""

    def __init__(self, task: Task, outputs: OutputFolder):
        self.task, self.outputs = task, outputs
        self.waiting: list[Item] = []
        self.failures: list[str] = []
        self.written, self.skipped = 0, 0  # files
        self.samples, self.generated = 0, 0  # samples of the files that were written, and of all
        self.started = time.perf_counter()

    def convert(self, inputs: list[Path]) -> None:
        """Whatever ends it, the outputs that are complete by then are written. UserError if an input failed."""
        paths = output_paths(inputs, self.outputs.folder, self.task.writes[0])
        try:
            with tqdm(zip(inputs, paths), self.task.doing, len(inputs), unit="file", leave=False, disable=None) as bar:
                for source, output in bar:
                    with self._collecting():
                        self._read(source, output)
                    waiting = sum(map(self.task.samples, self.waiting))
                    if len(self.waiting) >= MAX_UTTERANCES or waiting >= MAX_SAMPLES:
                        self._make_waiting(bar)
                self._make_waiting(bar)
        finally:
            self._report()
        if self.failures:
            raise failed(self.failures, len(inputs), self.outputs.folder)

    def _read(self, source: Path, output: Path) -> None:
        is_one = self.task.is_one(source)
        if is_one and self._is_there(output, source):  # without reading it
            return
        for item in self.task.read(source, output):
            if is_one or not self._is_there(item.output, source):
                self.task.check(item)
                self.waiting.append(item)

    def _is_there(self, output: Path, source: Path) -> bool:
        is_there = self.outputs.has(output, source)
        self.skipped += is_there
        return is_there

    def _make_waiting(self, bar: tqdm) -> None:
        batch = self.waiting.copy()
        self.waiting.clear()

        def progress(added: int) -> None:
            self.generated += added
            bar.set_postfix_str(self._speed(self.generated))

        def write(index: int, made: Any) -> None:
            with self._collecting():
                self.task.write(batch[index], made)
                self.outputs.add(batch[index].output)
                self.written += 1
                self.samples += self.task.samples(batch[index])

        if batch:
            self.task.make(batch, progress, write)

    def _report(self) -> None:
        if self.written:
            summary = self.task.summary()
            more = f"; {summary}" if summary else ""
            print(f"{self.outputs.folder}: wrote {_files(self.written)}, {self._speed(self.samples)}{more}.")
        if self.skipped:
            are_there = f"{self.outputs.folder}: {_files(self.skipped)} existed already"
            print(f"{are_there}; restart=true {self.task.does} everything again.")

    def _speed(self, samples: int) -> str:
        return speed(samples, self.task.inverter.sample_rate, self.started)

    @contextlib.contextmanager
    def _collecting(self) -> Iterator[None]:
        """Keeps the message of a UserError for the end."""
        try:
            yield
        except UserError as error:
            self.failures.append(str(error))


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
