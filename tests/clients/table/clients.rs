//! The clients of the table, and how each is started.

use std::any::Any;

use rejoin_test_support::Spared;

use super::{crates, versions::Package};
use crate::clients::{
    browser::Page,
    script::Script,
    site::Site,
    witness::{Witness, witness},
};

/// One row of the table.
pub(super) struct Client {
    /// Its name, as the page about clients has it.
    pub(super) name: &'static str,
    /// Where its version is locked.
    pub(super) package: Package,
    start: Start,
    /// Where its connections are not cut, since no server could keep it from losing an event there.
    pub(super) spared: Spared,
}

/// How a client is started.
enum Start {
    /// By a script of `drivers`, with an argument behind the URL.
    Driver(&'static str, &'static str),
    /// In a page, by the name that `page.html` has for it.
    Page(&'static str),
    /// In this process.
    Crate(fn(&str) -> Witness),
}

impl Client {
    /// Its name and version.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.name, self.package.version())
    }

    /// Has the client follow a stream for as long as what comes with the witness is kept.
    pub(super) async fn follow(&self, url: &str) -> (Witness, Box<dyn Any>) {
        match self.start {
            Start::Driver(script, argument) => {
                let (record, witness) = witness();
                let script =
                    Script::start(&format!("drivers/{script}"), &[url, argument], move |lines| {
                        lines.for_each(|line| record.add(serde_json::from_value(line).unwrap()));
                    });
                (witness, Box::new(script))
            }
            Start::Page(client) => {
                let site = Site::start().await;
                let page_url = site.page_with(
                    client,
                    url,
                    &["message", "stream.position", "backlog.truncated"],
                );
                let page = Page::open(site, &page_url);
                (Witness::clone(&page), Box::new(page))
            }
            Start::Crate(follow) => (follow(url), Box::new(())),
        }
    }
}

/// All clients. The slowest begin: `event-source-polyfill` waits a second at least before it
/// reconnects.
pub(super) static CLIENTS: &[Client] = &[
    driven(
        "event-source-polyfill (npm)",
        Package::Npm("event-source-polyfill"),
        "event-source-polyfill.mjs",
        "",
    ),
    driven(
        "event-source-polyfill (npm), its parameter named `Last-Event-ID`",
        Package::Npm("event-source-polyfill"),
        "event-source-polyfill.mjs",
        "Last-Event-ID",
    ),
    in_page("`EventSource` of Chromium", Package::Chromium, "EventSource"),
    in_page(
        "reconnecting-eventsource (npm)",
        Package::Npm("reconnecting-eventsource"),
        "reconnecting-eventsource",
    ),
    in_page("sse.js (npm)", Package::Npm("sse.js"), "sse.js"),
    sparing(
        Spared::BehindData,
        driven(
            "eventsource (npm)",
            Package::Npm("eventsource2"),
            "eventsource.mjs",
            "eventsource2",
        ),
    ),
    driven("eventsource (npm)", Package::Npm("eventsource3"), "eventsource.mjs", "eventsource3"),
    driven("eventsource (npm)", Package::Npm("eventsource4"), "eventsource.mjs", "eventsource4"),
    driven("eventsource (npm)", Package::Npm("eventsource"), "eventsource.mjs", "eventsource"),
    driven(
        "eventsource-client (npm)",
        Package::Npm("eventsource-client"),
        "eventsource-client.mjs",
        "",
    ),
    sparing(
        Spared::BlockEnds,
        driven(
            "@microsoft/fetch-event-source (npm)",
            Package::Npm("@microsoft/fetch-event-source"),
            "fetch-event-source.mjs",
            "",
        ),
    ),
    driven(
        "event-source-plus (npm)",
        Package::Npm("event-source-plus"),
        "event-source-plus.mjs",
        "",
    ),
    sparing(
        Spared::BlockEnds,
        driven(
            "extended-eventsource (npm)",
            Package::Npm("extended-eventsource"),
            "extended-eventsource.mjs",
            "",
        ),
    ),
    driven(
        "launchdarkly-eventsource (npm)",
        Package::Npm("launchdarkly-eventsource"),
        "launchdarkly-eventsource.mjs",
        "",
    ),
    driven("httpx-sse (Python)", Package::Python("httpx-sse"), "httpx_sse_client.py", ""),
    sparing(
        Spared::BehindData,
        driven("sseclient (Python)", Package::Python("sseclient"), "sseclient_client.py", ""),
    ),
    driven(
        "launchdarkly-eventsource (Python)",
        Package::Python("launchdarkly-eventsource"),
        "launchdarkly_client.py",
        "",
    ),
    in_process(
        "eventsource-client (Rust)",
        Package::Crate("eventsource-client"),
        crates::eventsource_client,
    ),
    in_process(
        "reqwest-eventsource (Rust)",
        Package::Crate("reqwest-eventsource"),
        crates::reqwest_eventsource,
    ),
];

const fn driven(
    name: &'static str,
    package: Package,
    driver: &'static str,
    argument: &'static str,
) -> Client {
    Client { name, package, start: Start::Driver(driver, argument), spared: Spared::Nothing }
}

const fn in_page(name: &'static str, package: Package, client: &'static str) -> Client {
    Client { name, package, start: Start::Page(client), spared: Spared::Nothing }
}

const fn in_process(name: &'static str, package: Package, follow: fn(&str) -> Witness) -> Client {
    Client { name, package, start: Start::Crate(follow), spared: Spared::Nothing }
}

/// A client that keeps an id before it has all of its event, or that joins halves of two events:
/// faults of its own.
const fn sparing(spared: Spared, client: Client) -> Client {
    Client { spared, ..client }
}
