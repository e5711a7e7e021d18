"""Prints the code blocks of one language that are below a heading: document.py HEADING LANGUAGE

The heading, of whatever level, is in README.md or in one of the files below docs/.
"""

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def section(text: str, heading: str) -> str | None:
    """What is below the heading, up to the next one that is not lower."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, flags=re.MULTILINE)
    if found is None:
        return None
    rest = text[found.end() :]
    # Comments of the shell look like headings.
    outside = re.sub(r"^```.*?^```$", lambda block: " " * len(block[0]), rest, flags=re.DOTALL | re.MULTILINE)
    end = re.search(rf"^#{{1,{len(found[1])}}} ", outside, flags=re.MULTILINE)
    return rest[: end.start()] if end else rest


def main(heading: str, language: str) -> None:
    documents = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("**/*.md"))]
    sections = [found for document in documents if (found := section(document.read_text(), heading)) is not None]
    if len(sections) != 1:
        sys.exit(f"{len(sections)} headings {heading!r} in {', '.join(map(str, documents))}")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", sections[0], flags=re.DOTALL | re.MULTILINE)
    if not blocks:
        sys.exit(f"no block of {language} below {heading!r}")
    print("".join(blocks), end="")


main(*sys.argv[1:])
