"""Alerts, dashboard and the guide name metrics, labels and reasons that the module has."""

import json
import re
import unittest
import urllib.request

import pages
import yaml
from processes import REPOSITORY, free_port
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sandbox import Sandbox

MONITORING = REPOSITORY / "apache-conf/monitoring"
# What Prometheus itself adds to a sample.
OF_PROMETHEUS = {"instance", "job"}
# Of the samples of one metric.
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"], "info": ["_info"]}
# One of everything that is told by name.
CONFIGURATION = """\
Listen 127.0.0.1:{port}
JwtGateIssuer login https://login.invalid audience=my-api
JwtGateNetwork branches file=jwt_gate/branches.txt
JwtGateLimit all key=global rate=1/s quota=5/day
JwtGateLockout failures=9/1m
<Location "/metrics">
    SetHandler jwt-gate-metrics
    Require local
</Location>
"""


def metrics_of_the_module():
    """What a running server tells."""
    port = free_port()
    with Sandbox() as sandbox, sandbox.start(CONFIGURATION.format(port=port), port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return list(text_string_to_metric_families(answer.read().decode()))


def rules() -> list[dict]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict]:
    return json.loads((MONITORING / "dashboard.json").read_text())["panels"]


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.families = metrics_of_the_module()
        cls.samples = {}
        for family in cls.families:
            for suffix in SUFFIXES[family.type]:
                named = [sample.labels for sample in family.samples if sample.name == family.name + suffix]
                cls.samples[family.name + suffix] = named
        cls.expressions = [rule["expr"] for rule in rules()]
        cls.expressions += [target["expr"] for panel in panels() for target in panel["targets"]]

    def test_the_module_was_asked(self):
        self.assertTrue(self.families)
        self.assertEqual([name for name, labels in self.samples.items() if not labels], [])

    def test_every_metric_in_alerts_and_dashboard_exists(self):
        for expression in self.expressions:
            named = re.findall(r"\bjwt_gate_\w+", expression)
            self.assertTrue(named, expression)
            self.assertEqual([name for name in named if name not in self.samples], [], expression)

    def test_every_label_and_value_exists(self):
        for expression in self.expressions:
            for name, selector in re.findall(r"\b(jwt_gate_\w+)\{([^}]*)\}", expression):
                for label, how, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', selector):
                    if label in OF_PROMETHEUS:
                        continue
                    known = {labels.get(label) for labels in self.samples[name]}
                    values = value.split("|") if how in ("=~", "!~") else [value]
                    self.assertEqual([value for value in values if value not in known], [], f"{label} in {expression}")
            labels = {label for named in self.samples.values() for labels in named for label in labels} | OF_PROMETHEUS
            for group in re.findall(r"\b(?:by|without|ignoring|on) \(([^)]*)\)", expression):
                self.assertLessEqual({label.strip() for label in group.split(",")}, labels, expression)

    def test_metrics_that_the_alerts_speak_of_exist(self):
        for template in re.findall(r"jwt_gate_\w+", (MONITORING / "alerts.yml").read_text()):
            if template != "jwt_gate":
                self.assertIn(template, self.samples)

    def test_expressions_are_balanced(self):
        for expression in self.expressions:
            for begin, end in ("()", "[]", "{}"):
                self.assertEqual(expression.count(begin), expression.count(end), expression)

    def test_rules_are_complete(self):
        names = [rule["alert"] for rule in rules()]
        self.assertEqual(len(set(names)), len(names))
        for rule in rules():
            self.assertLessEqual(set(rule), {"alert", "expr", "for", "labels", "annotations"}, rule)
            self.assertRegex(rule.get("for", "0s"), r"^\d+[smh]$")
            self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
            self.assertEqual(set(rule["annotations"]), {"summary", "description"}, rule["alert"])

    def test_reasons_of_the_surges_are_all_that_have_the_status(self):
        statuses = {}
        for reason, status, _ in pages.README.table("Answers"):
            statuses.setdefault(status, set()).add(reason.strip("`"))
        for alert, status in (("JwtGateUnauthorizedSurge", "401"), ("JwtGateTooManyRequestsSurge", "429")):
            expression = next(rule["expr"] for rule in rules() if rule["alert"] == alert)
            named = re.search(r'reason=~"([^"]*)"', expression)[1].split("|")
            self.assertEqual(set(named), statuses[status])

    def test_panels_have_their_own_number_and_place(self):
        self.assertEqual(len({panel["id"] for panel in panels()}), len(panels()))
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
        self.assertEqual(len(set(places)), len(places))

    def test_table_of_the_guide_is_what_the_module_tells(self):
        told = {}
        for family in self.families:
            name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            labels = set(family.samples[0].labels) - {"le"}
            told[name] = labels
        table = {
            metric.strip("`"): set(re.findall(r"`(\w+)`", labels))
            for metric, labels, _ in pages.guide("observing").table("Status and metrics")
        }
        self.assertEqual(table, told)


if __name__ == "__main__":
    unittest.main()
