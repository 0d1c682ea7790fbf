"""What the modes that take speech have in common: audio files and MFCC files."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.generation.inputs import SPEECH, Utterance, read_utterances
from mfcc_wavenet.generation.tasks.task import Task, refuse_unwritable


class SpeechTask(Task):
    """A mode that makes something of each utterance."""

    reads = SPEECH

    def is_one(self, source: Path) -> bool:
        return source.suffix.lower() != ".npz"

    def read(self, source: Path, output: Path) -> Iterator[Utterance]:
        return read_utterances(source, output, self.inverter)

    def check(self, item: Utterance) -> None:
        """Warns on stderr of MFCCs that are probably of another front end."""
        self.check_mfcc(item)
        refuse_unwritable(item.output)

    def check_mfcc(self, item: Utterance) -> None:
        """UserError if the MFCCs are not the model's; one line on stderr if they probably are not."""
        if item.audio is not None:  # whose MFCCs are the model's own
            return
        try:
            warning = self.inverter.check(item.mfcc)
        except UserError as error:
            raise UserError(f"{item.source}: {error}") from error
        if warning:
            tqdm.write(f"{item.source}: {warning}", file=sys.stderr)

    def samples(self, item: Utterance) -> int:
        """Of the input, or of all whole hops that its MFCCs say there are."""
        if item.audio is not None:
            return len(item.audio)
        return self.inverter.geometry.samples_of(np.shape(item.mfcc)[-1])
