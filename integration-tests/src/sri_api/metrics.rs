//! A reader of Prometheus' classic text format, enough for what the counterparts and the sidecar write.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// One sample line.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSample {
    /// Metric name.
    pub name: String,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    samples: Vec<MetricSample>,
}

impl Metrics {
    /// Reads a scrape.
    ///
    /// # Errors
    /// Names the first line that is neither a comment nor a sample.
    pub fn parse(text: &str) -> Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|line| sample(line).with_context(|| format!("not a sample: {line}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples })
    }

    /// The samples of one metric.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a MetricSample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// Sum over the samples of a metric that carry all these labels; `None` when there is no such sample.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut matching = self
            .of(name)
            .filter(|sample| labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|had| had == value)))
            .map(|sample| sample.value)
            .peekable();
        matching.peek().is_some().then(|| matching.sum())
    }

    /// Values of a per-channel metric of the pool by (client_id, channel_id).
    ///
    /// # Errors
    /// When a sample lacks one of the two labels.
    pub fn by_pool_channel(&self, name: &str) -> Result<BTreeMap<(u64, u32), f64>> {
        let mut values = BTreeMap::new();
        for sample in self.of(name) {
            let client = sample.labels.get("client_id").context("no client_id")?.parse()?;
            let channel = sample.labels.get("channel_id").context("no channel_id")?.parse()?;
            *values.entry((client, channel)).or_insert(0.0) += sample.value;
        }
        Ok(values)
    }
}

fn sample(line: &str) -> Result<MetricSample> {
    let name_end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"").context("a label without value")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.trim_start_matches(',').trim().to_owned(), value);
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next().context("no value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().with_context(|| format!("{number} is no number"))?,
    };
    Ok(MetricSample { name: name.to_owned(), labels, value })
}

/// Reads a label value up to its closing quote, undoing the three escapes of the format.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            other => value.push(other),
        }
    }
    bail!("a label value without closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_escapes_and_sums() {
        let text = "# HELP shares a comment\n\
                    shares{client_id=\"1\",channel_id=\"2\",user=\"a \\\"b\\\\\"} 3\n\
                    shares{client_id=\"1\",channel_id=\"4\",user=\"}\"} 5.5\n\
                    up 1\n";
        let metrics = Metrics::parse(text).expect("three samples");
        assert_eq!(metrics.sum("shares", &[]), Some(8.5));
        assert_eq!(metrics.sum("shares", &[("user", "a \"b\\")]), Some(3.0));
        assert_eq!(metrics.sum("shares", &[("client_id", "2")]), None);
        assert_eq!(metrics.sum("up", &[]), Some(1.0));
        let channels = metrics.by_pool_channel("shares").expect("both labels");
        assert_eq!(channels, BTreeMap::from([((1, 2), 3.0), ((1, 4), 5.5)]));
    }

    #[test]
    fn a_broken_line_is_named() {
        for line in ["shares", "shares{a=\"b} 1", "shares{a} 1", "shares one"] {
            let error = Metrics::parse(line).expect_err(line);
            assert!(format!("{error:#}").contains(line), "{error:#}");
        }
    }
}
