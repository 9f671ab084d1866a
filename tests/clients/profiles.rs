//! The clients of AI providers, each on the route that its profile makes: followed live, cut off,
//! over restarts, stopped, failed, stale and unknown; and the example of each.
//!
//! The servers have the settings of the examples. A client's driver does many jobs side by side, so
//! that its start, which takes longest, is paid for once.

mod ai_sdk;
mod ai_sdk_workflow;
mod anthropic;
mod driver;
mod examples;
mod front;
mod langgraph;
mod openai_responses;
mod page;
mod producer;

/// The seed of all cuts.
const SEED: u64 = 11;
