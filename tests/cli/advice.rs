//! What somebody meets who is new to the program: each message names what is wrong and what to do.

use std::net::TcpListener;

use super::process::{code, output, sidecar, text};

/// Runs, and expects this exit code and all of these in what it says.
fn told(args: &[&str], exit: i32, pieces: &[&str]) {
    let ended = output(args);
    let said = text(&ended.stderr);
    assert_eq!(code(ended.status), exit, "{args:?}: {said}");
    for piece in pieces {
        assert!(said.contains(piece), "{args:?}: `{piece}` is not in:\n{said}");
    }
    let causes = ["No such file", "os error"];
    for cause in causes {
        assert!(said.matches(cause).count() <= 1, "{args:?} tells a cause twice:\n{said}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"a = \xff").unwrap();
    for command in ["run", "check"] {
        told(&[command, "-c", "/no/such.toml"], 78, &["/no/such.toml", "configs/minimal.toml"]);
        told(&[command, "-c", folder.path().to_str().unwrap()], 78, &["name the file in it"]);
        told(&[command, "-c", binary.to_str().unwrap()], 78, &["binary.toml", "TOML in UTF-8"]);
    }
}

#[test]
fn files_that_are_not_there() {
    told(&["stats", "--db", "/no/stats.db"], 1, &["there is no file /no/stats.db", "sqlite"]);
    for command in ["stats", "check", "export"] {
        told(&["journal", command, "--path", "/no/journal.db"], 1, &["there is no file /no/journal.db", "[journal]"]);
    }
    told(&["keygen", "token", "--out", "/no/such/token"], 1, &["/no/such/token", "make its folder first"]);
    told(&["simulate", "--token-file", "/no/token"], 2, &["cannot read the secret file /no/token"]);
}

#[test]
fn a_folder_that_cannot_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    told(&["demo", "--folder", file], 1, &[file, "--folder"]);
    let config = folder.path().join("sidecar.toml");
    let journal = folder.path().join("journal.db");
    let content = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[journal]\npath = {journal:?}\n\
         [sinks.history]\ntype = \"sqlite\"\npath = \"{file}/stats.db\"\n"
    );
    std::fs::write(&config, content).unwrap();
    told(&["run", "-c", config.to_str().unwrap()], 75, &[file, "[sinks.history]", "another folder"]);
}

#[test]
fn a_journal_that_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sidecar.toml");
    let journal = folder.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let content = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[journal]\npath = {journal:?}\n"
    );
    std::fs::write(&config, content).unwrap();
    let journal = journal.to_str().unwrap();
    told(&["run", "-c", config.to_str().unwrap()], 1, &[journal, "[journal] path", "check --online"]);
}

#[test]
fn an_address_that_is_taken_or_of_another_host() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let config = folder.path().join("sidecar.toml");
    let file = config.to_str().unwrap();
    let path = |name: &str| format!("{:?}", folder.path().join(name));
    let write = |server: &str, admin: &str, dashboard: &str| {
        let content = format!(
            "[server]\nlisten = \"{server}\"\n[admin]\nlisten = \"{admin}\"\n[journal]\npath = {}\n[sinks.history]\ntype = \
             \"sqlite\"\npath = {}\n[sinks.pages]\ntype = \"dashboard\"\nlisten = \"{dashboard}\"\nhistory = \"history\"\n",
            path("journal.db"),
            path("stats.db")
        );
        std::fs::write(&config, content).unwrap();
    };
    // 192.0.2.0/24 is for documentation: no host has it.
    let (free, foreign) = ("127.0.0.1:0", "192.0.2.7:4000");
    write(&taken, free, free);
    told(&["run", "-c", file], 75, &[&taken, "[server] listen", "name another port"]);
    write(free, &taken, free);
    told(&["run", "-c", file], 75, &[&taken, "[admin] listen", "name another port"]);
    write(foreign, free, free);
    told(&["run", "-c", file], 75, &[foreign, "[server] listen", "an address of this host"]);
    write(free, free, &taken);
    let checked = output(&["check", "-c", file, "--online"]);
    let said = text(&checked.stdout);
    assert_eq!(code(checked.status), 75, "{said}");
    let about_pages: Vec<&str> = said.lines().filter(|line| line.contains("sinks.pages")).collect();
    assert!(
        matches!(about_pages[..], [line] if line.contains(&taken) && line.contains("another port")),
        "told once: {said}"
    );
}

#[test]
fn something_else_answers_where_the_sidecar_should() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = other.accept().unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).unwrap() > 0);
        let page = "HTTP/1.1 404 Not Found\r\ncontent-length: 40\r\n\r\n\u{1b}[31m<html>\nsecond line of the page here";
        stream.write_all(page.as_bytes()).unwrap();
    });
    let ended = output(&["tap", "--admin", &address]);
    server.join().unwrap();
    let said = text(&ended.stderr);
    assert_eq!(code(ended.status), 75, "{said}");
    assert!(said.contains(&address) && said.contains("404") && said.contains("--admin"), "{said}");
    assert!(!said.contains("second line") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn a_simulation_without_a_sidecar_ends_when_asked() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let args = ["simulate", "--to", &address, "--drain", "1h"];
    let child = sidecar(&args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Whoever connects listens to signals already.
    let _connection = silent.accept().unwrap();
    let asked = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(code(ended.status), 75);
    assert!(text(&ended.stderr).contains("no session with the sidecar"), "{}", text(&ended.stderr));
}
