//! Starting the binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes longer on the slowest machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn sidecar(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hashpool-sidecar"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs to the end.
pub(crate) fn output(args: &[&str]) -> Output {
    sidecar(args).output().unwrap()
}

pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().expect("it ended by itself")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A sidecar at work. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Running {
    /// Starts `run` and waits for the log lines that name its addresses.
    pub(crate) fn start(config: &Path) -> Self {
        let mut child =
            sidecar(&["run", "-c", config.to_str().unwrap()]).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut listen, mut admin) = (None, None);
        let mut seen = String::new();
        while listen.is_none() || admin.is_none() {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended:\n{seen}");
            let address = line.trim().rsplit_once("address=").and_then(|(_, address)| address.parse().ok());
            if line.contains("listening for publishers") {
                listen = address;
            } else if line.contains("admin listener") {
                admin = address;
            }
            seen.push_str(&line);
        }
        // The rest of the log must go somewhere, or the sidecar would wait for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, listen: listen.unwrap(), admin: admin.unwrap() }
    }

    /// Status and body of a page.
    pub(crate) fn get(&self, path: &str, accept: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    /// Asks again until the page satisfies.
    pub(crate) fn wait_for(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let (status, _, body) = self.get(path, "*/*");
            if wanted(status, &body) {
                return body;
            }
            assert!(begun.elapsed() < LIMIT, "{path} still says {status}: {body}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Until every sink has taken all that there is.
    pub(crate) fn wait_until_taken(&self) {
        self.wait_for("/pipeline", |_, body| {
            let page: serde_json::Value = serde_json::from_str(body).unwrap();
            page["sinks"].as_object().unwrap().values().all(|sink| sink["ledger"]["pending"] == 0)
        });
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
