"""A folder of generated audio or units: which of its files are there already, made from what and with what."""

import json
from pathlib import Path
from typing import Any

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import identities, refuse_overwriting, write_text

LEDGER = ".generated.jsonl"  # a line for what everything is made with, then one for each output


class OutputFolder:
    """Outputs by name; each is made once, and again when its input or what it is made with is another.

    Used by one process at a time (owned). UserError where the folder cannot be used.
    """

    def __init__(self, folder: Path, made_with: dict[str, Any], inputs: list[Path], restart: bool):
        """made_with: the checkpoint and all settings that decide; restart: makes everything again."""
        self.folder = folder
        self.restart = restart
        self.inputs = identities(inputs)
        self.claimed: dict[Path, tuple[Path, list[Any]]] = {}  # outputs of this conversion: input, and its state then
        try:
            before, self.made = self._read()
            if before != made_with or restart:
                self.made = dict.fromkeys(self.made)  # there, but outdated
            lines = [made_with, *({"output": name, "source": source} for name, source in self.made.items())]
            write_text(folder / LEDGER, "".join(json.dumps(line) + "\n" for line in lines))
        except OSError as error:
            raise UserError(f"output={folder}: the folder cannot be used ({error.strerror or error}).") from error

    def has(self, output: Path, source: Path) -> bool:
        """Whether the output is there, made from the source as it is now.

        UserError where it must not be written: it is an input, another input's output, or not from here.
        """
        refuse_overwriting(output, self.inputs)
        other, state = self.claimed.setdefault(output, (source, _state(source)))
        if other != source:
            raise UserError(f"{source}: its output {output} is that of {other}; rename one of the two.")
        name = self._name(output)
        if output.exists() and name not in self.made and not self.restart:
            raise UserError(f"{source}: {output} was there before; restart=true replaces it, output=FOLDER keeps it.")
        return output.exists() and self.made.get(name) == state

    def add(self, output: Path) -> None:
        """Notes an output that has been written, in a line that a kill can at most cut.

        It was made from its input as that was when has() was asked, whatever has become of the input since.
        """
        name, (source, state) = self._name(output), self.claimed[output]
        self.made[name] = state
        try:
            with open(self.folder / LEDGER, "a", encoding="utf-8") as file:
                file.write(json.dumps({"output": name, "source": state}) + "\n")
        except OSError as error:
            raise UserError(f"{source}: {output} is written, but {LEDGER} is not ({error.strerror}).") from error

    def _read(self) -> tuple[dict[str, Any] | None, dict[str, list | None]]:
        made, ledger = {}, self.folder / LEDGER
        lines = ledger.read_text(encoding="utf-8", errors="replace").splitlines() if ledger.exists() else []
        values = [_mapping(line) for line in lines]
        for value in values[1:]:
            if isinstance(value.get("output"), str):
                made[value["output"]] = value.get("source")
        return values[0] if values else None, made

    def _name(self, output: Path) -> str:
        return str(output.relative_to(self.folder))


def _mapping(line: str) -> dict[str, Any]:
    """Empty for a line that is cut."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _state(source: Path) -> list[Any]:
    """What tells a file from the one that it replaces. UserError if it is gone."""
    try:
        status = source.stat()
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror}).") from error
    return [str(source.resolve()), status.st_size, status.st_mtime_ns]
