//! Every expression of the Grafana dashboard and of the alert rules, evaluated by a real Prometheus over what it scraped
//! of a simulated pool: each is valid, reads series that there are, and shows something.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::ports::PortLease;
use integration_tests::process::{Process, ProcessSpec};
use integration_tests::wait::{Look, wait_for};
use integration_tests::{Sidecar, TestFolder, http, sidecar, story};
use serde_json::Value;

use crate::{Prometheus, SOON, grafana, percent_encoded};

/// With a name like this, only a dashboard that escapes its variables finds anything.
const PUBLISHER: &str = "pool.eu (1)";
/// What Grafana puts for its own variable where a scrape is due every 15 seconds.
const RATE_INTERVAL: &str = "1m";
/// Rules look at a day of which the last minutes are left out. The test is not that old, so it leaves out one second.
const OFFSETS: [&str; 2] = ["offset 10m", "offset 30m"];
const OFFSET: &str = "offset 1s";

/// Expressions that must show nothing here, each with the reason. Whether they read what there is, is looked at all the same.
const EMPTY_HERE: [(&str, &str, &str); 3] = [
    ("Lost or given up", "A", "no event expired before a sink had it"),
    ("Lost or given up", "B", "no sink refused an event"),
    ("Lost or given up", "C", "the ledgers add up"),
];

#[tokio::test]
async fn every_expression_shows_something() -> Result<()> {
    story("grafana", async |folder| {
        let metrics = PortLease::new()?;
        let section = format!("[sinks.metrics]\ntype = \"prometheus\"\nlisten = \"{}\"", metrics.address());
        let mut sidecar = Sidecar::builder(folder)?.section(&section).start().await?;
        let rules = eager_rules(folder)?;
        let prometheus = Prometheus::start(folder, metrics.address(), sidecar.admin_address(), &rules).await?;

        // Hours of mining in moments: blocks, rejects, quotes of every fate. Twice, with a scrape between, so that each
        // counter is seen to rise; the end of a run leaves quotes without an answer.
        let mut shares = 0.0;
        for seed in ["1", "2"] {
            let arguments = ["--rate", "max", "--events", "20000", "--drain", "60s", "--seed", seed];
            let mut pool = simulate(folder, &sidecar, &arguments)?;
            let ended = pool.wait_for_end(SOON).await?;
            ensure!(ended.success(), "{}", pool.tail());
            let more = move |now: f64| now > shares;
            shares = prometheus.wait_for_value("mining_shares_accepted_total", more).await?;
            prometheus.wait_for_value("mining_blocks_found_total", |blocks| blocks > 1.0).await?;
        }
        // And a pool that is there while the dashboard is looked at.
        let mut pool = simulate(folder, &sidecar, &["--rate", "100"])?;

        let variables = Variables::read(&prometheus).await?;
        for panel in panels(&variables)? {
            every_selector_finds_series(&prometheus, &panel.expression).await?;
            let empty = EMPTY_HERE.iter().find(|(title, id, _)| *title == panel.title && *id == panel.id);
            match empty {
                None => prometheus.wait_for_series(&panel.expression).await.with_context(|| panel.name())?,
                Some((_, _, why)) => {
                    let series = prometheus.series(&panel.expression).await.with_context(|| panel.name())?;
                    ensure!(series == 0, "{} shows {series} series, although {why}", panel.name());
                }
            }
        }
        for (_, expression) in prometheus.rules("recording").await? {
            every_selector_finds_series(&prometheus, &expression).await?;
            prometheus.wait_for_series(&expression).await?;
        }
        // Which alerts fire when is for promtool's test of the rules; here each must read what there is.
        let alerts = prometheus.rules("alerting").await?;
        ensure!(alerts.len() > 10, "{alerts:?}");
        for (name, expression) in alerts {
            every_selector_finds_series(&prometheus, &expression).await.with_context(|| name.clone())?;
            prometheus.series(&expression).await.with_context(|| name.clone())?;
        }
        prometheus.wait_for_healthy_rules().await?;
        pool.kill().await?;
        sidecar.stop().await?;
        Ok(())
    })
    .await
}

