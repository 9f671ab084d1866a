//! What operators are shown.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::adapters::http::description::Event;

/// What there is of a user.
#[derive(Serialize, ToSchema)]
pub(super) struct UserView {
    /// Always true.
    pub(super) success: bool,
    pub(super) user_id: String,
    pub(super) backlog_length: u64,
    /// Null if nothing is retained.
    #[schema(required = true)]
    pub(super) oldest_id: Option<String>,
    #[schema(required = true)]
    pub(super) head_id: Option<String>,
    /// Over all processes.
    pub(super) connections: u32,
    pub(super) connections_here: u32,
    /// Null for no cap.
    #[schema(required = true)]
    pub(super) connections_max: Option<u32>,
    /// Null for no budget.
    #[schema(required = true)]
    pub(super) replays_left: Option<u32>,
    #[schema(required = true)]
    pub(super) replays_max: Option<u32>,
}

/// A part of a user's backlog.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there to be described: `backlog` writes it as it is taken")]
pub(super) struct BacklogView {
    /// Always true.
    success: bool,
    /// Oldest first, as clients see them.
    events: Vec<Event>,
    /// Whether there are more; `next` is then the `after` to go on with. An answer may have fewer
    /// events than `limit`: its bytes are bounded, and events that the token may not read are left
    /// out.
    more: bool,
    /// Null if there are no more.
    #[schema(required = true)]
    next: Option<String>,
}

/// A line of an export: of each kind of line those fields that it has.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there to be described: `export_lines` writes it")]
pub(super) struct ExportLineView {
    /// The first line: the version of the lines.
    export_format: Option<u32>,
    exported_at: Option<String>,
    /// A user's topic begins.
    user: Option<String>,
    /// The origin of its journal.
    origin: Option<String>,
    /// The position before its first entry.
    after: Option<String>,
    /// A message begins.
    message: Option<String>,
    owner: Option<String>,
    epoch: Option<u64>,
    stop_requested: Option<bool>,
    /// An entry of the latest topic or message.
    id: Option<String>,
    #[schema(value_type = Option<Object>)]
    event: Option<serde_json::Value>,
    /// A topic that can't be read.
    unreadable: Option<String>,
    why: Option<String>,
    /// The last line.
    end: Option<ExportEndView>,
}

/// What an export holds.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there to be described: `export_lines` writes it")]
pub(super) struct ExportEndView {
    topics: u64,
    entries: u64,
    messages: u64,
    message_events: u64,
    unreadable: u64,
}

/// What there is of this process.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusView {
    /// Always true.
    pub(super) success: bool,
    pub(super) version: &'static str,
    pub(super) uptime_seconds: u64,
    pub(super) draining: bool,
    /// By what a backend is used for: whether it answered when it was last asked.
    pub(super) backends: BTreeMap<&'static str, bool>,
    pub(super) connections: usize,
    pub(super) topics_followed: usize,
    pub(super) ring_bytes: usize,
    /// Who is connected to this process; those with the most connections.
    pub(super) users: Vec<ConnectedView>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ConnectedView {
    pub(super) user_id: String,
    pub(super) connections: u32,
}

/// It was done.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminDone)]
pub(super) struct Done {
    /// Always true.
    pub(super) success: bool,
    /// Connections that there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) connections: Option<u32>,
}
