"""mode=encode: audio files and MFCC files to files of units."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from tqdm import tqdm

from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import identities, refuse_overwriting
from mfcc_wavenet.generation.inputs import Utterance, output_paths
from mfcc_wavenet.generation.tasks.speech import SpeechTask
from mfcc_wavenet.generation.tasks.task import failed, os_errors_as_user_errors, refuse_unwritable
from mfcc_wavenet.generation.units.checks import refuse_without_units
from mfcc_wavenet.generation.units.unit_files import ARCHIVE, TEXT, Encoded, shown_name, write_archive, write_lines
from mfcc_wavenet.models.bottleneck import entropy_bits
from mfcc_wavenet.models.checkpoint import Checkpoint

END = ".units"  # of a name, before its suffix

Units = Shaped[np.ndarray, "..."]  # (J,), or latents (J, D)


class Encode(SpeechTask):
    """The units of each input, in an .npz of its own, or as the lines of one text."""

    what, writes, folder = "units are", (ARCHIVE, TEXT), "encoded"
    doing, does = "encoding", "encodes"

    def __init__(self, checkpoint: Checkpoint, command: Command):
        super().__init__(checkpoint, command)
        refuse_without_units(checkpoint.settings, self.inverter.generator.encoder)
        self.bottleneck = checkpoint.settings.bottleneck
        self.counts = np.zeros(self.bottleneck.codes if self.bottleneck.has_codes else 0, np.int64)
        self.written = 0  # units or latents

    def made_with(self) -> dict[str, Any]:
        return {"mode": "encode"}

    def single_output(self, source: Path) -> str:
        return f"{source.stem}{END}{ARCHIVE}"

    def make(
        self, items: Sequence[Utterance], progress: Callable[[int], object], finished: Callable[[int, Units], object]
    ) -> None:
        for index, item in enumerate(items):
            units = self.inverter.encode(item.mfcc, check_front_end=False)  # check did
            progress(self.samples(item))
            finished(index, units)

    def write(self, item: Utterance, made: Units) -> None:
        with os_errors_as_user_errors(item.output):
            write_archive(item.output, self._encoded(item, made, item.output.stem.removesuffix(END)))

    def summary(self) -> str:
        """How many, how fast they come, and how much they carry."""
        rate = self.inverter.units_per_second
        if not self.bottleneck.has_codes:
            return f"{self.written:,} latents of {self.bottleneck.channels} numbers at {rate:g} Hz"
        used, bits = int((self.counts > 0).sum()), entropy_bits(self.counts) * rate
        return f"{self.written:,} units at {rate:g} Hz, {used} of {len(self.counts)} codes, {bits:.0f} bit/s"

    def together(self, inputs: Sequence[Path], output: Path) -> bool:
        if output.suffix.lower() != TEXT:
            return False
        if not self.bottleneck.has_codes:
            raise UserError(
                f"output={output}: a line holds units, and this model has none, but latents of "
                f"{self.bottleneck.channels} numbers (bottleneck.kind={self.bottleneck.kind}); an .npz holds them."
            )
        refuse_overwriting(output, identities(inputs))
        refuse_unwritable(output)
        lines, failures = {}, []
        paths = output_paths(list(inputs), Path(), "")
        for source, path in tqdm(list(zip(inputs, paths)), self.doing, unit="file", leave=False, disable=None):
            try:
                for item in self.read(source, path):
                    self.check_mfcc(item)
                    name = shown_name(str(item.output))
                    if name in lines:
                        raise UserError(f"{source}: its name {name} is in {output} already; rename one of the two.")
                    lines[name] = self._encoded(item, self.inverter.encode(item.mfcc, check_front_end=False), name)
            except UserError as error:
                failures.append(str(error))
        if lines:
            with os_errors_as_user_errors(output):
                write_lines(output, lines.values())
            print(f"{output}: {self.summary()}.")
        if failures:
            raise failed(failures, len(inputs), output)
        return True

    def _encoded(self, item: Utterance, units: Units, name: str) -> Encoded:
        self.written += len(units)
        if self.bottleneck.has_codes:
            self.counts += np.bincount(units, minlength=len(self.counts))
        geometry, encoder = self.inverter.geometry, self.inverter.generator.encoder
        return Encoded(units, name, self.samples(item), geometry.latent_hop, self.inverter.sample_rate, encoder.digest)