/// A simulated pool that asks a mint for quotes.
fn simulate(folder: &TestFolder, sidecar: &Sidecar, arguments: &[&str]) -> Result<Process> {
    let address = sidecar.address().to_string();
    let common = ["simulate", "--to", &address, "--publisher", PUBLISHER, "--quotes", "--miners", "20", "--json"];
    let spec = ProcessSpec::new("simulate", sidecar::binary()?, folder.path());
    common.iter().chain(arguments).fold(spec, ProcessSpec::arg).start()
}

/// Our rules, evaluated every second and without waiting for the first ten minutes.
fn eager_rules(folder: &TestFolder) -> Result<PathBuf> {
    let rules = std::fs::read_to_string(grafana("alerts.yml"))?;
    let eager = OFFSETS.iter().fold(rules.replace("interval: 30s", "interval: 1s"), |rules, offset| {
        assert!(rules.contains(offset), "no rule says `{offset}` any more");
        rules.replace(offset, OFFSET)
    });
    folder.write("alerts.yml", &eager)
}

/// The dashboard's variables with the values that Grafana puts for "All".
struct Variables(Vec<(String, String)>);

/// An expression of the dashboard.
#[derive(Debug)]
struct Panel {
    title: String,
    id: String,
    expression: String,
}

impl Panel {
    fn name(&self) -> String {
        format!("{} {}: {}", self.title, self.id, self.expression)
    }
}

impl Variables {
    /// Asks for the values as Grafana does; a list takes its first choice or the one that is marked.
    async fn read(prometheus: &Prometheus) -> Result<Self> {
        let mut variables = vec![("__rate_interval".to_owned(), RATE_INTERVAL.to_owned())];
        for variable in dashboard()?["templating"]["list"].as_array().context("no variables")? {
            let name = text(&variable["name"])?.to_owned();
            let value = match text(&variable["type"])? {
                "datasource" => continue,
                "custom" => text(&variable["current"]["value"])?.to_owned(),
                "query" => {
                    let query = text(&variable["definition"])?;
                    let names = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
                    let (metric, label) = names.and_then(|names| names.split_once(", ")).context("no label_values")?;
                    let values = prometheus.label_values(metric, label).await?;
                    let escaped: Vec<_> = values.iter().map(|value| escaped(value)).collect();
                    format!("({})", escaped.join("|"))
                }
                other => anyhow::bail!("a variable of an unknown type {other}"),
            };
            variables.push((name, value));
        }
        ensure!(variables.len() > 3, "{variables:?}");
        Ok(Self(variables))
    }

    fn put_into(&self, expression: &str) -> Result<String> {
        let put = |text: String, (name, value): &(String, String)| text.replace(&format!("${name}"), value);
        let done = self.0.iter().fold(expression.to_owned(), put);
        ensure!(!done.contains('$'), "a variable is left in {done}");
        Ok(done)
    }
}

/// As Grafana escapes values that go into a regular expression in a string.
fn escaped(value: &str) -> String {
    let special = |c: char| "$^*{}[]'+?.()|".contains(c);
    value.chars().fold(String::new(), |done, c| match c {
        '\\' => done + r"\\\\",
        c if special(c) => done + r"\\" + c.encode_utf8(&mut [0; 4]),
        c => done + c.encode_utf8(&mut [0; 4]),
    })
}

fn dashboard() -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(grafana("dashboard.json"))?)?)
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

/// The expressions of all panels and annotations, variables put in.
fn panels(variables: &Variables) -> Result<Vec<Panel>> {
    let dashboard = dashboard()?;
    let mut found = Vec::new();
    let rows = dashboard["panels"].as_array().context("no panels")?;
    let inner = rows.iter().filter_map(|row| row["panels"].as_array()).flatten();
    for panel in rows.iter().chain(inner) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push(Panel {
                title: text(&panel["title"])?.to_owned(),
                id: text(&target["refId"])?.to_owned(),
                expression: variables.put_into(text(&target["expr"])?)?,
            });
        }
    }
    ensure!(found.len() > 40, "only {} expressions", found.len());
    for annotation in dashboard["annotations"]["list"].as_array().context("no annotations")? {
        let expression = variables.put_into(text(&annotation["expr"])?)?;
        found.push(Panel { title: text(&annotation["name"])?.to_owned(), id: "annotation".to_owned(), expression });
    }
    for (title, id, _) in EMPTY_HERE {
        ensure!(found.iter().any(|panel| panel.title == title && panel.id == id), "no panel {title} {id} any more");
    }
    Ok(found)
}

