//! The table in the configuration.

use sidecar_core::SinkSettings;

use super::settings;

#[test]
fn the_defaults_are_safe() {
    let defaults = settings("").unwrap();
    assert!(defaults.listen.ip().is_loopback() && defaults.problems().is_empty() && defaults.starts_at_latest());
    assert_eq!((defaults.max_workers, defaults.expire_after.0.as_secs()), (200, 86_400));
}

#[test]
fn an_address_for_everybody_needs_a_token_or_a_word() {
    let problems = settings("listen = \"0.0.0.0:4020\"").unwrap().problems();
    assert!(problems.len() == 1 && problems[0].key == "listen", "{problems:?}");
    assert!(settings("listen = \"0.0.0.0:4020\"\nauth = \"none\"").unwrap().problems().is_empty());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let with_token = format!("listen = \"[::]:4020\"\nauth = {{ token_file = {:?} }}", path.display().to_string());
    for (token, problems) in [(None, 1), (Some("short"), 1), (Some("long enough, surely\n"), 0)] {
        if let Some(token) = token {
            std::fs::write(&path, token).unwrap();
        }
        assert_eq!(settings(&with_token).unwrap().problems().len(), problems, "{token:?}");
    }
}

#[test]
fn wrong_tables_are_refused() {
    for wrong in [
        "lisen = \"127.0.0.1:1\"",
        "listen = \"localhost:4020\"",
        "max_connections = 0",
        "max_sources = 0",
        "head_timeout = \"0s\"",
        "head_timeout = 10",
        "expire_after = \"0s\"",
        "auth = \"my-secret-token-itself\"",
        "auth = { token_file = \"a\", token_env = \"B\" }",
        "auth = {}",
    ] {
        let error = settings(wrong).expect_err(wrong).to_string();
        assert!(!error.contains("my-secret-token-itself") || !error.starts_with("`auth`"), "{error}");
    }
}
