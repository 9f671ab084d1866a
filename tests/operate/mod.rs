//! What an operator sees and does: metrics, request ids, the admin calls and the console, a
//! listener of its own, a clean stop.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod admin;
mod any_user_id;
mod backlog;
mod collector;
mod console;
mod drain;
mod given;
mod live_tail;
mod metrics;
mod requests;
mod rings;
mod tasks;
mod traces;