/// Each name of a metric in the expression, with the labels asked for, finds series: no label is mistyped, no value
/// impossible.
async fn every_selector_finds_series(prometheus: &Prometheus, expression: &str) -> Result<()> {
    let selectors = selectors(expression);
    ensure!(!selectors.is_empty(), "nothing is read by {expression}");
    for selector in selectors {
        prometheus.wait_for_series(selector).await.with_context(|| format!("in {expression}"))?;
    }
    Ok(())
}

/// Names of metrics with what follows in braces.
fn selectors(expression: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_part) {
        rest = &rest[start..];
        let name = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let is_metric = ["mining_", "mining:", "sidecar_"].iter().any(|prefix| rest.starts_with(prefix));
        let labels = rest[name..].strip_prefix('{').map_or(0, |labels| end_of_labels(labels) + 1);
        if is_metric || &rest[..name] == "up" {
            found.push(&rest[..name + labels]);
        }
        rest = &rest[name + labels..];
    }
    found
}

/// Bytes up to and with the brace that ends the labels; braces inside strings are text.
fn end_of_labels(labels: &str) -> usize {
    let (mut in_string, mut escaped) = (false, false);
    for (at, c) in labels.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            '}' if !in_string => return at + 1,
            _ => {}
        }
    }
    labels.len()
}

#[test]
fn selectors_are_found_with_their_labels() {
    let expression =
        r#"sum by (mining) (rate(mining_a_total{x=~"a}\"b"}[5m])) > 0 and on (job) up{job="x"} or sidecar_b"#;
    assert_eq!(selectors(expression), [r#"mining_a_total{x=~"a}\"b"}"#, r#"up{job="x"}"#, "sidecar_b"]);
}

impl Prometheus {
    async fn label_values(&self, metric: &str, label: &str) -> Result<Vec<String>> {
        let path = format!("/api/v1/label/{label}/values?match[]={}", percent_encoded(metric));
        let path = path.replace("[]", "%5B%5D");
        let what = format!("values of {label}");
        wait_for(&what, SOON, || async {
            let answer: Value = http::get_json(self.address(), &path).await?;
            let values: Vec<String> = serde_json::from_value(answer["data"].clone())?;
            Ok(Look::when(!values.is_empty(), values))
        })
        .await
    }

    /// How many series the expression has now. A warning is an error here.
    async fn series(&self, expression: &str) -> Result<usize> {
        let path = format!("/api/v1/query?query={}", percent_encoded(expression));
        let (status, body) = http::get(self.address(), &path).await?;
        let answer: Value = serde_json::from_slice(&body)?;
        ensure!(status.is_success() && answer["status"] == "success", "{expression}: {answer}");
        ensure!(answer["warnings"].is_null(), "{expression}: {answer}");
        Ok(answer["data"]["result"].as_array().context("no vector")?.len())
    }

    /// Waits until the expression has a series; one that cannot be evaluated fails at once.
    async fn wait_for_series(&self, expression: &str) -> Result<()> {
        self.series(expression).await?;
        wait_for(expression, Duration::from_secs(20), || async {
            let series = self.series(expression).await?;
            Ok(Look::when(series > 0, series))
        })
        .await?;
        Ok(())
    }

    /// Names and expressions of the rules of a type.
    async fn rules(&self, kind: &str) -> Result<Vec<(String, String)>> {
        let rules = self.all_rules().await?;
        let of_kind = rules.iter().filter(|rule| rule["type"] == kind);
        of_kind.map(|rule| Ok((text(&rule["name"])?.to_owned(), text(&rule["query"])?.to_owned()))).collect()
    }

    /// Waits until every rule was evaluated; none may fail.
    async fn wait_for_healthy_rules(&self) -> Result<()> {
        wait_for("every rule to be evaluated", SOON, || async {
            let rules = self.all_rules().await?;
            let other: Vec<_> = rules.into_iter().filter(|rule| rule["health"] != "ok").collect();
            Ok(Look::when(other.is_empty(), other))
        })
        .await?;
        Ok(())
    }
}
