"""What the site takes from the sources at each build, so that no page can say otherwise.

Three pages are made whole: the commands' help, asked of the commands; the keys of a preset, out of
the comments beside the structs that read them; and the tables of the engine, out of its migrations.
A navigation entry that is a pattern stands for its files.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
MIGRATIONS = ROOT / "src/ingest/migrations"
PRESET = ROOT / "src/ingest/src/preset"
HELP_COLUMNS = "96"

# In front of what is generated.
_CLI = """# Command line

`sse-stream` and `python -m sse_stream` are the same program. Exit codes: 0 done, 1 failed or
something found, 2 wrong usage; a command that differs says so below.
"""
_PRESET = """# Preset format

A preset is a folder: `preset.toml`, and the tables as numbered files in `migrations/`. How to make
one is told in [Your own preset](../how-to/preset.md). This page lists what the engine reads; an
unknown key is an error that names the known ones.
"""
_TABLES = """# Tables of sse_stream

The engine's books, beside your own tables and in the same transactions. Read them freely; write
them by the [commands](cli.md) only. The comments are those of the migrations that make them.
"""


# MkDocs' side of it.


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put files in the place of patterns; one that no file matches goes away."""
    nav: list[Any] = []
    for entry in config.nav or []:
        ((title, target),) = entry.items()
        if isinstance(target, str) and "*" in target:
            found = sorted(Path(config.docs_dir).glob(target))
            pages = [path.relative_to(config.docs_dir).as_posix() for path in found]
            if pages:
                nav.append({title: pages if len(pages) > 1 or "/" in target else pages[0]})
        else:
            nav.append(entry)
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Turn what is left of Sphinx's roles, as in :class:`Name`, into code."""
    return re.sub(r":(?:func|class|meth|mod):(?=<code>)", "", html)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would fetch anything from elsewhere."""
    outside = re.compile(
        r"""(?:<script[^>]+src|<link[^>]+stylesheet[^>]+href|<img[^>]+src)=["']https?:"""
    )
    for page in Path(config.site_dir).rglob("*.html"):
        if found := outside.search(page.read_text(encoding="utf-8")):
            raise SystemExit(f"{page.name} fetches from elsewhere: {found.group()}")


def pages() -> dict[str, str]:
    """Return the generated pages by name."""
    return {
        "cli": _CLI + "\n".join(commands()),
        "preset": _PRESET + "\n".join(preset_keys()),
        "tables": _TABLES + "\n".join(tables()),
    }


# The command line.


def commands() -> Iterator[str]:
    """Yield the help of every command, each under a heading."""
    from sse_stream.__main__ import _parser

    os.environ["COLUMNS"] = HELP_COLUMNS
    sys.argv[0] = "sse-stream"
    for name, parser in _leaves(_parser()):
        yield f"\n## {name}\n\n```text\n{parser.format_help().rstrip()}\n```"


