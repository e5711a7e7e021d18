"""reference.conf as data: one entry for each directive."""

import re
from dataclasses import dataclass
from pathlib import Path

FIELDS = ["Meaning", "Syntax", "Default", "Context", "Example"]


class NotUniform(Exception):
    """An entry, or a line, that does not follow the form of the file."""


@dataclass
class Entry:
    name: str
    fields: dict[str, str]


def read(path: Path) -> tuple[str, list[Entry]]:
    """The lines that all examples share, and the entries."""
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if line and not re.match(r"#( |$)", line):
            raise NotUniform(f"line {number} is not commented out: {line}")
    text = "\n".join(line[2:] for line in lines)
    head, *parts = re.split(r"^(JwtGate\w*)\n-+\n", text, flags=re.MULTILINE)
    shared = "\n".join(line.strip() for line in head.splitlines() if line.startswith("    "))
    return shared, [entry(name, body) for name, body in zip(parts[::2], parts[1::2], strict=True)]


def entry(name: str, body: str) -> Entry:
    pieces = re.split(r"^(\w+):", body, flags=re.MULTILINE)
    found = pieces[1::2]
    if found != FIELDS:
        raise NotUniform(f"{name} has the fields {found}, not {FIELDS}")
    return Entry(name, {field: text.strip("\n") for field, text in zip(found, pieces[2::2], strict=True)})
