//! Clients that others wrote, over real HTTP: a browser, packages of npm and Python, crates, also
//! behind a proxy in Node; and our own pages in that browser. `README.md` says what they need.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod browser;
mod chromium;
mod console;
mod express;
mod folder;
mod npm_eventsource;
mod packages;
mod pages;
mod profiles;
mod python_uploads;
mod readme;
mod resumable_answer;
mod rust_eventsource;
mod script;
mod site;
mod table;
mod token;
mod witness;
