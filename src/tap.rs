//! `tap`: live events of a running sidecar, from its admin listener to standard output.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cli::TapArgs;
use crate::exit::{Exit, Failure, output};
use crate::report::untrusted;
use crate::signals::Signals;

/// How long the sidecar may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters shown of an answer that is no stream of events.
const MAX_SHOWN: usize = 200;
/// How a line begins that is no event but says how many were lost.
const DROPPED: &[u8] = b"{\"tap_dropped\":";

pub(crate) fn tap(args: &TapArgs) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        let mut stop = signals.stop();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Ok(()),
            done = follow(args) => done,
        }
    })
}

async fn follow(args: &TapArgs) -> Result<(), Failure> {
    let unreachable = |what: String| {
        Failure::new(Exit::NotNow, format!("no sidecar answers at {}: {what}", args.admin))
            .advice("name its [admin] listen with --admin")
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(args.admin))
        .await
        .map_err(|_| unreachable("it takes too long".to_owned()))?
        .map_err(|error| unreachable(error.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let request = Request::get(path(args))
        .header("host", args.admin.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::new(Exit::Usage, format!("these globs cannot be sent: {error}")))?;
    let lines = async {
        let response = sender.send_request(request).await.map_err(|error| unreachable(error.to_string()))?;
        let status = response.status();
        let mut body = response.into_body();
        if status != StatusCode::OK {
            let message = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let exit = if status == StatusCode::BAD_REQUEST { Exit::Usage } else { Exit::NotNow };
            let message = first_line(&message);
            let failure = Failure::new(exit, format!("{} answers {status}: {message}", args.admin));
            return Err(match exit {
                Exit::Usage => failure,
                _ => failure.advice("is that the [admin] listen of a sidecar? Name it with --admin"),
            });
        }
        let mut lines = Lines { left: args.count, partial: Vec::new() };
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Failure::new(Exit::Failure, format!("the connection is lost: {error}")))?;
            if let Some(data) = frame.data_ref()
                && !lines.write(data)?
            {
                break;
            }
        }
        Ok(())
    };
    // The connection is driven beside the lines; when it ends or fails, the body says so.
    let driven = async {
        drop(connection.await);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        done = lines => done,
        () = driven => Ok(()),
    }
}

/// What an answer says, as far as it is for people: whoever is at that address may answer with anything.
fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    untrusted(&text.trim().lines().next().unwrap_or_default().chars().take(MAX_SHOWN).collect::<String>())
}

fn path(args: &TapArgs) -> String {
    let mut path = "/tap".to_owned();
    let mut mark = '?';
    for (key, globs) in [("events", &args.events), ("sources", &args.sources)] {
        if !globs.is_empty() {
            path.push(mark);
            path.push_str(key);
            path.push('=');
            path.extend(globs.join(",").bytes().map(percent_encoded));
            mark = '&';
        }
    }
    path
}

/// A byte of a query's value: as it is where that is safe, else in hexadecimal.
fn percent_encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b',' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    }
}

/// Whole lines to standard output, until there were enough.
struct Lines {
    left: Option<u64>,
    /// A line whose end has not come.
    partial: Vec<u8>,
}

impl Lines {
    /// Whether more is wanted.
    fn write(&mut self, data: &[u8]) -> Result<bool, Failure> {
        self.partial.extend_from_slice(data);
        let mut out = io::stdout().lock();
        let mut written = 0;
        while let Some(length) = self.partial[written..].iter().position(|byte| *byte == b'\n') {
            if self.left == Some(0) {
                return Ok(false);
            }
            let line = &self.partial[written..=written + length];
            written += length + 1;
            if line.starts_with(DROPPED) {
                tell_dropped(line);
                continue;
            }
            if let Err(error) = out.write_all(line) {
                return output(Err(error)).map(|()| false);
            }
            self.left = self.left.map(|left| left - 1);
        }
        self.partial.drain(..written);
        if let Err(error) = out.flush() {
            return output(Err(error)).map(|()| false);
        }
        Ok(self.left != Some(0))
    }
}

#[expect(clippy::print_stderr, reason = "standard output is for events only")]
fn tell_dropped(line: &[u8]) {
    let count = String::from_utf8_lossy(&line[DROPPED.len()..]);
    eprintln!("left out because they came too fast: {} events", count.trim_end().trim_end_matches('}'));
}
