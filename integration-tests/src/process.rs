//! One real process under test: spawned with its output in a log file, signalled, restarted, and killed with its
//! handle. Each start gets a log file of its own, so a wait for a log line never sees the run before.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{Look, wait_for};

/// How much of a log an error shows.
const TAIL_LINES: usize = 30;
/// Time between the kernel's SIGKILL and the process being gone; only a stuck disk makes this long.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// How to start a process: program, arguments, environment.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: PathBuf,
}

impl ProcessSpec {
    /// A process called `name` in errors and log file names, with its logs and working directory in `folder`.
    pub fn new(name: &str, program: impl Into<PathBuf>, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: folder.to_owned(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    /// When the program cannot be run or the log file cannot be made.
    pub fn start(self) -> Result<Process> {
        let mut process = Process { spec: self, child: None, runs: 0 };
        process.start()?;
        Ok(process)
    }
}

/// A running process, or one that has ended and can be started again. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    child: Option<Child>,
    runs: u32,
}

impl Process {
    /// Starts the process again after it has ended.
    ///
    /// # Errors
    /// When it is still running or cannot be run.
    pub fn start(&mut self) -> Result<()> {
        if self.is_running()? {
            bail!("{} is still running", self.spec.name);
        }
        self.runs += 1;
        let path = self.log_path();
        let log = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let child = Command::new(&self.spec.program)
            .args(&self.spec.args)
            .envs(self.spec.env.iter().map(|(key, value)| (key, value)))
            .current_dir(&self.spec.folder)
            .stdin(Stdio::null())
            .stderr(log.try_clone().context("cannot share the log file")?)
            .stdout(log)
            .spawn()
            .with_context(|| format!("cannot run {}", self.spec.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// The log file of the current (or last) run: standard output and standard error together.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.spec.folder.join(format!("{}.{}.log", self.spec.name, self.runs))
    }

    /// The log of the current (or last) run.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.log_path();
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How many lines of the current run's log contain `text`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn count_log_lines(&self, text: &str) -> Result<usize> {
        Ok(self.log()?.lines().filter(|line| line.contains(text)).count())
    }

    /// Process id of the current run.
    ///
    /// # Errors
    /// When the process is not running.
    pub fn id(&self) -> Result<u32> {
        let child = self.child.as_ref().ok_or_else(|| anyhow!("{} is not running", self.spec.name))?;
        Ok(child.id())
    }

    /// Waits until a line of this run's log contains `text` and returns the line.
    ///
    /// # Errors
    /// When the process ends first or the deadline passes; both errors show the end of the log.
    pub async fn wait_for_log(&mut self, text: &str, deadline: Duration) -> Result<String> {
        let what = format!("the log line \"{text}\"");
        self.wait_until(&what, deadline, async |process| {
            let found = process.log()?.lines().find(|line| line.contains(text)).map(str::to_owned);
            Ok(found.map_or_else(|| Look::NotYet("no such line".to_owned()), Look::Done))
        })
        .await
    }

    /// Waits until `look` is done while the process keeps running.
    ///
    /// # Errors
    /// When the process ends first or the deadline passes; both errors show the end of the log.
    pub async fn wait_until<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut look: impl AsyncFnMut(&Self) -> Result<Look<T>>,
    ) -> Result<T> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let seen = match look(self).await {
                Ok(Look::Done(value)) => return Ok(value),
                Ok(Look::NotYet(seen)) => seen,
                Err(error) => format!("{error:#}"),
            };
            if let Some(status) = self.try_wait()? {
                bail!("{} ended with {status} before {what} (seen: {seen}){}", self.spec.name, self.tail());
            }
            if tokio::time::Instant::now() >= end {
                bail!("{}: waited {deadline:?} for {what}; last seen: {seen}{}", self.spec.name, self.tail());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// `kill -9`: the process gets no chance to do anything. Returns once it is gone.
    ///
    /// # Errors
    /// When the process was not running.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait_for_end(GONE_WITHIN).await
    }

    /// SIGINT, the clean stop of the SRI applications and of the sidecar, and waits for the end.
    ///
    /// # Errors
    /// When the process was not running or does not end within `deadline`.
    pub async fn interrupt(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::INT)?;
        self.wait_for_end(deadline).await
    }

