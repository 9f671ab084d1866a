//! The contract suite: what the ports' docs promise, shown for every adapter by the same functions.
//!
//! A law is one `async fn` over a [`backend::Fixture`], named as a sentence. An adapter joins with
//! one `contract!` block below, and passes every law. What its backend *can't* do at all (a server
//! that isn't there can't be away) is declared in that block with the reason, and shows as an
//! ignored test with that reason: nothing is skipped silently.
//!
//! Of a group of laws a block says `has`, and they run, or `(lacks "why")`, and they are shown as
//! ignored.

#![expect(clippy::disallowed_methods, reason = "tests make ids of their own")]

mod archive;
mod backend;
mod cluster;
mod disk;
mod faults;
mod feed;
mod follower;
mod given;
mod isolation;
mod journal;
mod limits;
mod memory;
mod messages;
mod nats;
mod postgres;
mod redis;
mod reference;

/// Makes a test of each law of a module.
macro_rules! laws {
    ($fixture:expr, $module:tt, $has:tt, $($law:ident)*) => {$( law! { $fixture, $module, $has, $law } )*};
}

/// Makes a test of one law.
macro_rules! law {
    ($fixture:expr, [$($module:ident)::+], has, $law:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $law() {
            crate::contract::backend::within_patience(crate::contract::$($module)::+::$law(&$fixture)).await;
        }
    };
    ($fixture:expr, [$($module:ident)::+], (lacks $why:literal), $law:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = $why]
        async fn $law() {
            crate::contract::backend::within_patience(crate::contract::$($module)::+::$law(&$fixture)).await;
        }
    };
}

