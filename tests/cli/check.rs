//! `check`, and the exit codes of bad configurations and command lines.

use std::net::TcpListener;

use super::process::{code, output, sidecar, text};

fn file(folder: &tempfile::TempDir, content: &str) -> String {
    let path = folder.path().join("sidecar.toml");
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A good configuration whose files lie in the folder.
fn good(folder: &tempfile::TempDir) -> String {
    let path = |name: &str| format!("{:?}", folder.path().join(name));
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[journal]\npath = {}\n[sinks.history]\ntype = \
         \"sqlite\"\npath = {}\n",
        path("new/journal.db"),
        path("new/stats.db")
    )
}

#[test]
fn a_good_configuration_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, &good(&folder));
    let checked = output(&["check", "-c", &config]);
    assert_eq!(code(checked.status), 0, "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("good"));
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["sidecar.toml"], "checking leaves nothing behind");
}

#[test]
fn a_bad_configuration_ends_check_and_run_with_78() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, &good(&folder).replace("sqlite", "sqlte").replace("[admin]\nlisten", "[admin]\nlisen"));
    for command in ["check", "run"] {
        let checked = output(&[command, "-c", &config]);
        assert_eq!(code(checked.status), 78);
        let told = text(&checked.stderr);
        for piece in
            ["sidecar.toml:4:1", "did you mean `listen`?", "sidecar.toml:8:8", "did you mean `sqlite`?", "2 errors"]
        {
            assert!(told.contains(piece), "`{piece}` is not in:\n{told}");
        }
        assert!(!told.contains('\u{1b}'), "no colours where nobody sees them");
    }
}

#[test]
fn findings_are_told_to_programs_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, &good(&folder).replace("[admin]\nlisten", "[admin]\nlisen"));
    let checked = output(&["check", "-c", &config, "--json"]);
    assert_eq!(code(checked.status), 78);
    assert!(checked.stderr.is_empty(), "{}", text(&checked.stderr));
    let page: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    let problem = &page["problems"][0];
    assert_eq!((problem["line"].as_u64(), problem["column"].as_u64()), (Some(4), Some(1)));
    assert_eq!(problem["text"], "lisen");
    assert_eq!(page["ok"], false);

    let missing = output(&["check", "-c", "/no/such/file.toml", "--json"]);
    assert_eq!((code(missing.status), text(&missing.stderr)), (78, String::new()));
    let page: serde_json::Value = serde_json::from_slice(&missing.stdout).unwrap();
    let problem = &page["problems"][0];
    assert_eq!((&page["ok"], &problem["line"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!((&problem["file"], &problem["severity"]), (&"/no/such/file.toml".into(), &"error".into()));
    assert!(problem["message"].as_str().unwrap().contains("/no/such/file.toml: "), "{problem}");
    assert!(problem["help"].as_str().unwrap().contains("configs/minimal.toml"), "{problem}");
}

#[test]
fn a_missing_file_and_a_wrong_command_line_have_codes_of_their_own() {
    assert_eq!(code(output(&["check", "-c", "/no/such/file.toml"]).status), 78);
    assert_eq!(code(output(&["run"]).status), 2);
    assert_eq!(code(output(&["simulate", "--rate", "fast"]).status), 2);
    assert_eq!(code(output(&["--help"]).status), 0);
    assert!(text(&output(&["--help"]).stdout).contains("Exit codes:"));
}

#[test]
fn online_says_what_stands_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, &good(&folder));
    let checked = output(&["check", "-c", &config, "--online"]);
    assert_eq!(code(checked.status), 0, "{}{}", text(&checked.stdout), text(&checked.stderr));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = file(&folder, &good(&folder).replacen("127.0.0.1:0", &address, 1));
    let checked = output(&["check", "-c", &config, "--online", "--json"]);
    assert_eq!(code(checked.status), 75);
    let page: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    let answers = page["online"].as_array().unwrap();
    let server = answers.iter().find(|answer| answer["component"] == "server").unwrap();
    assert_eq!(server["level"], "error");
    assert!(server["message"].as_str().unwrap().contains(&address));
}

#[test]
fn a_taken_port_ends_run_with_75() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (place, advice) in [(1, "cannot listen on"), (2, "admin address")] {
        let mut text_of_file = good(&folder);
        if place == 1 {
            text_of_file = text_of_file.replacen("127.0.0.1:0", &address, 1);
        } else {
            text_of_file =
                text_of_file.replace("[admin]\nlisten = \"127.0.0.1:0\"", &format!("[admin]\nlisten = \"{address}\""));
        }
        let ended = output(&["run", "-c", &file(&folder, &text_of_file)]);
        assert_eq!(code(ended.status), 75, "{}", text(&ended.stderr));
        assert!(text(&ended.stderr).contains(advice), "{}", text(&ended.stderr));
    }
}

#[test]
fn a_variable_of_the_environment_stands_in_a_value() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, &good(&folder).replace("stats.db", "${SIDECAR_TEST_NAME}.db"));
    let without = sidecar(&["check", "-c", &config]).env_remove("SIDECAR_TEST_NAME").output().unwrap();
    assert_eq!(code(without.status), 78);
    assert!(text(&without.stderr).contains("SIDECAR_TEST_NAME is not set"));
    let with = sidecar(&["check", "-c", &config]).env("SIDECAR_TEST_NAME", "x").output().unwrap();
    assert_eq!(code(with.status), 0);
}
