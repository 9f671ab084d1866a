//! One Chromium for all tests, and pages in it.

use std::{
    collections::HashMap,
    io::Write as _,
    ops::Deref,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};

use crate::clients::{
    script::Script,
    site::Site,
    witness::{Record, Witness, witness},
};

static BROWSER: LazyLock<Browser> = LazyLock::new(Browser::start);

struct Browser {
    script: Mutex<Script>,
    pages: Arc<Mutex<HashMap<u64, Record>>>,
    opened: AtomicU64,
}

/// A page in a window of its own, with no cookies but its own. It is closed when it is dropped.
pub(crate) struct Page {
    number: u64,
    witness: Witness,
    _site: Site,
}

impl Browser {
    fn start() -> Self {
        let pages = Arc::<Mutex<HashMap<u64, Record>>>::default();
        let script = Script::start("browser.mjs", &[], {
            let pages = Arc::clone(&pages);
            move |lines| {
                lines.for_each(|line| take(&pages, line));
                // The browser has ended: no caller waits for it any longer.
                pages.lock().unwrap().clear();
            }
        });
        Self { script: Mutex::new(script), pages, opened: AtomicU64::new(0) }
    }

    fn command(&self, command: &Value) -> std::io::Result<()> {
        writeln!(self.script.lock().unwrap().commands, "{command}")
    }
}

fn take(pages: &Mutex<HashMap<u64, Record>>, line: Value) {
    let number = line["page"].as_u64().unwrap();
    // A page that was closed may have sent something before.
    if let Some(record) = pages.lock().unwrap().get(&number) {
        record.add(serde_json::from_value(line).unwrap());
    }
}

impl Page {
    /// Opens the page of a site, at a URL that [`Site::page`] made.
    pub(crate) fn open(site: Site, url: &str) -> Self {
        let number = BROWSER.opened.fetch_add(1, Ordering::Relaxed);
        let (record, witness) = witness();
        BROWSER.pages.lock().unwrap().insert(number, record);
        BROWSER.command(&json!({ "open": number, "url": url })).expect("the browser runs");
        Self { number, witness, _site: site }
    }
}

impl Deref for Page {
    type Target = Witness;

    fn deref(&self) -> &Witness {
        &self.witness
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        BROWSER.pages.lock().unwrap().remove(&self.number);
        // A browser that has ended shows no page.
        let _ = BROWSER.command(&json!({ "close": self.number }));
    }
}
