"""The reasons and the environment variables that are documented are those of the code."""

import re
import unittest

import pages
from processes import REPOSITORY

VERDICT = (REPOSITORY / "src/core/verdict.rs").read_text()


class Answers(unittest.TestCase):
    def test_every_reason_is_in_the_table_with_its_status_and_no_other(self):
        rows = re.findall(r'=> row\("([a-z-]+)", (\d{3}),', VERDICT)
        self.assertTrue(rows, "the table in verdict.rs was not found")
        documented = [(reason.strip("`"), status) for reason, status, _ in pages.README.table("Answers")]
        self.assertEqual(sorted(documented), sorted(rows))

    def test_every_environment_variable_is_documented_and_no_other(self):
        # Set in the glue; the fence has names of its own that look alike.
        code = "".join(path.read_text() for path in sorted((REPOSITORY / "src").glob("*.rs")))
        used = set(re.findall(r'c"(JWT_GATE_[A-Z_]+)"', code))
        documented = [variable.strip("`") for variable, _ in pages.guide("authorization").table("Environment variables")]
        self.assertEqual(sorted(documented), sorted(used))


if __name__ == "__main__":
    unittest.main()
