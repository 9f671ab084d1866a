//! The clients of `LangGraph`, in Node and Python, which join a run and reconnect by themselves.

use rejoin_test_support::{CuttingProxy, Spared};
use serde_json::{Value, json};

use super::{
    SEED,
    driver::{Driver, Job},
    front::Front,
    producer::{Producer, Server},
};

#[tokio::test]
async fn every_run_is_joined_to_its_end() {
    let clients = [Driver::start("langgraph_runs.mjs"), Driver::start("langgraph_runs.py")];
    let (server, impatient) =
        tokio::join!(Server::start("langgraph"), Server::start_impatient("langgraph"));
    tokio::join!(
        cuts(&clients, &server),
        stop(&clients, &server),
        stale(&clients, &impatient),
        unknown(&clients, &server),
        restarts(&clients),
    );
}

fn follow(clients: &[Driver; 2], apis: [String; 2], id: &str) -> [Job; 2] {
    let [node, python] = apis.map(|api| json!({ "api": format!("http://{api}"), "id": id }));
    [clients[0].job(id, "follow", node), clients[1].job(id, "follow", python)]
}

/// A graph that publishes the events of a run.
struct Graph<'a>(Producer<'a>);

impl<'a> Graph<'a> {
    /// A run that has begun.
    async fn open(server: &'a Server, id: &'static str) -> Self {
        let mut graph = Self(Producer::open(server, id).await);
        graph.say("metadata", json!({ "run_id": id })).await;
        graph
    }

    async fn say(&mut self, event: &str, data: Value) -> bool {
        let part = json!({ "id": self.0.said.len().to_string(), "event": event, "data": data });
        self.0.publish_as(json!({ "type": event, "payload": data }), part).await
    }

    async fn say_word(&mut self) -> bool {
        let word = format!("word {}, with \u{2603}, ", self.0.said.len());
        let chunk = json!({ "id": "ai-1", "type": "AIMessageChunk", "content": word });
        self.say("messages", json!([chunk, { "langgraph_node": "model" }])).await
    }

    async fn end(&mut self) {
        self.say("values", json!({ "messages": [] })).await;
        self.say("end", Value::Null).await;
    }

    /// Waits until each client has what was said last.
    async fn is_heard(&self, jobs: &[Job]) {
        for job in jobs {
            job.has(self.0.last()).await;
        }
    }

    /// Waits until each client has had all of it, once.
    async fn is_over(&self, jobs: &[Job]) {
        for job in jobs {
            job.over().await;
            assert_eq!(job.items(), self.0.said);
        }
    }
}

/// In Python the client is on its own. In Node it is behind an application's proxy: Node 20's
/// `fetch` takes a cut for the end of an answer that closes its connection.
async fn cuts(clients: &[Driver; 2], server: &Server) {
    // Each reconnect takes more than a second.
    let proxy =
        CuttingProxy::start_sparing(server.address(), SEED, 1500..2500, Spared::Heads).await;
    let front = Front::start(proxy.address()).await;
    let mut graph = Graph::open(server, "run-cut").await;
    let apis = [front.address, proxy.address()].map(|address| address.to_string());
    let jobs = follow(clients, apis, "run-cut");
    for _ in 0..35 {
        graph.say_word().await;
        graph.is_heard(&jobs).await;
    }
    graph.end().await;
    graph.is_over(&jobs).await;
    assert!(proxy.cuts() >= 4, "only {} cuts", proxy.cuts());
}

/// A server that is stopped in order ends its streams in order too: the clients ask the application
/// whether the run goes on.
async fn restarts(clients: &[Driver; 2]) {
    let server = Server::start("langgraph").await;
    let proxy = CuttingProxy::start_uncut(server.address()).await;
    let front = Front::start(proxy.address()).await;
    let mut graph = Graph::open(&server, "run-restart").await;
    let apis = [front.address, front.address].map(|address| address.to_string());
    let jobs = follow(clients, apis, "run-restart");
    for signal in ["KILL", "TERM"] {
        graph.say_word().await;
        graph.is_heard(&jobs).await;
        server.restart(signal, &proxy).await;
    }
    graph.say_word().await;
    graph.end().await;
    graph.is_over(&jobs).await;
}

fn direct(server: &Server) -> [String; 2] {
    [server.address().to_string(), server.address().to_string()]
}

async fn stop(clients: &[Driver; 2], server: &Server) {
    let mut graph = Graph::open(server, "run-stop").await;
    let jobs = follow(clients, direct(server), "run-stop");
    graph.is_heard(&jobs).await;
    server.stop("run-stop").await;
    assert!(graph.say_word().await);
    graph.end().await;
    graph.is_over(&jobs).await;
}

async fn stale(clients: &[Driver; 2], server: &Server) {
    let graph = Graph::open(server, "run-stale").await;
    let message = "The run was interrupted: its producer is gone.";
    let error = json!({ "error": "ProducerStale", "message": message });
    for job in follow(clients, direct(server), "run-stale") {
        job.over().await;
        let items = job.items();
        assert_eq!(items[..1], graph.0.said);
        assert_eq!((&items[1]["event"], &items[1]["data"]), (&json!("error"), &error));
        assert_eq!(items.len(), 2);
    }
}

async fn unknown(clients: &[Driver; 2], server: &Server) {
    let [node, python] = follow(clients, direct(server), "run-none");
    let (node, python) = (node.threw().await, python.threw().await);
    assert_eq!((&node["class"], &node["status"]), (&json!("HTTPError"), &json!(404)));
    assert_eq!((&python["class"], &python["status"]), (&json!("NotFoundError"), &json!(404)));
}
