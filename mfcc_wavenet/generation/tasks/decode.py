"""mode=decode: files of units, also edited or written by another model, to audio files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import slug
from mfcc_wavenet.generation.inputs import UNITS, Item
from mfcc_wavenet.generation.tasks.encode import END
from mfcc_wavenet.generation.tasks.generate import OUTPUT_FORMATS, write_audio
from mfcc_wavenet.generation.tasks.task import Task, refuse_unwritable
from mfcc_wavenet.generation.units.checks import checked_units, length_of_units, refuse_without_units
from mfcc_wavenet.generation.units.unit_files import TEXT, Encoded, read_units
from mfcc_wavenet.models.checkpoint import Checkpoint

SHOWN = 12  # characters of a digest

Codes = Integer[np.ndarray, " samples"]


@dataclass(frozen=True, eq=False)
class UnitsToDecode(Item):
    """The units of an utterance."""

    encoded: Encoded

    @property
    def place(self) -> str:
        """Where they are from, in words."""
        return f"{self.source}, {self.encoded.name!r}" if self.source.suffix.lower() == TEXT else str(self.source)


class Decode(Task):
    """The audio of units."""

    reads, what, writes, folder = UNITS, "audio is", tuple(OUTPUT_FORMATS), "decoded"
    doing, does = "decoding", "decodes"

    def __init__(self, checkpoint: Checkpoint, command: Command):
        self.sampling = command.sampling(checkpoint.temperature)
        super().__init__(checkpoint, command)
        refuse_without_units(checkpoint.settings, self.inverter.generator.encoder)

    def made_with(self) -> dict[str, Any]:
        return {"mode": "decode", "speaker": self.command.speaker, **asdict(self.sampling)}

    def is_one(self, source: Path) -> bool:
        return source.suffix.lower() != TEXT

    def single_output(self, source: Path) -> str:
        return f"{source.stem.removesuffix(END)}.decoded.wav"

    def read(self, source: Path, output: Path) -> Iterator[UnitsToDecode]:
        utterances = read_units(source)
        if self.is_one(source):
            yield UnitsToDecode(source, output, utterances[0])
            return
        names: dict[str, str | None] = {}
        for encoded in utterances:
            name = slug(encoded.name or output.stem)
            if name in names:
                raise UserError(
                    f"{source}: {encoded.name!r} and {names[name]!r} would both become {name}{output.suffix}; rename "
                    "one of them."
                )
            names[name] = encoded.name
            yield UnitsToDecode(source, output.with_name(f"{name}{output.suffix}"), encoded)

    def check(self, item: UnitsToDecode) -> None:
        encoded, inverter = item.encoded, self.inverter
        ours, theirs = inverter.generator.encoder.digest, encoded.codebook
        if theirs is not None and theirs != ours:
            raise UserError(
                f"{item.place}: its units are of the codebook {theirs[:SHOWN]}, and that of this checkpoint is "
                f"{ours[:SHOWN]}, to which they mean something else; the checkpoint that encoded them decodes them."
            )
        for name, own in (("latent_hop", inverter.geometry.latent_hop), ("sample_rate", inverter.sample_rate)):
            if (given := getattr(encoded, name)) not in (None, own):
                raise UserError(f"{item.place}: its {name} is {given}, and that of the model is {own}.")
        try:
            units = checked_units(encoded.units, inverter.settings.bottleneck)
            length_of_units(len(units), encoded.samples, inverter.geometry)
        except UserError as error:
            raise UserError(f"{item.place}: {error}") from error
        refuse_unwritable(item.output)

    def samples(self, item: UnitsToDecode) -> int:
        return length_of_units(len(item.encoded.units), item.encoded.samples, self.inverter.geometry)

    def make(
        self,
        items: Sequence[UnitsToDecode],
        progress: Callable[[int], object],
        finished: Callable[[int, Codes], object],
    ) -> None:
        self.inverter.decode_codes(
            [item.encoded.units for item in items],
            samples=[item.encoded.samples for item in items],
            speaker=self.command.speaker,
            progress=progress,
            finished=finished,
            **asdict(self.sampling),
        )

    def write(self, item: UnitsToDecode, made: Codes) -> None:
        write_audio(item.output, self.inverter.decoder()(made), self.inverter.sample_rate)
