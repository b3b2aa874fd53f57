//! The two text formats that Prometheus reads: OpenMetrics as `prometheus-client` writes it, and the classic format made
//! from it. They differ in how they name counters in their comments, and in nothing else that is used here.

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers a scrape with metrics in OpenMetrics 1.0, or in Prometheus text format 0.0.4 unless the request asks for the
/// former by name.
pub fn metrics_response(request: &HeaderMap, open_metrics: String) -> Response {
    let accept = request.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (content_type, text) = match accept.contains("application/openmetrics-text") {
        true => (OPEN_METRICS, open_metrics),
        false => (CLASSIC, classic_metrics(&open_metrics)),
    };
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

/// The classic format calls a counter in its comments by the name of its sample, with `_total`; information is a gauge with
/// `_info`; there is no end mark. Sample lines are the same.
#[must_use]
pub fn classic_metrics(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            // The type follows its help, and says which name both must bear.
            (Some("#"), Some("HELP"), Some(_), Some(words)) => help = Some(words),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some(help) = help.take() {
                    text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                }
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            (Some("#"), ..) => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_format_names_counters_by_their_samples() {
        let open_metrics = "# HELP a_b Events\n# TYPE a_b counter\na_b_total{x=\"# TYPE\"} 3\n# HELP v It.\n# TYPE v \
                            info\nv_info{version=\"1\"} 1\n# HELP g G\n# TYPE g gauge\ng 1.5\n# EOF\n";
        let expected = "# HELP a_b_total Events\n# TYPE a_b_total counter\na_b_total{x=\"# TYPE\"} 3\n# HELP v_info \
                        It.\n# TYPE v_info gauge\nv_info{version=\"1\"} 1\n# HELP g G\n# TYPE g gauge\ng 1.5\n";
        assert_eq!(classic_metrics(open_metrics), expected);
    }

    #[test]
    fn open_metrics_is_for_who_asks() {
        for (accept, expected) in [
            ("", CLASSIC),
            ("*/*", CLASSIC),
            ("text/plain", CLASSIC),
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", OPEN_METRICS),
        ] {
            let request = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(metrics_response(&request, String::new()).headers()[header::CONTENT_TYPE], expected, "{accept}");
        }
    }
}
