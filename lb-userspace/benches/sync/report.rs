//! The figures, as a table while they come in and as JSON in the end.

use std::time::Duration;

use serde_json::{Value, json};

/// What was measured with one number of Services.
pub(crate) struct Row {
    services: u32,
    initial: Duration,
    /// From the shortest to the longest.
    changes: Vec<Duration>,
    rss_kib: u64,
    cpu_percent: f64,
}

/// Prints the head of the table.
pub(crate) fn print_head() {
    println!("services  initial, ms  change p50, ms  p99, ms  memory, MiB  CPU at 50 changes/s, %");
}

/// All figures.
pub(crate) fn json(rows: &[Row]) -> String {
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    format!("{:#}\n", json!({ "rows": rows }))
}

impl Row {
    pub(crate) fn new(
        services: u32,
        initial: Duration,
        mut changes: Vec<Duration>,
        rss_kib: u64,
        cpu_percent: f64,
    ) -> Self {
        changes.sort_unstable();
        Self { services, initial, changes, rss_kib, cpu_percent }
    }

    pub(crate) fn print(&self) {
        println!(
            "{:>8}  {:>11.1}  {:>14.1}  {:>7.1}  {:>11.1}  {:>22.1}",
            self.services,
            millis(self.initial),
            self.percentile(50),
            self.percentile(99),
            self.rss_mib(),
            self.cpu_percent
        );
    }

    fn json(&self) -> Value {
        let round = |value: f64| (value * 100.0).round() / 100.0;
        json!({
            "services": self.services,
            "initial_ms": round(millis(self.initial)),
            "change_p50_ms": round(self.percentile(50)),
            "change_p99_ms": round(self.percentile(99)),
            "rss_mib": round(self.rss_mib()),
            "cpu_percent": round(self.cpu_percent),
        })
    }

    /// So many per cent of the changes took no longer, in milliseconds.
    fn percentile(&self, per_cent: usize) -> f64 {
        let index = (self.changes.len() * per_cent).div_ceil(100).saturating_sub(1);
        self.changes.get(index).copied().map_or(0.0, millis)
    }

    fn rss_mib(&self) -> f64 {
        self.rss_kib as f64 / 1024.0
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
