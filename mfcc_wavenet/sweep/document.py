"""A YAML file whose values know their lines, so that every mistake in it can be named with its line."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import near

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast, where it is installed
PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq")}
MERGE_TAG = "tag:yaml.org,2002:merge"  # of the key <<
FOLDER = Path("sweeps")  # where sweep files usually are
MAX_DEPTH = 20  # of mappings and lists in each other
MAX_VALUES = 30_000  # those of aliases included: a few lines of aliases can stand for any number of values
MAX_INTEGER = 2**53  # above it a float, in which Optuna keeps them, has no place for every integer

Keys = tuple[Any, ...]  # of a value in the document, from the root down


class Document:
    """The values of a YAML file, each addressed by its keys, and their lines."""

    def __init__(self, path: Path):
        """Raises UserError if the file cannot be read, is not YAML, or is too large to be a sweep file."""
        self.path = path
        self.lines: dict[Keys, int] = {}
        try:
            text = path.read_text(encoding="utf-8")
            self._refuse_excess(text)
            loader = Loader(text)
            root = loader.get_single_node()
            for keys, line in self._find_lines(root, (), (), loader) if root else ():
                self.lines[keys] = line
                if len(self.lines) > MAX_VALUES:
                    raise self._too_many(line)
            self.values = loader.construct_document(root) if root else None
        except (OSError, UnicodeDecodeError) as error:
            similar = next((other for other in _similar(path) if other.is_file()), None)
            hint = f"; did you mean {similar}?" if similar else "."
            reason = getattr(error, "strerror", error)
            raise UserError(f"The sweep file {path} cannot be read ({reason}){hint}") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            reason = " ".join(str(getattr(error, "problem", None) or error).split())
            raise UserError(f"{path}{line}: this is not YAML ({reason}).") from error

    def _refuse_excess(self, text: str) -> None:
        """Before a tree is built, which recurses and needs memory."""
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader)):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise self._too_deep(event.start_mark.line + 1)
            if number > 2 * MAX_VALUES:  # events: a value and its key, or the two ends of a list
                raise self._too_many(event.start_mark.line + 1)

    def _find_lines(
        self, node: yaml.Node, keys: Keys, ancestors: tuple[yaml.Node, ...], loader: Any
    ) -> Iterator[tuple[Keys, int]]:
        """The keys and the line of every value below the node."""
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            self._refuse_unknown_type(node, loader)
            return
        if node.tag not in PLAIN_TAGS:
            raise self._error(line, f"the tag {node.tag} is not known here")
        if any(node is ancestor for ancestor in ancestors):
            raise self._error(line, "an alias within this refers to this")
        if len(ancestors) >= MAX_DEPTH:
            raise self._too_deep(line)
        seen = set()
        for position, item in enumerate(node.value):
            key, value = item if isinstance(node, yaml.MappingNode) else (position, item)
            line = value.start_mark.line + 1
            if isinstance(key, yaml.Node):
                line, key = self._key(key, seen, loader)
            yield (*keys, key), line
            yield from self._find_lines(value, (*keys, key), (*ancestors, node), loader)

    def _key(self, node: yaml.Node, seen: set[str], loader: Any) -> tuple[int, str]:
        """The line and the text of a key that is none of those seen."""
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(line, "a key is a single word, not a list or a mapping")
        if node.tag != MERGE_TAG:
            self._refuse_unknown_type(node, loader)
        if node.value in seen:
            raise self._error(line, f"{node.value} is there twice")
        seen.add(node.value)
        return line, node.value

    def _refuse_unknown_type(self, node: yaml.ScalarNode, loader: Any) -> None:
        line = node.start_mark.line + 1
        try:
            value = loader.construct_object(node)
            str(value)  # which Python refuses for integers of thousands of digits
        except (ValueError, LookupError, AttributeError) as error:  # PyYAML's, of a date that does not exist, for one
            raise self._error(line, f"{node.value[:40]} cannot be read; quotes make it text") from error
        if not isinstance(value, str | int | float | None):
            raise self._error(line, f"{node.value[:40]} is a {type(value).__name__} to YAML; quotes make it text")

    def _too_many(self, line: int) -> UserError:
        return self._error(line, f"there are more than {MAX_VALUES:,} values, those of aliases included")

    def _too_deep(self, line: int) -> UserError:
        return self._error(line, f"this is nested more than {MAX_DEPTH} levels deep")

    def _error(self, line: int, sentence: str) -> UserError:
        end = "" if sentence.endswith((".", "?")) else "."
        return UserError(f"{self.path}, line {line}: {sentence}{end}")

    # --- values -----------------------------------------------------------------------------------

    def wrong(self, keys: Keys, sentence: str) -> UserError:
        """An error with the line of the value or, where it is missing, of what it belongs to."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self._error(self.lines.get(keys, 1), sentence)

    def get(self, keys: Keys) -> Any:
        value = self.values
        for key in keys:
            value = value[key]
        return value

    def mapping(self, keys: Keys) -> dict[str, Any]:
        value = self.get(keys)
        if not isinstance(value, dict):
            raise self.wrong(keys, f"{'.'.join(map(str, keys)) or 'a sweep file'} consists of lines KEY: VALUE")
        for key in value:
            if not isinstance(key, str):
                raise self.wrong(keys, f"the key {key!r} is not a word to YAML; quotes make it one")
        return value

    def text(self, keys: Keys) -> str:
        value = self.get(keys)
        if not isinstance(value, str) or not value:
            raise self.wrong(keys, f"{'.'.join(map(str, keys))} is {value!r}; it takes text")
        return value

    def one_of(self, keys: Keys, known: Sequence[str]) -> str:
        value = self.get(keys)
        if value not in known:
            raise self.wrong(keys, f"{'.'.join(map(str, keys))} is {value}; {near(str(value), list(known))}")
        return value

    def number(
        self, keys: Keys, integer: bool = False, minimum: int | None = None, maximum: int | None = None
    ) -> int | float:
        """A finite number; an integer is at most MAX_INTEGER if no other maximum is given."""
        value = self.get(keys)
        *_, owner, key = ("", *keys)
        name = f"{owner}: {key}" if owner else key
        if isinstance(value, str):
            how = f"; YAML reads {value} as text; write it as in 1.0e-3" if "e" in value else ""
            raise self.wrong(keys, f"{name} is {value!r}, which is not a number{how}")
        if type(value) is not int and (integer or type(value) is not float):
            raise self.wrong(keys, f"{name} is {value}; it takes {'an integer' if integer else 'a number'}")
        if minimum is not None and value < minimum:
            raise self.wrong(keys, f"{name} is {value}; it must be at least {minimum}")
        limit = maximum or (MAX_INTEGER if integer else sys.float_info.max)
        if not abs(value) <= limit:  # nor is NaN
            kind = f"an integer of at most {limit:,}" if integer else "a finite number"
            raise self.wrong(keys, f"{name} is {value}; it takes {kind}")
        return value

    def refuse_unknown(self, keys: Keys, known: list[str], of: str = "") -> None:
        for key in self.mapping(keys):
            if key not in known:
                near_ones = near(str(key), known)
                what = of or (f"{'.'.join(map(str, keys))}: " if keys else "")
                raise self.wrong((*keys, key), f"{what}{key} is not known; {near_ones}")


def _similar(path: Path) -> list[Path]:
    """Where the file may be if its folder or its suffix was left out."""
    names = [path.name, f"{path.name}.yaml"]
    return [folder / name for folder in (path.parent, FOLDER) for name in names if folder / name != path]
