"""stack.ps1, as far as it can be checked without PowerShell: its grammar, and that its verbs are ours.

`make lint` runs this file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "stack.ps1"


def main() -> int:
    """Print every breach and return the exit code."""
    breaches = [*grammar(SCRIPT.read_bytes()), *verbs(SCRIPT.read_text(encoding="utf-8"))]
    for breach in breaches:
        print(f"stack.ps1: {breach}", file=sys.stderr)
    print(f"powershell: {len(breaches)} problems")
    return 1 if breaches else 0


def grammar(source: bytes) -> Iterator[str]:
    """Yield each place that no PowerShell could read."""
    tree = Parser(Language(tree_sitter_powershell.language())).parse(source)
    if tree.root_node.has_error:
        yield from _errors(tree.root_node)


def verbs(text: str) -> Iterator[str]:
    """Compare the verbs that it takes with those of `python -m stack`."""
    sys.path.insert(0, str(ROOT))
    from stack.__main__ import VERBS

    allowed = re.search(r"\[ValidateSet\((.*?)\)\]", text, re.DOTALL)
    found = set(re.findall(r"'(\w+)'", allowed.group(1))) if allowed else set()
    for verb in sorted(found ^ {*VERBS, "help"}):
        yield f"verb {verb} is known to one side only"


def _errors(node: Node) -> Iterator[str]:
    if node.type == "ERROR" or node.is_missing:
        yield f"line {node.start_point[0] + 1}: cannot be read"
    for child in node.children:
        yield from _errors(child)


if __name__ == "__main__":
    sys.exit(main())