    /// SIGSTOP: the process stands still and its sockets stay open, as on a machine that hangs.
    ///
    /// # Errors
    /// When the process was not running.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT after [`Self::pause`].
    ///
    /// # Errors
    /// When the process was not running.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends any other signal, such as SIGHUP for a reload.
    ///
    /// # Errors
    /// When the process was not running.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running()? {
            bail!("{} is not running{}", self.spec.name, self.tail());
        }
        let id = i32::try_from(self.id()?).context("a process id fits i32")?;
        let id = Pid::from_raw(id).ok_or_else(|| anyhow!("{} has no process id", self.spec.name))?;
        kill_process(id, signal).with_context(|| format!("cannot signal {}", self.spec.name))
    }

    /// Waits until the process has ended by itself or by a signal.
    ///
    /// # Errors
    /// When it is still running at the deadline.
    pub async fn wait_for_end(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            if let Some(status) = self.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if tokio::time::Instant::now() >= end {
                bail!("{} is still running after {deadline:?}{}", self.spec.name, self.tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether the process runs now.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.is_some() && self.try_wait()?.is_none())
    }

    /// The end of the log, for error messages.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = self.log().unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        format!("\n--- end of {} ---\n{}", self.log_path().display(), lines[from..].join("\n"))
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => child.try_wait().with_context(|| format!("cannot wait for {}", self.spec.name)),
            None => Ok(None),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Either may fail only because the process is gone already, which is what is wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Waits until `GET path` at `address` answers 200, while `process` keeps running.
///
/// # Errors
/// As [`Process::wait_until`].
pub async fn wait_for_http(
    process: &mut Process,
    address: std::net::SocketAddr,
    path: &str,
    deadline: Duration,
) -> Result<()> {
    process
        .wait_until(&format!("http://{address}{path}"), deadline, async |_| {
            crate::http::get_text(address, path).await.map(|_| Look::Done(()))
        })
        .await
}

/// Waits until no process of the system listens at `address`, so that a connection there is refused.
///
/// # Errors
/// When something still answers at the deadline.
pub async fn wait_until_refused(address: std::net::SocketAddr, deadline: Duration) -> Result<()> {
    wait_for(&format!("{address} to refuse connections"), deadline, || async move {
        let refused = tokio::net::TcpStream::connect(address).await.is_err();
        Ok(Look::when(refused, ()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestFolder;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(folder: &TestFolder, script: &str) -> Process {
        ProcessSpec::new("shell", "/bin/sh", folder.path()).arg("-c").arg(script).start().expect("the shell starts")
    }

    #[tokio::test]
    async fn a_process_that_ends_too_early_shows_the_end_of_its_log() {
        let folder = TestFolder::new("process").expect("a folder");
        let mut process = shell(&folder, "echo one; echo two >&2; exit 3");
        let error = process.wait_for_log("three", SOON).await.expect_err("it never says three");
        let text = format!("{error:#}");
        assert!(text.contains("one") && text.contains("two") && text.contains("exit status: 3"), "{text}");
    }

    #[tokio::test]
    async fn a_restart_does_not_see_the_log_of_the_run_before() {
        let folder = TestFolder::new("process").expect("a folder");
        let mut process = shell(&folder, "echo ready; sleep 60");
        process.wait_for_log("ready", SOON).await.expect("ready");
        let first = process.id().expect("an id");
        process.kill().await.expect("killed");
        assert!(!process.is_running().expect("known"));
        process.start().expect("started again");
        process.wait_for_log("ready", SOON).await.expect("ready again");
        assert_ne!(first, process.id().expect("an id"));
        assert_eq!(process.count_log_lines("ready").expect("a log"), 1);
    }

    #[tokio::test]
    async fn dropping_the_handle_kills_the_process() {
        let folder = TestFolder::new("process").expect("a folder");
        let process = shell(&folder, "sleep 60");
        let id = Pid::from_raw(i32::try_from(process.id().expect("an id")).expect("fits")).expect("not zero");
        drop(process);
        assert!(rustix::process::test_kill_process(id).is_err(), "the process is gone");
    }
}
