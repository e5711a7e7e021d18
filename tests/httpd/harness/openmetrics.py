"""Reads OpenMetrics text as Prometheus does, and writes its samples as JSON: name, labels, value as text."""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

samples = [
    [sample.name, sample.labels, str(sample.value)]
    for family in text_string_to_metric_families(sys.stdin.read())
    for sample in family.samples
]
json.dump(samples, sys.stdout)
