//! The `rejoin` program, run as a person would.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
};

use rejoin_test_support::{eventually, soon};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

/// The program, with an environment of its own.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command
        .env_clear()
        .env("NO_PROXY", "*")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(crate) async fn run(arguments: &[&str]) -> Finished {
    Running::start(arguments).ended().await
}

/// The same with a token in its environment.
pub(crate) async fn run_as(token: &str, arguments: &[&str]) -> Finished {
    Running::of(command(arguments).env("REJOIN_TOKEN", token)).ended().await
}

/// What it said, and how it ended.
pub(crate) struct Finished {
    /// `None` if a signal killed it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Finished {
    /// The lines of its result; panics unless it succeeded.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out.lines().collect()
    }

    /// Panics unless it failed with these words on standard error.
    #[track_caller]
    pub(crate) fn assert_failed(&self, words: &str) {
        assert_eq!(self.code, Some(1), "{}", self.err);
        assert!(self.err.contains(words), "{words:?} is not in {:?}", self.err);
    }
}

/// While it runs.
pub(crate) struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    out: Kept,
    err: Kept,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(&mut command(arguments))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut running = Self::unread(command);
        running.out = Kept::of(running.stdout.take());
        running
    }

    /// The same, with nobody who reads its standard output.
    pub(crate) fn unread(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self {
            stdout: child.stdout.take(),
            out: Kept::of(None::<ChildStdout>),
            err: Kept::of(child.stderr.take()),
            child,
        }
    }

    /// Its standard output, if it is not read yet.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.stdout.take().unwrap()
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Gives it its whole standard input.
    pub(crate) async fn feed(&mut self, text: &str) {
        self.stdin().write_all(text.as_bytes()).await.unwrap();
    }

    /// Waits until its standard output has these words.
    pub(crate) async fn says(&self, words: &str) {
        eventually(words, async || self.out.text().contains(words)).await;
    }

    /// Whether its standard output has these words.
    pub(crate) fn has_said(&self, words: &str) -> bool {
        self.out.text().contains(words)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it says where it listens.
    pub(crate) async fn address(&self) -> SocketAddr {
        const BEFORE: &str = "listens on http://";
        self.says(BEFORE).await;
        let text = self.out.text();
        let address = text.split_once(BEFORE).unwrap().1.split_once(',').unwrap().0;
        address.parse().unwrap()
    }

    /// Waits until its standard error has these words.
    pub(crate) async fn tells(&self, words: &str) {
        eventually(words, async || self.err.text().contains(words)).await;
    }

    /// Most memory that it has had, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(
            Command::new("kill").arg(format!("-{name}")).arg(id).status().await.unwrap().success()
        );
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Finished {
        let status = soon("the program's end", self.child.wait()).await.unwrap();
        Finished { code: status.code(), out: self.out.all().await, err: self.err.all().await }
    }
}

/// All that came out of a pipe so far.
struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Kept {
    fn of(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reading = tokio::spawn(async move {
            let Some(mut pipe) = pipe else { return };
            let mut piece = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut piece).await {
                kept.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { bytes, reading }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }

    async fn all(self) -> String {
        soon("a pipe's end", self.reading).await.unwrap();
        String::from_utf8(std::mem::take(&mut *self.bytes.lock().unwrap())).unwrap()
    }
}
