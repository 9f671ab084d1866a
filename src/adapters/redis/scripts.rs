//! The scripts: what has to happen in one step happens on the server.
//!
//! Invariant: a script names all keys that it touches, and they belong to one slot of a cluster.

use std::sync::LazyLock;

/// A script, and the name that a server knows it by once it has seen it.
pub(super) struct Script {
    pub(super) code: &'static str,
    pub(super) sha1: String,
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            let code = concat!(
                include_str!("scripts/common.lua"),
                include_str!(concat!("scripts/", $file, ".lua"))
            );
            Script { code, sha1: redis::Script::new(code).get_hash().to_owned() }
        });
    };
}

script!(APPEND, "append");
script!(READ, "read");
script!(OLD_STREAMS, "old_streams");
script!(REMOVE_OLD_STREAMS, "remove_old_streams");
script!(TURN, "turn");
script!(LENGTH, "length");
script!(ANNOUNCE, "announce");
script!(READ_ANNOUNCEMENTS, "read_announcements");
script!(LOOK_AT_MESSAGE, "look_at_message");
script!(CHANGE_MESSAGE, "change_message");
script!(DELETE_MESSAGE, "delete_message");
script!(SILENT_MESSAGES, "silent_messages");
script!(ACQUIRE_LEASE, "acquire_lease");
script!(RENEW_LEASES, "renew_leases");
script!(RELEASE_LEASES, "release_leases");
script!(COUNT_LEASES, "count_leases");
script!(REPLAY_BUDGET, "replay_budget");
script!(ALLOW_CONTINUATION, "allow_continuation");
script!(TRY_RIGHTS, "try_rights");
script!(RESTORE, "restore");