/// Makes a test of each law, for one adapter. A law that is missing here is dead code, which the
/// lints refuse.
macro_rules! contract {
    (
        mod $adapter:ident: $fixture:expr;
        clock_that_steps_back: $clock:tt;
        wipe: $wipe:tt;
        wipe_under_a_process: $live_wipe:tt;
        restart: $restart:tt;
        outage: $outage:tt;
        pause: $pause:tt;
        fill: $fill:tt;
        lose_topic: $lose_topic:tt;
        cut_feeds: $cut_feeds:tt;
        movable_clock: $movable_clock:tt;
    ) => {
        mod $adapter {
            mod reference {
                laws! { $fixture, [reference], $movable_clock,
                    a_topic_is_as_the_domain_decides a_message_is_as_the_domain_decides leases_and_budgets_are_as_the_domain_decides
                }
            }
            mod appending {
                laws! { $fixture, [journal::appending], has,
                    ids_strictly_increase_in_the_order_of_a_batch
                    ids_strictly_increase_under_concurrent_appenders
                    prev_is_the_position_appended_at
                    an_acknowledged_entry_is_readable_at_once_by_every_process
                    no_entry_appears_behind_a_head_that_was_told
                    the_head_of_an_empty_topic_is_never_behind
                    a_batch_over_many_topics_is_appended_whole
                    an_empty_batch_is_harmless
                }
                laws! { $fixture, [journal::appending], $clock,
                    ids_strictly_increase_when_the_clock_steps_back
                }
            }
            mod idempotency {
                laws! { $fixture, [journal::idempotency], has,
                    the_same_key_on_a_topic_appends_once
                    a_key_counts_for_its_own_topic
                    a_key_is_forgotten_after_its_window
                    concurrent_repeats_append_once
                    a_repeat_within_a_batch_appends_once
                    a_key_outlives_its_entry
                    keys_and_topics_never_run_into_each_other
                }
            }
            mod reading {
                laws! { $fixture, [journal::reading], has,
                    reading_is_exclusive_and_ordered
                    reading_is_bounded_by_entries_and_tells_exactly_whether_there_is_more
                    reading_is_bounded_by_bytes_but_gives_at_least_one
                    pages_join_without_a_gap
                    a_position_between_entries_is_as_good_as_any
                    a_position_ahead_of_the_journal_is_told
                    a_page_tells_the_bounds
                    the_journal_answers_a_probe
                }
            }
            mod removal {
                laws! { $fixture, [journal::removal], has,
                    trimming_at_the_bound_is_told_exactly
                    the_oldest_retained_is_asked_for_with_zero
                    entries_over_the_age_limit_count_as_removed
                    a_topic_that_expired_whole_hides_no_loss
                    purging_is_told_and_ids_go_on_increasing
                    purging_again_is_harmless
                    the_length_is_what_reading_gives
                }
            }
            mod payloads {
                laws! { $fixture, [journal::payloads], has,
                    a_payload_keeps_every_byte
                    an_event_keeps_all_its_parts
                    a_payload_of_a_mebibyte_is_kept
                }
            }
            mod model {
                laws! { $fixture, [journal::model], has, a_topic_behaves_as_a_list_with_a_trimmed_beginning }
            }
            mod messages {
                laws! { $fixture, [messages::appending], has,
                    numbers_go_from_zero_without_holes
                    concurrent_producers_share_the_numbers
                    a_batch_is_taken_up_to_the_first_refusal
                    a_repeat_of_a_number_appends_nothing_and_another_event_is_in_conflict
                    a_repeated_key_appends_once_on_its_own_message
                    concurrent_repeats_of_a_number_append_once
                    nothing_follows_a_terminal_event
                    an_event_that_a_message_has_no_room_for_is_too_large
                    a_message_that_was_not_opened_takes_nothing
                }
                laws! { $fixture, [messages::contents], has,
                    what_an_event_of_a_message_carries_is_kept
                    a_repeat_carries_the_same_in_every_part
                    an_event_of_any_type_ends_a_message_if_it_is_the_last
                }
                laws! { $fixture, [messages::producers], has,
                    opening_again_changes_nothing
                    a_message_belongs_to_who_opened_it
                    concurrent_openings_make_one_message
                    each_takeover_has_an_epoch_of_its_own_and_fences_all_before
                    a_message_that_ended_is_not_taken_over
                    silence_is_counted_from_the_last_sign_of_life
                    a_stop_is_told_to_every_producer_from_then_on
                }
                laws! { $fixture, [messages::reading], has,
                    a_message_reads_from_zero_in_pages_without_a_gap
                    a_message_is_never_truncated
                    a_message_that_is_not_there_reads_as_an_empty_one
                    what_is_appended_to_a_watched_message_is_signalled
                    a_message_and_a_user_of_the_same_name_are_apart
                }
                laws! { $fixture, [messages::removal], has,
                    a_deleted_message_is_gone_and_its_watchers_are_told
                    a_deleted_message_begins_anew
                    the_sweep_removes_what_has_been_silent_for_too_long
                    a_sweep_of_many_leaves_room_for_other_calls
                }
            }
            mod feed {
                laws! { $fixture, [feed], has,
                    what_is_appended_after_watching_is_signalled
                    signals_come_in_order_and_tell_the_entry_before
                    concurrent_appends_of_all_processes_are_heard
                    topics_that_are_not_watched_are_silent
                    watching_twice_is_harmless
                    unwatching_stops_the_signals
                    a_topic_can_be_watched_again
                    a_broadcast_reaches_every_process_and_is_not_kept
                    every_process_is_told_to_close_a_users_connections
                    a_listener_that_does_not_listen_is_interrupted
                }
            }
            mod limits {
                laws! { $fixture, [limits::leases], has,
                    never_more_leases_than_the_cap
                    concurrent_comings_and_goings_stay_within_the_cap
                    a_refused_lease_leaves_no_trace
                    a_lease_ends_after_its_time
                    a_renewed_lease_holds
                    renewing_takes_an_ended_lease_up_again
                    releasing_twice_is_harmless
                }
                laws! { $fixture, [limits::budget], has,
                    a_budget_is_a_sliding_window
                    a_refused_replay_does_not_count
                    looking_at_a_budget_spends_nothing
                    concurrent_replays_stay_within_the_budget
                    going_on_from_where_a_snapshot_was_capped_is_free_once
                    a_continuation_is_allowed_for_a_time
                    promise_7_a_bounded_number_of_continuations_is_kept
                }
            }
            mod archive {
                laws! { $fixture, [archive], has,
                    every_topic_and_message_is_listed
                    a_restored_topic_goes_on_where_it_was
                    what_is_there_is_never_changed_by_a_restore
                    an_export_holds_all_that_there_is
                }
            }
            mod isolation {
                laws! { $fixture, [isolation], has,
                    no_user_id_reaches_another_journal
                    no_user_id_reaches_another_feed
                    no_user_id_reaches_another_limit
                    a_purge_removes_one_topic_alone
                    no_message_id_reaches_another_message
                }
            }
            mod faults {
                laws! { $fixture, [faults], $wipe,
                    a_wiped_journal_has_an_origin_behind_every_id_it_issued
                    a_wiped_journal_knows_no_keys
                }
                laws! { $fixture, [faults], $live_wipe,
                    a_process_that_lives_through_a_wipe_hears_of_what_comes
                }
                laws! { $fixture, [faults], $restart,
                    a_restart_keeps_what_was_acknowledged
                    a_restart_keeps_what_was_removed_removed
                }
                laws! { $fixture, [faults], $outage,
                    an_outage_is_told_in_time_and_passes
                    a_feed_catches_up_after_an_outage
                }
                laws! { $fixture, [faults], $pause, a_backend_that_falls_silent_is_given_up_in_time }
                laws! { $fixture, [faults], $fill, a_full_backend_takes_nothing_and_keeps_what_it_has }
                laws! { $fixture, [faults], $lose_topic, an_entry_of_a_topic_that_vanished_is_truncated }
                laws! { $fixture, [faults], $cut_feeds, a_broadcast_reaches_a_process_whose_feed_is_cut }
            }
        }
    };
}

