"""The fenced blocks of a Markdown page, with what the page says about running them.

A comment in front of a block, invisible to readers, is its marker:

    <!-- output -->            the block is what the one before it prints; `...` stands for anything
    <!-- exit: 1 -->           the block ends with this exit code, which is no failure
    <!-- stdin: shop -->       a person types this line
    <!-- append: PATH -->      the block is added to the end of that file
    <!-- not run: reason -->   the block cannot be run here

and `<!-- world: NAME -->` in front of all blocks says what the page begins with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

MARKERS = ("output", "exit", "stdin", "append", "not run", "world")

_COMMENT = re.compile(r"^<!-- *(?P<name>[a-z ]+?)(?:: *(?P<text>.*?))? *-->$")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`]*)$")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, what it is, what is said about it."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    markers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Page:
    """A page's blocks and the world that it begins with."""

    path: Path
    world: str
    blocks: tuple[Block, ...]


def read_page(path: Path) -> Page:
    """Return the blocks of a page.

    Raises:
        ValueError: a marker has no block, or a block no end.
    """
    blocks: list[Block] = []
    markers: dict[str, str] = {}
    world = "none"
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if found := _COMMENT.match(line):
            name, text = found["name"], found["text"] or ""
            if name == "world":
                world = text
            elif name in MARKERS:
                markers[name] = text
        elif found := _FENCE.match(line):
            indent, first = len(found["indent"]), number
            while number < len(lines) and lines[number].strip() != "```":
                number += 1
            if number == len(lines):
                raise ValueError(f"{path}:{first}: the block has no end")
            text = "\n".join(each[indent:] for each in lines[first:number])
            number += 1
            title = _TITLE.search(found["info"])
            language = found["info"].split()[0] if found["info"].strip() else "text"
            blocks.append(Block(path, first, language, title and title[1], text, markers))
            markers = {}
        elif line.strip() and markers:
            raise ValueError(f"{path}:{number}: the marker {sorted(markers)} has no block")
    return Page(path, world, tuple(blocks))


def matches(expected: str, actual: str) -> bool:
    """Say whether a text is what a page shows; `...` stands for anything, alone for lines."""
    pattern = ""
    for line in expected.strip().splitlines():
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*?".join(map(re.escape, line.rstrip().split("..."))) + r"[ \t]*\n"
    return re.fullmatch(pattern, actual.strip() + "\n") is not None
