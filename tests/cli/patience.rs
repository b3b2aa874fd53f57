//! How long the program waits for others: for half a request not for ever, and after a second Ctrl-C not at all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{LIMIT, Running, code, sidecar};
use super::running::config;

#[test]
fn half_a_request_to_the_admin_listener_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&config(folder.path()));
    let mut slow = TcpStream::connect(running.admin).unwrap();
    slow.set_read_timeout(Some(LIMIT)).unwrap();
    slow.write_all(b"GET /live HTTP/1.1\r\nhost: a").unwrap();
    let mut answer = String::new();
    // The end of the connection; a read that runs into its own limit is an error.
    slow.read_to_string(&mut answer).expect("the sidecar closes it");
    assert!(!answer.contains("200"), "{answer}");
    assert_eq!(running.get("/live", "*/*").0, 200, "others are answered");
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&config(folder.path()));
    let to = running.listen.to_string();
    let mut simulation = sidecar(&["simulate", "--to", &to, "--rate", "200", "--miners", "5", "--drain", "10m"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    running.wait_for("/metrics", |_, body| {
        let events = body.lines().find_map(|line| line.strip_prefix("sidecar_journal_appended_events_total "));
        events.is_some_and(|count| count.trim_end_matches(".0").parse::<u64>().unwrap() > 50)
    });
    // From here on nothing is acknowledged: after the first signal the simulation waits for that, ten minutes long.
    running.signal("STOP");
    let begun = Instant::now();
    let status = loop {
        let sent = Command::new("kill").args(["-INT", &simulation.id().to_string()]).stderr(Stdio::null()).status();
        // Two signals at once would be one for the process, so it is asked until it has gone.
        sent.unwrap();
        if let Some(status) = simulation.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < LIMIT, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    running.signal("CONT");
    assert_eq!(code(status), 130);
}
