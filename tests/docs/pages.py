"""The documents as data: their code blocks, their tables, their headings and their links."""

import re
import textwrap
from pathlib import Path

from processes import REPOSITORY


class Page:
    """A document in Markdown."""

    def __init__(self, path: Path):
        self.path = path
        self.name = str(path.relative_to(REPOSITORY))
        self.text = path.read_text()
        # Without what is code.
        prose = re.sub(r"^( *)```.*?^\1```$", "", self.text, flags=re.DOTALL | re.MULTILINE)
        self.anchors = anchors(re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE))
        self.links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose))

    def blocks(self, language: str) -> list[str]:
        found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", self.text, flags=re.DOTALL | re.MULTILINE)
        return [textwrap.dedent(block) for _, block in found]

    def section(self, heading: str) -> str:
        """What stands below that heading of the second level."""
        return self.text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]

    def table(self, heading: str) -> list[list[str]]:
        """The rows of the table below that heading, cell by cell."""
        rows = [line for line in self.section(heading).splitlines() if line.startswith("|")][2:]
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def anchors(headings: list[str]) -> set[str]:
    """What a link to one of these headings of a page ends in, as GitHub makes it of the text."""
    found: list[str] = []
    for heading in headings:
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        repeated = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", other) is not None for other in found)
        found.append(f"{anchor}-{repeated}" if repeated else anchor)
    return set(found)


def session(text: str) -> list[tuple[str, list[str]]]:
    """A console block: the commands, each with the lines that are shown below it. A line that ends in `\\` goes on."""
    commands: list[tuple[str, list[str]]] = []
    goes_on = False
    for line in text.splitlines():
        if goes_on:
            command, shown = commands[-1]
            commands[-1] = (f"{command}\n{line}", shown)
        elif line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(line)
        goes_on = line.endswith("\\")
    return commands


README = Page(REPOSITORY / "README.md")
GUIDE = [Page(path) for path in sorted((REPOSITORY / "docs").glob("*.md"))]
# All that is written for people.
ALL = [
    README,
    *GUIDE,
    *(Page(REPOSITORY / name) for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(Page(path) for path in sorted(REPOSITORY.glob("apache-conf/**/README.md"))),
    *(Page(path) for path in sorted(REPOSITORY.glob("tests/*/README.md"))),
]


def guide(name: str) -> Page:
    """The page of the guide with this name, without `.md`."""
    return next(page for page in GUIDE if page.path.stem == name)