def _leaves(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, sub in group.choices.items():
            yield from _leaves(sub, f"{name} {word}".strip())


# The keys of a preset.

_ITEM = re.compile(
    r"(?P<doc>(?:^ *///[^\n]*\n)*)(?P<attributes>(?:^ *#\[[^\n]*\]\n)*)"
    r"^ *pub(?:\(crate\))? (?:struct|enum) (?P<name>\w+) \{\n(?P<body>.*?)^\}",
    re.MULTILINE | re.DOTALL,
)
_FIELD = re.compile(
    r"(?P<doc>(?:^ *///[^\n]*\n)*)(?P<attributes>(?:^ *#\[[^\n]*\]\n)*)"
    r"^ *pub(?:\(crate\))? (?P<name>\w+): (?P<type>[^\n]+),$",
    re.MULTILINE,
)
_VARIANT = re.compile(
    r"(?P<doc>(?:^ *///[^\n]*\n)*)(?P<attributes>(?:^ *#\[[^\n]*\]\n)*)^ {4}(?P<name>[A-Z]\w*)",
    re.MULTILINE,
)
_PLAIN = {
    "String": "text",
    "bool": "true or false",
    "i64": "number",
    "u64": "number",
    "f64": "number",
    # What several forms can be written in, in words in place of its types.
    "Scalar": "text, number, true or false",
    "ResumeBy": '`"last-event-id"` or `{ query = "..." }`',
    "ColumnSpec": "source, see [Routes](../routes.md)",
}
_PARTS = {"HeaderName", "QueryName"}
# Where a struct stands in the file; what is not named here is reached through a field's type.
_SECTIONS = {
    "StreamSpec": "[stream]",
    "SinceSpec": "[stream.since]",
    "PagesSpec": "[stream.pages]",
    "RouteSpec": "[[route]]",
    "Form": "as",
}


def preset_keys() -> Iterator[str]:
    """Yield a table of keys for every struct that a preset is read into, and of every choice."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted(PRESET.glob("*.rs")))
    source = re.sub(r"^#\[cfg\(test\)\]\nmod tests \{.*?^\}", "", source, flags=re.M | re.S)
    items = [
        item
        for item in _ITEM.finditer(source)
        if "Deserialize" in item["attributes"] and item["name"] not in {*_PLAIN, *_PARTS}
    ]
    kinds = {item["name"] for item in items}
    order = list(_SECTIONS)
    items.sort(key=lambda item: order.index(item["name"]) if item["name"] in order else len(order))
    for item in items:
        fields = list(_FIELD.finditer(item["body"]))
        if fields:
            yield f"\n## {_heading(_title(item['name']))}\n\n{_prose(item['doc'])}\n"
            yield "| key | value | meaning |\n|---|---|---|"
            for field in fields:
                kind = _kind(field["type"], field["attributes"], kinds)
                name = _renamed(field["attributes"]) or field["name"]
                yield f"| `{name}` | {kind} | {_cell(_prose(field['doc']))} |"
        else:
            yield f"\n## {_title(item['name'])}\n\n{_prose(item['doc'])}\n"
            yield "| value | meaning |\n|---|---|"
            for variant in _VARIANT.finditer(item["body"]):
                name = _renamed(variant["attributes"]) or _snake(variant["name"])
                yield f"| `{name}` | {_cell(_prose(variant['doc']))} |"


def _kind(rust: str, attributes: str, kinds: set[str]) -> str:
    optional = "default" in attributes or rust.startswith("Option<")
    inner = re.sub(r"^Option<(.*)>$", r"\1", rust)
    if found := re.match(r"^Vec<(.*)>$", inner):
        words = f"list of {_kind(found[1], '', kinds)}"
    elif found := re.match(r"^BTreeMap<String, (.*)>$", inner):
        words = f"table: name to {_kind(found[1], '', kinds)}"
    elif inner in kinds:
        title = _title(inner)
        words = f"[{title.strip('[]')}](#{_anchor(title)})"
    else:
        words = _PLAIN.get(inner, inner)
    return f"{words} (optional)" if optional else words


def _renamed(attributes: str) -> str | None:
    found = re.search(r'rename = "(\w+)"', attributes)
    return found[1] if found else None


def _title(name: str) -> str:
    return _SECTIONS.get(name, _snake(name.removesuffix("Spec")).replace("_", " "))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _heading(title: str) -> str:
    return f"`{title}`" if title.startswith("[") else title


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\s-]", "", title).strip().replace(" ", "-").lower()


# The tables of the engine.

_TABLE = re.compile(
    r"(?P<doc>(?:^--[^\n]*\n)*)^create table (?P<name>[\w.]+) \(\n(?P<body>.*?)^\);", re.M | re.S
)
_COLUMN = re.compile(
    r"(?P<doc>(?:^ {4}--[^\n]*\n)*)^ {4}(?!constraint)(?P<name>\w+) (?P<type>[^\n]+?),?\n", re.M
)


def tables() -> Iterator[str]:
    """Yield a table of columns for every table that the engine's migrations make."""
    for path in sorted(MIGRATIONS.glob("*.sql")):
        for table in _TABLE.finditer(path.read_text(encoding="utf-8")):
            yield f"\n## {table['name']}\n\n{_comment(table['doc'])}\n"
            yield "| column | type | meaning |\n|---|---|---|"
            # Constraints stand last, some over several lines.
            columns = re.split(r"^ {4}constraint", table["body"], maxsplit=1, flags=re.M)[0]
            for column in _COLUMN.finditer(columns):
                meaning = _cell(_comment(column["doc"]))
                yield f"| `{column['name']}` | {_cell(column['type'])} | {meaning} |"


def _comment(lines: str) -> str:
    return " ".join(line.strip().removeprefix("--").strip() for line in lines.splitlines())


def _prose(lines: str) -> str:
    text = " ".join(line.strip().removeprefix("///").strip() for line in lines.splitlines())
    # Rust's own links lead nowhere here.
    return re.sub(r"\[(`[^`]+`)\](?!\()", r"\1", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
