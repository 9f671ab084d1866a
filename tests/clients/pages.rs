//! Libraries that show HTML as it is published, in Chromium: the pages of the examples `htmx`,
//! `turbo` and `datastar`, word for word.

use std::path::{Path, PathBuf};

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{
    Connection, CuttingProxy, PATIENCE, ServerProcess, Spared, eventually, soon,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::clients::script::{self, Script};

/// What the tests change of the examples' settings: nothing that decides what a page gets, but how
/// long it waits for it.
const SETTINGS: [(&str, &str); 4] = [
    ("REJOIN_SSE__RETRY_MS", "50"),
    ("REJOIN_SERVER__DRAIN_SECONDS", "1"),
    ("REJOIN_EVENTS__REPLAY_BUDGET_REQUESTS_PER_WINDOW", "0"),
    // A longer backlog comes in parts, and the stream ends after each.
    ("REJOIN_EVENTS__REPLAY_MAX_PER_REQUEST", "20"),
];

/// A library, and the page that uses it.
struct Library {
    example: &'static str,
    page: &'static str,
    /// A publish of this HTML, without its recipient.
    event: fn(&str) -> Value,
    /// Where the connection is not cut.
    spared: Spared,
    /// Whether a hidden page keeps its stream.
    follows_while_hidden: bool,
}

const HTMX_2: Library = Library {
    example: "htmx",
    page: "index.html",
    event: |html| json!({ "type": "note", "data": html }),
    spared: Spared::Heads,
    follows_while_hidden: true,
};

const HTMX_4: Library = Library { page: "htmx4.html", follows_while_hidden: false, ..HTMX_2 };

const TURBO: Library = Library {
    example: "turbo",
    event: |html| {
        let stream = format!(
            "<turbo-stream action=\"append\" target=\"notes\"><template>{html}</template></turbo-stream>"
        );
        json!({ "type": "note", "data": stream })
    },
    ..HTMX_2
};

const DATASTAR: Library = Library {
    example: "datastar",
    event: |html| {
        let elements = html.replace('\n', "\nelements ");
        let data = format!("selector #notes\nmode append\nelements {elements}");
        json!({ "type": "note", "event": "datastar-patch-elements", "data": data })
    },
    // It keeps an id as soon as its line has ended.
    spared: Spared::BlockEnds,
    ..HTMX_2
};

#[tokio::test]
async fn htmx_2_loses_and_doubles_nothing() {
    loses_and_doubles_nothing(HTMX_2).await;
}

#[tokio::test]
async fn htmx_4_loses_and_doubles_nothing() {
    loses_and_doubles_nothing(HTMX_4).await;
}

#[tokio::test]
async fn turbo_loses_and_doubles_nothing() {
    loses_and_doubles_nothing(TURBO).await;
}

#[tokio::test]
async fn datastar_loses_and_doubles_nothing() {
    loses_and_doubles_nothing(DATASTAR).await;
}

async fn loses_and_doubles_nothing(library: Library) {
    let mut show = Show::start(library, &[]).await;
    show.page.open(&[]).await;
    show.connections(1).await;

    // Cut off before its first event, the page has the cursor of a position frame.
    while show.page.seen.borrow().cursors == 0 {
        show.cut_off().await;
        show.let_back().await;
    }
    show.cut_off().await;
    show.publish(1).await;
    show.proxy.plug_in();
    show.shows_all("after a cut before the first event").await;

    show.publish(5).await;
    show.shows_all("as they come").await;

    show.cut_off().await;
    show.publish(45).await;
    show.proxy.plug_in();
    show.shows_all("a backlog in parts").await;

    let cutter =
        CuttingProxy::start_sparing(show.address(), 7, 1_000..3_000, show.library.spared).await;
    show.cut_off().await;
    show.proxy.retarget(cutter.address());
    show.let_back().await;
    show.publish(60).await;
    show.shows_all("over many cuts").await;
    assert!(cutter.cuts() >= 5, "{} cuts", cutter.cuts());
    show.cut_off().await;
    show.proxy.retarget(show.address());
    show.let_back().await;

    show.page.command(&json!({ "hide": true }));
    show.page.until("hidden", |seen| seen.visibility == "hidden").await;
    show.connections(u32::from(show.library.follows_while_hidden)).await;
    show.publish(3).await;
    show.page.command(&json!({ "back": true }));
    show.page.until("visible", |seen| seen.visibility == "visible").await;
    show.shows_all("after it was hidden").await;
    show.connections(1).await;

    show.cut_off().await;
    show.publish(2).await;
    show.restart("KILL").await;
    show.proxy.plug_in();
    show.shows_all("after a kill").await;
    show.connections(1).await;
    show.restart("TERM").await;
    show.publish(2).await;
    show.shows_all("after a drain").await;
    show.connections(1).await;

    // All that came before this one has been shown, or would never be.
    show.publish(1).await;
    show.shows_all("at the end").await;
    show.shows_nothing_else().await;
    show.page.close().await;
}

/// Why the page has `errors=stream`: the extension makes a new `EventSource` of one that has given
/// up, and that knows no cursor.
#[tokio::test]
async fn htmx_2_loses_what_it_missed_where_a_refusal_is_a_status() {
    let mut show = Show::start(HTMX_2, &[("REJOIN_SSE__MAX_CONCURRENT_PER_USER", "1")]).await;
    show.page.open(&[("?errors=stream", "")]).await;
    show.page.until("a cursor", |seen| seen.cursors == 1).await;
    show.publish(1).await;
    show.shows_all("as they come").await;
    show.refuse_once().await;
    show.page.until("a new cursor", |seen| seen.cursors == 2).await;
    show.publish(1).await;
    show.published.remove(1);
    show.shows_all("but what it missed").await;

    show.cut_off().await;
    show.published.clear();
    show.page.open(&[]).await;
    show.proxy.plug_in();
    show.page.until("a cursor", |seen| seen.cursors == 1).await;
    show.publish(1).await;
    show.shows_all("as they come").await;
    show.refuse_once().await;
    show.shows_all("and what it missed").await;
    show.page.close().await;
}

const CONNECTIONS: &str = "rejoin_connections{channel=\"user\"}";
const REFUSALS: &str = "rejoin_refusals_total{code=\"too_many_connections\"}";

/// An example at work: its server, its page, and a proxy between them.
struct Show {
    library: Library,
    settings: Vec<(&'static str, String)>,
    server: Option<ServerProcess>,
    proxy: CuttingProxy,
    page: Page,
    /// The texts of the notes that the page has to show.
    published: Vec<String>,
    _disk: TempDir,
}

impl Show {
    async fn start(library: Library, more_settings: &[(&'static str, &str)]) -> Self {
        let disk = tempfile::tempdir().unwrap();
        let path = disk.path().join("events").to_str().unwrap().to_owned();
        let mut settings = vec![("REJOIN_DISK__PATH", path)];
        let more = SETTINGS.iter().chain(more_settings);
        settings.extend(more.map(|(name, value)| (*name, (*value).to_owned())));
        let server = serve(&library, &settings).await;
        let proxy = CuttingProxy::start_uncut(server.address()).await;
        let page = Page::start(&library, &proxy);
        Self {
            library,
            settings,
            server: Some(server),
            proxy,
            page,
            published: Vec::new(),
            _disk: disk,
        }
    }

    fn server(&self) -> &ServerProcess {
        self.server.as_ref().unwrap()
    }

    fn address(&self) -> std::net::SocketAddr {
        self.server().address()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    async fn refusals(&self) -> f64 {
        self.server().metric(REFUSALS).await.unwrap_or_default()
    }

    /// Waits until so many streams are open.
    async fn connections(&self, count: u32) {
        eventually("the streams", async || {
            self.server().metric(CONNECTIONS).await == Some(f64::from(count))
        })
        .await;
    }

    async fn cut_off(&self) {
        self.proxy.unplug();
        self.connections(0).await;
    }

    async fn let_back(&self) {
        self.proxy.plug_in();
        self.connections(1).await;
    }

    /// Cuts the page off, publishes a note, and has the server refuse the page when it comes back.
    async fn refuse_once(&mut self) {
        self.cut_off().await;
        self.publish(1).await;
        let other = Connection::open(&self.url("/live"), None).await;
        self.connections(1).await;
        let refusals = self.refusals().await;
        self.proxy.plug_in();
        eventually("a refusal", async || self.refusals().await > refusals).await;
        drop(other);
    }

    /// Publishes notes of several lines, with what HTML would take for its own.
    async fn publish(&mut self, count: usize) {
        let http = reqwest::Client::new();
        for _ in 0..count {
            let number = self.published.len();
            let words = "word ".repeat(30);
            let html =
                format!("<li>note {number}: {words}\n  <b>&lt;b&gt; &amp; \u{2603}</b></li>");
            let mut event = (self.library.event)(&html);
            event["user_id"] = json!("local");
            let answer = http.post(self.url("/api/events")).json(&event).send().await.unwrap();
            assert_eq!(answer.status(), 201, "{event}");
            self.published.push(format!("note {number}: {words}\n  <b> & \u{2603}"));
        }
    }

    /// Waits until the page shows as many notes as were published, and sees that they are the same.
    async fn shows_all(&self, when: &str) {
        let count = self.published.len();
        let seen = self.page.until(when, |seen| seen.notes.len() >= count).await;
        assert_eq!(seen.notes, self.published, "{when}");
        assert!(seen.wrongs.is_empty(), "{when}: {:?}", seen.wrongs);
    }

    /// Sees that the page shows its heading and the notes: none of the position frames that come
    /// on the same stream.
    async fn shows_nothing_else(&self) {
        let mut stream = Connection::open(&self.url("/live"), None).await;
        while !matches!(stream.expect().await, Decoded::Position(_)) {}
        drop(stream);
        self.connections(1).await;
        let body = self.page.seen.borrow().body.clone();
        let expected = format!("Notes {}", self.published.join(" "));
        assert!(body.split_whitespace().eq(expected.split_whitespace()), "{body}");
    }

    /// Ends the server by a signal, and starts another one with what it left on disk.
    async fn restart(&mut self, signal: &str) {
        let server = self.server.take().unwrap();
        server.signal(signal).await;
        server.ended().await;
        let server = serve(&self.library, &self.settings).await;
        self.proxy.retarget(server.address());
        self.server = Some(server);
    }
}

fn folder(library: &Library) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(library.example)
}

/// Starts the server as the example's README does.
async fn serve(library: &Library, settings: &[(&str, String)]) -> ServerProcess {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command.args(["serve", "--config"]).arg(folder(library).join("rejoin.toml"));
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    ServerProcess::start_by(command).await
}

/// A page in a browser of its own.
struct Page {
    script: Script,
    path: &'static str,
    seen: watch::Receiver<Seen>,
    _profile: TempDir,
}

/// What is known of a page.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The texts of the notes that it shows.
    notes: Vec<String>,
    /// All text that it shows.
    body: String,
    visibility: String,
    /// How often it has got a cursor without an event, or come back with one.
    cursors: usize,
    /// How often a page was opened; all else is of the last one.
    opened: usize,
    /// What went wrong in its scripts.
    wrongs: Vec<String>,
}

/// What `pages.mjs` reports.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Opened,
    Shown { notes: Vec<String>, body: String },
    Visibility(String),
    Cursor,
    Wrong(String),
}

impl Page {
    fn start(library: &Library, proxy: &CuttingProxy) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let (sender, seen) = watch::channel(Seen::default());
        let port = proxy.address().port().to_string();
        let datastar = script::directory().join(".datastar/starhtml/static/js/datastar-core.js");
        let folder = format!("{}/", folder(library).display());
        let arguments =
            [&folder, profile.path().to_str().unwrap(), &port, datastar.to_str().unwrap()];
        let script = Script::start("pages.mjs", &arguments, move |lines| {
            for line in lines {
                let report = serde_json::from_value(line).unwrap();
                sender.send_modify(|seen| seen.take(report));
            }
        });
        Self { script, path: library.page, seen, _profile: profile }
    }

    fn command(&mut self, command: &Value) {
        use std::io::Write as _;
        writeln!(self.script.commands, "{command}").expect("the browser runs");
    }

    /// Opens the page anew, with other texts in place of some of its own.
    async fn open(&mut self, instead: &[(&str, &str)]) {
        let instead: Value =
            instead.iter().copied().map(|(text, other)| (text, json!(other))).collect();
        let (path, times) = (self.path, self.seen.borrow().opened + 1);
        self.command(&json!({ "open": path, "instead": instead }));
        self.until("a new page", |seen| seen.opened == times).await;
    }

    async fn until(&self, what: &str, enough: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let waiting = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| enough(seen))).await;
        let is_seen = waiting.is_ok_and(|ended| ended.is_ok());
        assert!(is_seen, "timed out waiting for {what}: {:#?}", *self.seen.borrow());
        self.seen.borrow().clone()
    }

    /// Ends the browser.
    async fn close(mut self) {
        self.command(&json!({ "close": true }));
        let ended = async { while self.seen.changed().await.is_ok() {} };
        soon("the browser's end", ended).await;
    }
}

impl Seen {
    fn take(&mut self, report: Report) {
        match report {
            Report::Opened => *self = Self { opened: self.opened + 1, ..Self::default() },
            Report::Shown { notes, body } => (self.notes, self.body) = (notes, body),
            Report::Visibility(visibility) => self.visibility = visibility,
            Report::Cursor => self.cursors += 1,
            Report::Wrong(wrong) => self.wrongs.push(wrong),
        }
    }
}
