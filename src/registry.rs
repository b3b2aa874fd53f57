//! The sink types that this program knows. A new sink is one line here.

use sidecar_core::SinkRegistry;

/// All built-in sinks.
pub(crate) fn built_in() -> SinkRegistry {
    let mut registry = SinkRegistry::new();
    let registered = sink_sqlite::register(&mut registry)
        .and_then(|()| registry.register::<sink_log_file::LogFileSettings>(sink_log_file::TYPE))
        .and_then(|()| registry.register::<sink_prometheus::PrometheusSettings>(sink_prometheus::TYPE))
        .and_then(|()| registry.register::<sink_dashboard::DashboardSettings>(sink_dashboard::TYPE));
    registered.expect("each built-in sink has a type name of its own");
    registry
}
