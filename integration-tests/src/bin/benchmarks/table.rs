//! The table that the benchmark prints: a figure, its limit, and whether it holds.

use std::fmt::Write as _;

use anyhow::Result;

/// Which side of its limit a figure must be on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// Shown for comparison.
    None,
}

struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    limit: Limit,
}

/// Rows in the order in which they were measured.
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a figure, and says it at once: a long run shows what it has.
    pub(crate) fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str, limit: Limit) {
        let what = what.into();
        eprintln!("  {what}: {} {unit}", number(value));
        self.rows.push(Row { what, value, unit, limit });
    }

    /// The table as Markdown, for a terminal and for the README.
    pub(crate) fn render(&self) -> Result<String> {
        let mut text = format!("{}\n\n| Measured | Figure | Limit | |\n|---|---:|---:|---|\n", machine());
        for row in &self.rows {
            let (limit, holds) = match row.limit {
                Limit::AtMost(limit) => (format!("≤ {} {}", number(limit), row.unit), Some(row.value <= limit)),
                Limit::AtLeast(limit) => (format!("≥ {} {}", number(limit), row.unit), Some(row.value >= limit)),
                Limit::None => (String::new(), None),
            };
            let verdict = match holds {
                Some(true) => "holds",
                Some(false) => "**missed**",
                None => "",
            };
            writeln!(text, "| {} | {} {} | {limit} | {verdict} |", row.what, number(row.value), row.unit)?;
        }
        Ok(text)
    }
}

/// Enough digits to compare, no more.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.2} million", value / 1e6),
        v if v >= 1e3 => {
            let thousands = format!("{value:.0}");
            let split = thousands.len() - 3;
            format!("{},{}", &thousands[..split], &thousands[split..])
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn machine() -> String {
    let field = |file: &str, key: &str| {
        std::fs::read_to_string(file)
            .ok()
            .and_then(|text| {
                let line = text.lines().find(|line| line.starts_with(key))?.to_owned();
                Some(line.split_once(':')?.1.trim().to_owned())
            })
            .unwrap_or_else(|| "unknown".to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} ({cores} cores), memory {}", field("/proc/cpuinfo", "model name"), field("/proc/meminfo", "MemTotal"))
}
