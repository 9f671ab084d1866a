//! The script that drives a client, and its jobs.

use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex},
};

use rejoin_test_support::PATIENCE;
use serde_json::Value;
use tokio::sync::watch;

use crate::clients::script::Script;

/// A running script, which does jobs side by side.
pub(super) struct Driver {
    name: &'static str,
    script: Mutex<Script>,
    jobs: Jobs,
}

/// What was seen in each job.
type Jobs = Arc<Mutex<HashMap<String, watch::Sender<Vec<Value>>>>>;

impl Driver {
    pub(super) fn start(name: &'static str) -> Self {
        let jobs = Jobs::default();
        let reports = Arc::clone(&jobs);
        let script = Script::start(&format!("profiles/{name}"), &[], move |lines| {
            for line in lines {
                let reports = reports.lock().unwrap();
                let job = line["job"].as_str().and_then(|job| reports.get(job));
                job.unwrap_or_else(|| panic!("a job of no name: {line}"))
                    .send_modify(|seen| seen.push(line.clone()));
            }
            // Who still waits is not kept waiting.
            reports.lock().unwrap().clear();
        });
        Self { name, script: Mutex::new(script), jobs }
    }

    /// Gives the driver a job: one of its functions, and what that is to know.
    pub(super) fn job(&self, job: &str, does: &str, mut more: Value) -> Job {
        let (sender, seen) = watch::channel(Vec::new());
        let before = self.jobs.lock().unwrap().insert(job.to_owned(), sender);
        assert!(before.is_none(), "two jobs of one name");
        more["job"] = job.into();
        more["does"] = does.into();
        writeln!(self.script.lock().unwrap().commands, "{more}").unwrap();
        Job { name: format!("{}, {job}", self.name), seen }
    }
}

/// What a client sees in one job.
pub(super) struct Job {
    name: String,
    seen: watch::Receiver<Vec<Value>>,
}

impl Job {
    /// Waits until the client has this, in what it takes for the answer now.
    pub(super) async fn has(&self, item: &Value) {
        self.until(&format!("{item}"), |seen| items(seen).contains(item)).await;
    }

    /// Waits until the client's connections have been cut so many times.
    pub(super) async fn is_cut(&self, times: usize) {
        let is_cut = |seen: &Value| seen["saw"] == "cut";
        self.until("cuts", |seen| seen.iter().filter(|seen| is_cut(seen)).count() >= times).await;
    }

    /// Waits for the end of the job; gives what it came to.
    pub(super) async fn over(&self) -> Value {
        let end = self.ends().await;
        assert_eq!(end["saw"], "over", "{}: {end:#}", self.name);
        end
    }

    /// Waits for the end of the job, which has to be that the client throws; gives what it throws.
    pub(super) async fn threw(&self) -> Value {
        let end = self.ends().await;
        assert_eq!(end["saw"], "threw", "{}: {end:#}", self.name);
        end
    }

    /// Waits for the end of the job, however it ends.
    pub(super) async fn ends(&self) -> Value {
        self.until("the end", |seen| seen.last().is_some_and(is_end)).await;
        self.seen.borrow().last().unwrap().clone()
    }

    /// What the client takes for the answer: all that it has got, or, where it is given the whole
    /// of it again, what has come since.
    pub(super) fn items(&self) -> Vec<Value> {
        items(&self.seen.borrow())
    }

    async fn until(&self, what: &str, enough: impl Fn(&[Value]) -> bool) {
        let mut seen = self.seen.clone();
        let waiting = seen.wait_for(|seen| enough(seen) || seen.last().is_some_and(is_end));
        let came = tokio::time::timeout(PATIENCE, waiting).await.is_ok_and(|seen| seen.is_ok());
        let seen = self.seen.borrow();
        assert!(came && enough(&seen), "{}: no sign of {what} in {seen:#?}", self.name);
    }
}

fn is_end(seen: &Value) -> bool {
    seen["saw"] == "over" || seen["saw"] == "threw"
}

fn items(seen: &[Value]) -> Vec<Value> {
    let begin = seen.iter().rposition(|seen| seen["saw"] == "begin").unwrap_or_default();
    seen[begin..].iter().filter_map(|seen| seen.get("item").cloned()).collect()
}
