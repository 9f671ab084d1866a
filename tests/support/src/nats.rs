//! Private NATS servers with JetStream, which tests may kill, stop, fill and wipe, alone and in a
//! cluster. They are the versions that `tests/support/nats-versions` names, the newest first, as
//! `scripts/install-test-tools` installs them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use async_nats::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{ports::reserve_port, soon};

const VERSIONS: &str = include_str!("../nats-versions");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.nats");

/// How a server is configured beside its address and its folder.
#[derive(Clone, Debug, Default)]
pub struct NatsConfig {
    /// Whether it is the oldest version that is supported.
    pub is_oldest: bool,
    /// Lines of its configuration.
    pub lines: String,
    /// Lines within the block of JetStream.
    pub jetstream: String,
    /// User and password that [`NatsServer::ask`] needs, where the configuration wants some.
    pub user: Option<(String, String)>,
    /// Or a token.
    pub token: Option<String>,
    /// Or a credentials file's text.
    pub credentials: Option<String>,
    /// The authority that signed its certificate, where it has one.
    pub tls_ca_file: Option<PathBuf>,
}

/// A NATS server on a port of its own, with a folder of its own. It ends with the value.
pub struct NatsServer {
    port: u16,
    folder: TempDir,
    config: NatsConfig,
    child: Option<Child>,
    /// Waits for the end of this process, however it comes, and then ends the server.
    ends: Option<Child>,
}

impl NatsServer {
    /// Starts the newest version.
    pub async fn start() -> Self {
        Self::start_with(NatsConfig::default()).await
    }

    /// Starts the oldest version that is supported.
    pub async fn start_oldest() -> Self {
        Self::start_with(NatsConfig { is_oldest: true, ..NatsConfig::default() }).await
    }

    /// Starts a server with these settings.
    pub async fn start_with(config: NatsConfig) -> Self {
        let mut server = Self::prepare(config);
        server.start_again().await;
        server
    }

    fn prepare(config: NatsConfig) -> Self {
        Self {
            port: reserve_port(),
            folder: TempDir::new().unwrap(),
            config,
            child: None,
            ends: None,
        }
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
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again where it was, with what it kept.
    pub async fn start_again(&mut self) {
        self.spawn();
        soon("JetStream's first answer", self.answers()).await;
    }

    /// The same with other settings.
    pub async fn start_again_with(&mut self, config: NatsConfig) {
        self.config = config;
        self.start_again().await;
    }

    fn spawn(&mut self) {
        let file = self.folder.path().join("nats.conf");
        let NatsConfig { is_oldest, lines, jetstream, .. } = &self.config;
        let store = self.folder.path().join("store").to_string_lossy().into_owned();
        let config = format!(
            "listen: \"127.0.0.1:{}\"\njetstream {{\nstore_dir: {store:?}\n{jetstream}\n}}\n{lines}\n",
            self.port
        );
        std::fs::write(&file, config).unwrap();
        let version = VERSIONS.lines().nth(usize::from(*is_oldest)).expect("a version");
        let program = Path::new(FOLDER).join(version).join("nats-server");
        let child = Command::new(program)
            .arg("--config")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.expect("nats-server, as scripts/install-test-tools installs it"));
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
        // Its threads stop one after another.
        let id = self.child.as_ref().and_then(Child::id).expect("a server that runs");
        let stopped = async {
            while !Self::has_stopped(id) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("all threads to stop", stopped).await;
    }

    fn has_stopped(id: u32) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
        let states = threads.map(|thread| {
            std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default()
        });
        states
            .into_iter()
            .all(|stat| stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T')))
    }

    /// Lets it go on.
    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    /// Asks JetStream, and gives its answer.
    pub async fn ask(&self, what: &str, question: Value) -> Value {
        self.try_ask(what, question).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The same where it may be away.
    pub async fn try_ask(&self, what: &str, question: Value) -> Result<Value, async_nats::Error> {
        let answer = self
            .client()
            .await?
            .request(format!("$JS.API.{what}"), question.to_string().into())
            .await?;
        Ok(serde_json::from_slice(&answer.payload)?)
    }

    /// A connection to it.
    pub async fn client(&self) -> Result<Client, async_nats::Error> {
        let NatsConfig { user, token, credentials, tls_ca_file, .. } = &self.config;
        let mut options = async_nats::ConnectOptions::new().max_reconnects(1);
        if let Some((user, password)) = user {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let Some(token) = token {
            options = options.token(token.clone());
        }
        if let Some(credentials) = credentials {
            options = options.credentials(credentials)?;
        }
        if let Some(file) = tls_ca_file {
            options = options.add_root_certificates(file.clone());
        }
        Ok(Box::pin(options.connect(self.url())).await?)
    }

    /// Removes all streams whose names begin so.
    pub async fn wipe(&self, prefix: &str) {
        for name in self.streams().await.into_iter().filter(|name| name.starts_with(prefix)) {
            self.ask(&format!("STREAM.DELETE.{name}"), json!({})).await;
        }
    }

    /// The names of all streams.
    pub async fn streams(&self) -> Vec<String> {
        let (mut names, mut total) = (Vec::new(), 1);
        while (names.len() as u64) < total {
            let answer = self.ask("STREAM.NAMES", json!({ "offset": names.len() })).await;
            total = answer["total"].as_u64().unwrap();
            names.extend(
                answer["streams"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|name| name.as_str().unwrap().to_owned()),
            );
        }
        names
    }

    async fn answers(&self) {
        while self.try_ask("INFO", json!({})).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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

/// Three NATS servers that are a cluster.
pub struct NatsCluster {
    /// Its servers.
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts the servers, and waits until JetStream works on all of them together.
    pub async fn start() -> Self {
        let mut servers: Vec<_> =
            (0..3).map(|_| NatsServer::prepare(NatsConfig::default())).collect();
        let routes: Vec<u16> = (0..3).map(|_| reserve_port()).collect();
        let all: Vec<String> =
            routes.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        for (number, (server, port)) in servers.iter_mut().zip(&routes).enumerate() {
            server.config.lines = format!(
                "server_name: \"n{number}\"\ncluster {{\nname: \"rejoin\"\nlisten: \"127.0.0.1:{port}\"\nroutes: [{}]\n}}",
                all.join(", ")
            );
            server.spawn();
        }
        for server in &servers {
            soon("JetStream's first answer", server.answers()).await;
        }
        let cluster = Self { servers };
        soon("a stream on all three", cluster.replicates()).await;
        cluster
    }

    async fn replicates(&self) {
        let stream = json!({ "name": "three", "subjects": ["three"], "num_replicas": 3, "storage": "memory" });
        let is_made = async || {
            let answer = self.servers[0].try_ask("STREAM.CREATE.three", stream.clone()).await;
            answer.is_ok_and(|answer| answer["error"].is_null())
        };
        while !is_made().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.servers[0].ask("STREAM.DELETE.three", json!({})).await;
    }

    /// Where its servers are.
    pub fn urls(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// Which of its servers leads a stream.
    pub async fn leader_of(&self, stream: &str) -> usize {
        let leader = async {
            loop {
                for server in self.servers.iter().filter(|server| server.child.is_some()) {
                    let answer = server
                        .try_ask(&format!("STREAM.INFO.{stream}"), json!({}))
                        .await
                        .unwrap_or_default();
                    if let Some(number) =
                        answer["cluster"]["leader"].as_str().and_then(|name| name.strip_prefix('n'))
                    {
                        return number.parse().unwrap();
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("a leader of the stream", leader).await
    }
}
