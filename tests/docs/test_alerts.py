"""Prometheus itself reads the rules of the alerts, and they fire when they should."""

import re
import shutil
import subprocess
import unittest
from pathlib import Path

from processes import REPOSITORY

RULES = [
    REPOSITORY / "apache-conf/monitoring/alerts.yml",
    REPOSITORY / "apache-conf/examples/4-security-checklist/alerts.yml",
]
CASES = Path(__file__).with_name("alerts.test.yml")
UNPACKED = REPOSITORY / "target/unpacked/prometheus/usr/bin/promtool"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess:
    program = shutil.which("promtool") or UNPACKED
    if not Path(program).exists():
        raise FileNotFoundError("promtool: run `make target/unpacked/prometheus`")
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True, timeout=60)


class Alerts(unittest.TestCase):
    def test_rules_are_valid(self):
        for file in RULES:
            result = promtool("check", "rules", file)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            # A file whose rules it did not find would be valid, too.
            rules = len(re.findall(r"- alert: ", file.read_text()))
            self.assertIn(f"{rules} rules found", result.stdout)

    def test_they_fire_when_they_should(self):
        result = promtool("test", "rules", CASES)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_every_alert_has_fired(self):
        alerts = {name for file in RULES for name in re.findall(r"- alert: (\w+)", file.read_text())}
        fired = re.findall(r'alertname="(\w+)"(?:,instance="\w+")?,alertstate="firing"', CASES.read_text())
        self.assertEqual(set(fired), alerts)


if __name__ == "__main__":
    unittest.main()
