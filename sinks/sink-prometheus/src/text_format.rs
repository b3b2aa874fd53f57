//! The two text formats: OpenMetrics as the encoder writes it, and the classic format made from it.

/// Which text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text format 0.0.4.
    Classic,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// OpenMetrics only for who asks for it by name.
    pub(crate) fn for_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Classic }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The text in this format.
    pub(crate) fn of_open_metrics(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Classic => classic(&open_metrics),
        }
    }
}

/// The classic format calls a counter in its comments by the name of its sample, with `_total`; information is a gauge with
/// `_info`; there is no end mark. Sample lines are the same.
fn classic(open_metrics: &str) -> String {
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
        assert_eq!(classic(open_metrics), expected);
    }

    #[test]
    fn open_metrics_is_for_who_asks() {
        for (accept, expected) in [
            ("", Format::Classic),
            ("*/*", Format::Classic),
            ("text/plain", Format::Classic),
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", Format::OpenMetrics),
        ] {
            assert_eq!(Format::for_accept(accept), expected, "{accept}");
        }
    }
}
