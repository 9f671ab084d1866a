//! Clients that others wrote, over real HTTP: a browser, packages of npm and Python, crates, also behind a proxy in Node; and
//! our own pages in that browser.
//! `README.md` says what they need.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

#[cfg(test)]
mod browser;
#[cfg(test)]
mod chromium;
#[cfg(test)]
mod console;
#[cfg(test)]
mod express;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod npm_eventsource;
#[cfg(test)]
mod python_uploads;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod resumable_answer;
#[cfg(test)]
mod rust_eventsource;
#[cfg(test)]
mod script;
#[cfg(test)]
mod site;
#[cfg(test)]
mod table;
#[cfg(test)]
mod token;
#[cfg(test)]
mod witness;
