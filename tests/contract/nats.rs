//! NATS: one private server for all laws, and a cluster of three, with names for each law; laws
//! that kill a server have one of their own, and of the cluster they kill the leader.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rejoin::{
    adapters::{
        backend_kit::BackendContext,
        nats::{self, NatsOptions, Storage},
        system_clock::SystemClock,
    },
    domain::{message::MESSAGE_EVENTS_MAX, topic::MessageId},
};
use rejoin_test_support::{NatsCluster, NatsConfig, NatsServer};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::contract::backend::{Backend, Fixture, Options, Process};

pub(crate) struct NatsFixture {
    pub(crate) is_oldest: bool,
}

pub(crate) struct NatsClusterFixture;

/// Where a law's streams are.
enum Servers {
    One(Arc<Mutex<NatsServer>>),
    Three(Arc<Mutex<NatsCluster>>),
}

struct OfNats {
    servers: Servers,
    options: NatsOptions,
    context: BackendContext,
}

/// The servers' time goes on, and so does that of processes.
fn context(options: &Options) -> BackendContext {
    BackendContext { clock: Arc::new(SystemClock), ..options.context() }
}

/// A backend with names of its own.
pub(crate) fn nats_options(url: String, replicas: usize) -> NatsOptions {
    let name = Uuid::new_v4().simple().to_string();
    NatsOptions {
        url,
        credentials_file: None,
        nkey_file: None,
        tls_ca_file: None,
        stream_prefix: format!("T{name}"),
        subject_prefix: format!("t{name}"),
        domain: None,
        replicas,
        storage: Storage::File,
    }
}

/// The servers of all laws that leave them alive. They end with the process.
async fn shared_server(is_oldest: bool) -> Arc<Mutex<NatsServer>> {
    static NEWEST: OnceCell<Arc<Mutex<NatsServer>>> = OnceCell::const_new();
    static OLDEST: OnceCell<Arc<Mutex<NatsServer>>> = OnceCell::const_new();
    let start = async || {
        let config = NatsConfig { is_oldest, ..NatsConfig::default() };
        Arc::new(Mutex::new(NatsServer::start_with(config).await.ending_with_this_process()))
    };
    Arc::clone(if is_oldest { &OLDEST } else { &NEWEST }.get_or_init(start).await)
}

async fn shared_cluster() -> Arc<Mutex<NatsCluster>> {
    static CLUSTER: OnceCell<Arc<Mutex<NatsCluster>>> = OnceCell::const_new();
    let start = async || {
        let cluster = NatsCluster::start().await;
        let servers =
            cluster.servers.into_iter().map(NatsServer::ending_with_this_process).collect();
        Arc::new(Mutex::new(NatsCluster { servers }))
    };
    Arc::clone(CLUSTER.get_or_init(start).await)
}

impl OfNats {
    async fn on(server: Arc<Mutex<NatsServer>>, options: &Options) -> Box<dyn Backend> {
        let url = server.lock().await.url();
        Box::new(Self {
            servers: Servers::One(server),
            options: nats_options(url, 1),
            context: context(options),
        })
    }

    async fn on_three(cluster: Arc<Mutex<NatsCluster>>, options: &Options) -> Box<dyn Backend> {
        let urls = cluster.lock().await.urls();
        Box::new(Self {
            servers: Servers::Three(cluster),
            options: nats_options(urls, 3),
            context: context(options),
        })
    }

    async fn ask(&self, what: &str, question: Value) -> Value {
        let answer = match &self.servers {
            Servers::One(server) => server.lock().await.ask(what, question).await,
            Servers::Three(cluster) => cluster.lock().await.servers[0].ask(what, question).await,
        };
        assert!(answer["error"].is_null(), "{what}: {answer}");
        answer
    }

    fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.options.stream_prefix)
    }

    /// Lets the stream of events hold so many bytes.
    async fn limit_events(&self, bytes_max: impl FnOnce(&Value) -> i64) {
        let name = self.stream("EVENTS");
        let info = self.ask(&format!("STREAM.INFO.{name}"), json!({})).await;
        let mut config = info["config"].clone();
        config["max_bytes"] = bytes_max(&info["state"]).into();
        self.ask(&format!("STREAM.UPDATE.{name}"), config).await;
    }
}