#[cfg(test)]
contract! {
    mod memory_backend: crate::contract::memory::MemoryFixture;
    clock_that_steps_back: has;
    wipe: has;
    wipe_under_a_process: (lacks "the journal lives and dies with its process");
    restart: (lacks "memory promises nothing beyond the process: a restart is a wipe");
    outage: (lacks "there is no server that could be away");
    pause: (lacks "there is no server that could fall silent");
    fill: (lacks "what is oldest makes room for what is new");
    lose_topic: (lacks "nobody else can remove a topic; `a_topic_that_expired_whole_hides_no_loss` shows one that is forgotten");
    cut_feeds: (lacks "there is no connection that could be cut");
    movable_clock: has;
}

#[cfg(test)]
contract! {
    mod disk_backend: crate::contract::disk::DiskFixture;
    clock_that_steps_back: has;
    wipe: has;
    wipe_under_a_process: (lacks "the store lives and dies with its process");
    restart: (lacks "the server is the process: `disk` shows stores that are opened again, after crashes too");
    outage: (lacks "there is no server that could be away");
    pause: (lacks "there is no server that could fall silent");
    fill: has;
    lose_topic: (lacks "nobody else can remove a topic");
    cut_feeds: (lacks "there is no connection that could be cut");
    movable_clock: has;
}

#[cfg(test)]
contract! {
    mod redis_backend: crate::contract::redis::RedisFixture;
    clock_that_steps_back: (lacks "a server's clock can't be set; `redis.rs` shows what a server finds whose clock was");
    wipe: has;
    wipe_under_a_process: has;
    restart: has;
    outage: has;
    pause: has;
    fill: has;
    lose_topic: has;
    cut_feeds: has;
    movable_clock: has;
}

#[cfg(test)]
contract! {
    mod redis_cluster: crate::contract::cluster::RedisClusterFixture;
    clock_that_steps_back: (lacks "one cluster serves all laws; its servers' clocks are as a single one's");
    wipe: has;
    wipe_under_a_process: has;
    restart: (lacks "one cluster serves all laws; its servers restart as a single one does");
    outage: (lacks "one cluster serves all laws; its servers go away as a single one does");
    pause: (lacks "one cluster serves all laws; its servers fall silent as a single one does");
    fill: (lacks "one cluster serves all laws; its servers fill up as a single one does");
    lose_topic: has;
    cut_feeds: (lacks "one cluster serves all laws; feeds break as over a single server");
    movable_clock: (lacks "its servers run the same scripts as a single one");
}

#[cfg(test)]
contract! {
    mod postgres_backend: crate::contract::postgres::PostgresFixture;
    clock_that_steps_back: has;
    wipe: has;
    wipe_under_a_process: has;
    restart: has;
    outage: has;
    pause: has;
    fill: has;
    lose_topic: has;
    cut_feeds: has;
    movable_clock: has;
}

#[cfg(test)]
contract! {
    mod nats_backend: crate::contract::nats::NatsFixture { is_oldest: false };
    clock_that_steps_back: (lacks "ids follow no clock: they are the stream's sequences");
    wipe: has;
    wipe_under_a_process: has;
    restart: has;
    outage: has;
    pause: has;
    fill: has;
    lose_topic: has;
    cut_feeds: (lacks "the server can't close one connection of several; `nats` shows what is cut by a proxy");
    movable_clock: (lacks "the domain itself decides in the process; nothing is decided by the server");
}

#[cfg(test)]
contract! {
    mod nats_oldest: crate::contract::nats::NatsFixture { is_oldest: true };
    clock_that_steps_back: (lacks "ids follow no clock: they are the stream's sequences");
    wipe: has;
    wipe_under_a_process: has;
    restart: has;
    outage: has;
    pause: has;
    fill: has;
    lose_topic: has;
    cut_feeds: (lacks "the server can't close one connection of several; `nats` shows what is cut by a proxy");
    movable_clock: (lacks "the domain itself decides in the process; nothing is decided by the server");
}

#[cfg(test)]
contract! {
    mod nats_cluster: crate::contract::nats::NatsClusterFixture;
    clock_that_steps_back: (lacks "ids follow no clock: they are the stream's sequences");
    wipe: has;
    wipe_under_a_process: has;
    restart: has;
    outage: (lacks "one cluster serves most laws; it goes away as a single server does");
    pause: (lacks "one cluster serves most laws; its servers fall silent as a single one does");
    fill: has;
    lose_topic: has;
    cut_feeds: (lacks "the server can't close one connection of several; `nats` shows what is cut by a proxy");
    movable_clock: (lacks "the domain itself decides in the process; nothing is decided by the server");
}
