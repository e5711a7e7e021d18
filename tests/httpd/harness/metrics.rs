//! What monitoring reads, as Prometheus' own client for Python understands it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Server, await_true};

/// Where the metrics are, for a server that is gated elsewhere.
pub(crate) const METRICS: &str =
    "<Location /metrics>\nJwtGate off\nSetHandler jwt-gate-metrics\nRequire local\n</Location>\n";

/// The samples of one moment.
#[derive(Debug)]
pub(crate) struct Metrics(Vec<(String, Value, f64)>);

impl Metrics {
    /// Asks the server of [`METRICS`].
    ///
    /// # Panics
    /// When the answer is not what Prometheus reads.
    pub(crate) fn of(server: &Server) -> Self {
        let answer = server.get("/metrics").send();
        let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some(expected)), "{answer:?}");
        Self::read(&answer.body)
    }

    fn read(text: &[u8]) -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = package.join("../../target/venv/bin/python");
        let mut command = Command::new(python);
        command.arg(package.join("harness/openmetrics.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut reader = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        reader.stdin.take().unwrap().write_all(text).unwrap();
        let output = reader.wait_with_output().unwrap();
        assert!(output.status.success(), "prometheus_client refuses\n{}", String::from_utf8_lossy(text));
        let samples: Vec<(String, Value, String)> = serde_json::from_slice(&output.stdout).unwrap();
        Self(samples.into_iter().map(|(name, labels, value)| (name, labels, value.parse().unwrap())).collect())
    }

    /// The value with exactly these labels.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {self:?}"))
    }

    /// The value with exactly these labels, if there is one.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Value = labels.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        self.0.iter().find(|sample| sample.0 == name && sample.1 == labels).map(|sample| sample.2)
    }

    /// The sum over all labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|sample| sample.0 == name).map(|sample| sample.2).sum()
    }

    /// Waits until so many client requests are counted as decided: httpd logs them when their answers are sent.
    ///
    /// # Panics
    /// When that does not come, or there are more.
    pub(crate) fn await_decisions(server: &Server, count: u32) -> Self {
        await_true(&format!("{count} decisions"), || {
            let decisions = Self::of(server).sum("jwt_gate_decisions_total");
            assert!(decisions <= f64::from(count), "{decisions} decisions, not {count}");
            decisions >= f64::from(count)
        });
        Self::of(server)
    }

    /// How many decisions there were, with this verdict and reason.
    pub(crate) fn decisions(&self, verdict: &str, reason: &str) -> f64 {
        self.value("jwt_gate_decisions_total", &[("verdict", verdict), ("reason", reason)])
    }
}
