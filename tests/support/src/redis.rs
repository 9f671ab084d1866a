//! Private Redis servers, which tests may kill, stop, wipe and fill. `REDIS_SERVER` may name
//! another executable than the installed one: an older Redis, or Valkey.

use std::{process::Stdio, time::Duration};

use redis::{Client, Cmd, FromRedisValue};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{ports::reserve_port, soon};

/// A Redis server on a port of its own, with a folder of its own. It ends with the value.
pub struct RedisServer {
    port: u16,
    folder: TempDir,
    settings: Vec<String>,
    child: Option<Child>,
    /// Waits for the end of this process, however it comes, and then ends the server.
    ends: Option<Child>,
}

/// What is acknowledged is in a file, so a kill loses nothing. Since no test cuts the machine's
/// power, what the kernel has counts as written: nobody waits for a busy disk.
const DURABLE: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "no", "--save", ""];

impl RedisServer {
    /// Starts a server that keeps what it acknowledged when it is killed.
    pub async fn start() -> Self {
        Self::start_with(&DURABLE).await
    }

    /// Starts a server with these arguments.
    pub async fn start_with(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self {
            port: reserve_port(),
            folder: TempDir::new().unwrap(),
            settings,
            child: None,
            ends: None,
        };
        server.start_again().await;
        server
    }

    /// Has it end with this process at the latest: it may stand in a static, which is never
    /// dropped.
    #[must_use]
    pub fn ending_with_this_process(mut self) -> Self {
        let id = self.child.as_ref().and_then(Child::id).expect("a server that runs");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "cat >/dev/null; kill -KILL $1; rm -rf \"$2\"", "sh"])
            .arg(id.to_string())
            .arg(self.folder.path());
        self.ends =
            Some(shell.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a shell"));
        self
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again where it was, with what it kept.
    pub async fn start_again(&mut self) {
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let child = Command::new(program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(self.folder.path())
            .args(&self.settings)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server, of Debian's package redis-server");
        self.child = Some(child);
        soon("Redis' first answer", self.answers()).await;
    }

    /// Kills it, as a crash does.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Stops it, so that it neither answers nor closes.
    pub async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// Lets it go on.
    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    /// Removes everything.
    pub async fn wipe(&self) {
        self.ask::<()>(&redis::cmd("FLUSHALL")).await;
    }

    /// Sends a command of words, with an answer of no interest.
    pub async fn command(&self, words: &[&str]) {
        self.ask::<redis::Value>(&command(words)).await;
    }

    /// Sends a command, and gives its answer.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        self.try_ask(command).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn answers(&self) {
        while self.try_ask::<String>(&redis::cmd("PING")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let client = Client::open(self.url())?;
        let asking = async {
            command.query_async(&mut client.get_multiplexed_async_connection().await?).await
        };
        soon("an answer of Redis", asking).await
    }

    async fn signal(&self, name: &str) {
        let id = self.child.as_ref().and_then(Child::id).expect("a server that runs");
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(id.to_string())
            .status()
            .await
            .unwrap();
        assert!(status.success());
    }
}

/// Three Redis servers that share the slots of a cluster.
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the servers, and waits until they are a cluster.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let settings = [
                "--cluster-enabled",
                "yes",
                "--cluster-config-file",
                "nodes.conf",
                "--cluster-node-timeout",
                "5000",
                "--save",
                "",
            ];
            nodes.push(RedisServer::start_with(&settings).await.ending_with_this_process());
        }
        for (node, (first, last)) in
            nodes.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")])
        {
            node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
            node.command(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()]).await;
        }
        let cluster = Self { nodes };
        soon("the servers to be a cluster", cluster.becomes_whole()).await;
        cluster
    }

    /// Where its servers are.
    pub fn urls(&self) -> String {
        self.nodes.iter().map(RedisServer::url).collect::<Vec<_>>().join(",")
    }

    /// Its servers.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    async fn becomes_whole(&self) {
        while !self.is_whole().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_whole(&self) -> bool {
        for node in &self.nodes {
            let info: String = node.ask(&command(&["CLUSTER", "INFO"])).await;
            if !info.contains("cluster_state:ok")
                || !info.contains("cluster_known_nodes:3")
                || !info.contains("cluster_size:3")
            {
                return false;
            }
        }
        true
    }
}

fn command(words: &[&str]) -> Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}
