//! Private servers: in this process, and as processes of their own.

use std::{
    net::SocketAddr,
    process::ExitStatus,
    sync::{Arc, Mutex},
};

use rejoin::{adapters::config::Settings, composition::Server};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::soon;

/// A server in this process, on a free port.
pub struct TestServer {
    server: Server,
    http: reqwest::Client,
}

impl TestServer {
    /// Starts a server with these settings over the defaults, as TOML. Unless they say so, it
    /// authenticates nobody; unless they name the disk, what would be there is in memory.
    pub async fn start(settings: &str) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), settings).await
    }

    /// The same on a given address: to come back where a server was before.
    pub async fn start_at(address: SocketAddr, text: &str) -> Self {
        let mut settings =
            Settings::from_toml(text).unwrap_or_else(|error| panic!("{error}")).settings;
        settings.server.listen = address;
        if !text.contains("disk") {
            // Nothing of a test is left behind.
            settings.keep_in_memory();
        }
        let server = Server::start(&settings).await.unwrap_or_else(|error| panic!("{error}"));
        Self { server, http: reqwest::Client::new() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The URL of a path on the operators' listener, which the settings must have asked for.
    pub fn ops_url(&self, path: &str) -> String {
        format!(
            "http://{}{path}",
            self.server.ops_address().expect("settings with server.ops_listen")
        )
    }

    /// The value of a metric, with its labels as they are written; nothing if it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        metric(&self.http, self.address(), name).await
    }

    /// How many streams are open.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Sends a body to `POST /api/events`; gives the status and the answer.
    pub async fn post(&self, body: &Value) -> (u16, Value) {
        let response = self.http.post(self.url("/api/events")).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Publishes one event for user `local`, and gives its id.
    pub async fn publish(&self, event_type: &str, payload: Value) -> String {
        let (status, answer) =
            self.post(&json!({ "user_id": "local", "type": event_type, "payload": payload })).await;
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Drains and stops it. Tells whether all was over in time.
    pub async fn drain(self) -> bool {
        self.server.drain().await == 0
    }

    /// Stops it at once, telling nobody.
    pub async fn kill(self) {
        self.server.kill().await;
    }
}

async fn metric(http: &reqwest::Client, server: SocketAddr, name: &str) -> Option<f64> {
    let text =
        http.get(format!("http://{server}/metrics")).send().await.unwrap().text().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// The `rejoin` program, as a process of its own on a free port.
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    http: reqwest::Client,
}

impl ServerProcess {
    /// Starts `program` with these environment variables, and waits until it says where it listens.
    /// Unless they say where its store is, what would be on disk is in memory.
    pub async fn start(program: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.arg("serve").envs(environment.iter().copied());
        if !environment.iter().any(|(name, _)| *name == "REJOIN_DISK__PATH") {
            command.arg("--memory");
        }
        Self::start_by(command).await
    }

    /// The same, by a command that begins `rejoin serve` in its own way.
    pub async fn start_by(mut command: Command) -> Self {
        let mut child = command
            .env("REJOIN_SERVER__LISTEN", "127.0.0.1:0")
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::<Mutex<String>>::default();
        let mut logged = BufReader::new(child.stderr.take().unwrap()).lines();
        tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                while let Ok(Some(line)) = logged.next_line().await {
                    eprintln!("{line}");
                    log.lock().unwrap().extend([&*line, "\n"]);
                }
            }
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon("the server's first line", lines.next_line()).await.unwrap().unwrap();
        let url = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http://"))
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        let address = url.trim_end_matches([',', '.']).parse().unwrap();
        // What it says later is read and thrown away, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, address, log, http: reqwest::Client::new() }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// A number of its `/metrics`. The connection is kept, so that it can be asked again when it
    /// accepts no more.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        metric(&self.http, self.address, name).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Its resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The processor time that it has used, in hundredths of a second.
    pub fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // After the program's name in parentheses: fields 14 and 15 of proc(5), user and system
        // time.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Sends it a signal by its name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.id().to_string())
            .status()
            .await
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> ExitStatus {
        soon("the server's end", self.child.wait()).await.unwrap()
    }
}
