"""Whatever the documents and the program's own words lead to is there."""

import re
import unittest
from pathlib import Path

import pages
from pages import Page
from processes import REPOSITORY

# What may speak of pages.
TEXTS = {".rs", ".conf", ".load", ".toml", ".py", ".sh", ".yml"}


def broken(page: Page, link: str) -> str | None:
    """Why a link of the page leads nowhere."""
    if re.match(r"[a-z]+:", link):
        return None
    path, _, anchor = link.partition("#")
    target = (page.path.parent / path).resolve() if path else page.path
    if not target.exists():
        return f"{page.name}: {link}: there is no such file"
    if anchor and anchor not in Page(target).anchors:
        return f"{page.name}: {link}: there is no such heading"
    return None


class Links(unittest.TestCase):
    def test_anchors_are_made_of_headings_as_on_github(self):
        self.assertEqual(
            pages.anchors(["Limits, with numbers", "A `b` & c", "Answers", "Answers", "[A link](x) in it", "x_y-z"]),
            {"limits-with-numbers", "a-b--c", "answers", "answers-1", "a-link-in-it", "x_y-z"},
        )

    def test_all_links_lead_somewhere(self):
        self.assertGreater(sum(len(page.links) for page in pages.ALL), 50)
        self.assertEqual([why for page in pages.ALL for link in page.links if (why := broken(page, link))], [])

    def test_a_link_that_leads_nowhere_is_found(self):
        self.assertIn("no such file", broken(pages.README, "docs/nothing.md"))
        self.assertIn("no such heading", broken(pages.README, "docs/limits.md#nothing"))
        self.assertIn("no such heading", broken(pages.README, "#nothing"))

    def test_readme_leads_to_every_page_of_the_guide(self):
        named = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", pages.README.section("The guide")))
        self.assertEqual(named, {page.name for page in pages.GUIDE})

    def test_pages_that_anything_else_names_are_there(self):
        """Messages, configurations and comments name a page by its path, and a heading behind a `#`."""
        folders = [REPOSITORY / name for name in ("src", "apache-conf", "include", "tests")]
        files = [path for folder in folders for path in folder.rglob("*") if path.suffix in TEXTS]
        named = []
        for path in (REPOSITORY / "Makefile", REPOSITORY / "Cargo.toml", *files):
            if path == Path(__file__):
                continue
            for page, anchor in re.findall(r"\b(docs/[\w-]+\.md)(?:#([\w-]+))?", path.read_text()):
                named.append(page)
                with self.subTest(file=path, page=page):
                    self.assertTrue((REPOSITORY / page).exists())
                    if anchor:
                        self.assertIn(anchor, Page(REPOSITORY / page).anchors)
        self.assertTrue(named)

    def test_no_page_is_longer_than_one_reads(self):
        self.assertLessEqual({page.name for page in (pages.README, *pages.GUIDE) if page.text.count("\n") > 450}, set())


if __name__ == "__main__":
    unittest.main()