#[async_trait]
impl Fixture for NatsFixture {
    async fn open(&self, options: Options) -> Box<dyn Backend> {
        OfNats::on(shared_server(self.is_oldest).await, &options).await
    }

    async fn open_to_be_killed(&self, options: Options) -> Box<dyn Backend> {
        let config = NatsConfig { is_oldest: self.is_oldest, ..NatsConfig::default() };
        OfNats::on(Arc::new(Mutex::new(NatsServer::start_with(config).await)), &options).await
    }

    fn property_cases(&self) -> u32 {
        6
    }

    fn time_tolerance(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[async_trait]
impl Fixture for NatsClusterFixture {
    async fn open(&self, options: Options) -> Box<dyn Backend> {
        OfNats::on_three(shared_cluster().await, &options).await
    }

    async fn open_to_be_killed(&self, options: Options) -> Box<dyn Backend> {
        OfNats::on_three(Arc::new(Mutex::new(NatsCluster::start().await)), &options).await
    }

    fn property_cases(&self) -> u32 {
        2
    }

    fn time_tolerance(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[async_trait]
impl Backend for OfNats {
    async fn process(&self) -> Process {
        Process::of(nats::open(self.options.clone(), &self.context).await.unwrap())
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// A message whose last record says that it has as many events.
    async fn fill_message(&self, id: &MessageId, room: u64) {
        let next = MESSAGE_EVENTS_MAX - room;
        let subject = format!("{}.message.{id}", self.options.subject_prefix);
        let record = json!({
            "owner": "u1", "epoch": 1, "next": next, "created_at_ms": 1, "producer_seen_at_ms": 1_718_900_000_000_u64, "first": next,
        });
        let client = match &self.servers {
            Servers::One(server) => server.lock().await.client().await.unwrap(),
            Servers::Three(cluster) => cluster.lock().await.servers[0].client().await.unwrap(),
        };
        client.request(subject, record.to_string().into()).await.unwrap();
    }

    async fn wipe(&self) {
        match &self.servers {
            Servers::One(server) => server.lock().await.wipe(&self.options.stream_prefix).await,
            Servers::Three(cluster) => {
                cluster.lock().await.servers[0].wipe(&self.options.stream_prefix).await;
            }
        }
    }

    /// In a cluster that of the leader.
    async fn restart(&self) {
        match &self.servers {
            Servers::One(server) => {
                let mut server = server.lock().await;
                server.kill().await;
                server.start_again().await;
            }
            Servers::Three(cluster) => {
                let mut cluster = cluster.lock().await;
                let leader = cluster.leader_of(&self.stream("EVENTS")).await;
                cluster.servers[leader].kill().await;
                cluster.leader_of(&self.stream("EVENTS")).await;
                cluster.servers[leader].start_again().await;
            }
        }
    }

    async fn stop(&self) {
        let Servers::One(server) = &self.servers else { unreachable!("declared as lacking") };
        server.lock().await.kill().await;
    }

    async fn start(&self) {
        let Servers::One(server) = &self.servers else { unreachable!("declared as lacking") };
        server.lock().await.start_again().await;
    }

    async fn pause(&self) {
        let Servers::One(server) = &self.servers else { unreachable!("declared as lacking") };
        server.lock().await.pause().await;
    }

    async fn resume(&self) {
        let Servers::One(server) = &self.servers else { unreachable!("declared as lacking") };
        server.lock().await.resume().await;
    }

    async fn fill(&self) {
        self.limit_events(|state| state["bytes"].as_i64().unwrap() + 1).await;
    }

    async fn make_room(&self) {
        self.limit_events(|_| -1).await;
    }

    async fn lose_topic(&self, user_id: &str) {
        let subject = format!("{}.user.{user_id}", self.options.subject_prefix);
        self.ask(&format!("STREAM.PURGE.{}", self.stream("EVENTS")), json!({ "filter": subject }))
            .await;
    }
}
