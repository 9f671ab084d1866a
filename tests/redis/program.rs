//! The `rejoin` program over a Redis, with its log.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, OnceLock},
};

use rejoin_test_support::{eventually, soon};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use crate::redis::caller::Caller;

type Lines = Arc<Mutex<Vec<String>>>;

/// A `rejoin serve` whose log is kept. It ends with the value.
pub(crate) struct Program {
    _child: Child,
    out: Lines,
    log: Lines,
    caller: OnceLock<Caller>,
}

impl Program {
    /// Starts it with these environment variables, and waits until it says where it listens.
    pub(crate) async fn start(redis_url: &str, environment: &[(&str, &str)]) -> Self {
        let program = Self::start_without_waiting(redis_url, environment);
        program.listens().await;
        program
    }

    /// Starts it with these environment variables.
    pub(crate) fn start_without_waiting(redis_url: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = command(&["serve", "--memory"], redis_url, environment).spawn().unwrap();
        let (out, log) = (kept(child.stdout.take().unwrap()), kept(child.stderr.take().unwrap()));
        Self { _child: child, out, log, caller: OnceLock::new() }
    }

    /// Waits until it says where it listens.
    pub(crate) async fn listens(&self) {
        eventually("the program's first line", async || !self.out.lock().unwrap().is_empty()).await;
        let line = self.out.lock().unwrap()[0].clone();
        let base = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap()
            .trim_end_matches([',', '.'])
            .to_owned();
        self.caller.get_or_init(|| Caller::new(base));
    }

    pub(crate) fn caller(&self) -> &Caller {
        self.caller.get().expect("a program that listens")
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// How many lines of the log have all these words.
    pub(crate) fn logged(&self, words: &[&str]) -> usize {
        self.log().iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

/// Runs the program to its end: its exit status, and what it said on standard output and standard
/// error.
pub(crate) async fn run(arguments: &[&str], redis_url: &str) -> (Option<i32>, String, String) {
    let output =
        soon("the program's end", command(arguments, redis_url, &[]).output()).await.unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

fn command(arguments: &[&str], redis_url: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command
        .args(arguments)
        .env_clear()
        .env("REJOIN_SERVER__LISTEN", "127.0.0.1:0")
        .env("REJOIN_REDIS__URL", redis_url)
        .envs(
            ["EVENTS", "MESSAGES", "LIMITS"]
                .map(|section| (format!("REJOIN_{section}__BACKEND"), "redis")),
        )
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn kept(pipe: impl AsyncRead + Unpin + Send + 'static) -> Lines {
    let lines = Lines::default();
    let keeps = Arc::clone(&lines);
    tokio::spawn(async move {
        let mut pipe = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = pipe.next_line().await {
            keeps.lock().unwrap().push(line);
        }
    });
    lines
}
