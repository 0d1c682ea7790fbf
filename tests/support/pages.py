"""The Markdown that people read, taken apart: its commands, snippets, links and headings."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from support.settings import ROOT

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PROGRAM = re.compile(r"(\w+=\S+ )*(python[\d.]*|make|wandb|pip|git|\.|\./\S+) \S")  # how a command begins


@dataclass(frozen=True)
class Page:
    """A Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """From the top of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[tuple[str, str]]:
        """Language and content of every fenced block."""
        return FENCE.findall(self.text)

    @cached_property
    def prose(self) -> str:
        """All that is in no fenced block."""
        return FENCE.sub("", self.text)

    @cached_property
    def commands(self) -> list[str]:
        """Every line of a shell block without its comment, and the commands in the prose."""
        lines = "\n".join(block for language, block in self.blocks if language == "sh").splitlines()
        inline = [" ".join(code.split()) for code in INLINE.findall(self.prose)]
        found = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines]
        return [line for line in [*found, *filter(PROGRAM.match, inline)] if line]

    @cached_property
    def snippets(self) -> str:
        """The Python blocks, which may build on one another."""
        return "\n".join(block for language, block in self.blocks if language == "python")

    @cached_property
    def links(self) -> list[str]:
        """Targets of links and pictures."""
        return LINK.findall(self.prose)

    @cached_property
    def anchors(self) -> set[str]:
        """Of its headings, as GitHub makes them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


README = Page(ROOT / "README.md")
DOCS = [README, *map(Page, sorted((ROOT / "docs").glob("*.md")))]
RECORDS = list(map(Page, sorted((ROOT / "experiments").glob("*/README.md"))))
