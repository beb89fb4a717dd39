//! The contract: what every backend must do, as test cases. [`contract_tests!`](crate::contract_tests)
//! makes a test of each for a backend. The cases are the definition where the words of the trait
//! leave room; a new backend is done when it passes them.

#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(clippy::missing_panics_doc, reason = "these are tests")]

mod commits;
mod fixture;
mod listing;
mod load;
mod modules;
mod reads;
mod removal;
mod schedules;
mod sharing;
mod snapshots;

pub use commits::*;
#[cfg(test)]
pub(crate) use fixture::{entry, line};
pub use fixture::{first, next, run_id};
pub use listing::*;
pub use load::*;
pub use modules::*;
pub use reads::*;
pub use removal::*;
pub use schedules::*;
pub use sharing::*;
pub use snapshots::*;

/// Makes a test of every case for a backend. `$open` is an `async fn` that opens a new, empty store
/// and returns it as `Arc<dyn Store>` together with whatever must live as long as it.
///
/// With `in turn`, makes instead a function `$all` that runs all cases one after the other, each on a
/// store of its own that its argument opens: for what takes long to set up.
#[macro_export]
macro_rules! contract_tests {
    (in turn $all:ident) => {
        $crate::contract_tests!(@cases turn $all);
    };
    (@cases $way:ident $with:tt) => {
        $crate::contract_tests!(@$way $with:
            a_run_is_created_once,
            a_commit_for_another_length_is_refused,
            an_older_token_writes_nothing,
            a_record_alone_can_change,
            what_was_received_is_received_once,
            a_journal_that_begins_anew_forgets_what_was_before,
            children_are_listed,
            a_commit_that_contradicts_itself_is_refused,
            what_is_committed_is_read_back,
            an_unknown_run_has_nothing,
            pages_of_a_journal_fit_together,
            pages_of_logs_fit_together,
            runs_are_due_in_order,
            a_timer_moves_with_its_record,
            ready_runs_wait_in_line,
            modules_are_kept_once,
            publications_are_written_over_what_was_read,
            open_runs_are_found_by_their_module,
            schedules_change_one_step_at_a_time,
            one_change_of_a_schedule_wins,
            schedules_are_listed_in_order,
            lists_are_filtered,
            runs_are_found_by_failure_and_by_change,
            lists_are_cut_into_pages,
            pages_hold_while_runs_come_and_change,
            a_removed_run_leaves_nothing,
            a_removed_run_may_start_again,
            what_has_not_ended_is_not_removed,
            ended_runs_are_found_in_order,
            a_long_run_is_removed,
            snapshots_take_the_place_of_older_ones,
            a_snapshot_goes_with_its_run,
            many_runs_are_committed_at_once,
            one_commit_of_many_wins,
            large_values_are_kept,
            ten_thousand_runs,
            due_and_ready_keep_to_their_shards,
            members_come_and_go,
            a_shard_has_one_owner,
            an_owner_that_ran_out_is_followed,
            a_closed_store_says_so,
        );
    };
    (@each $open:path: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, _kept) = $open().await;
                $crate::contract::$case(std::sync::Arc::clone(&store)).await;
                store.close().await;
            }
        )*
    };
    (@turn $all:ident: $($case:ident),* $(,)?) => {
        async fn $all(open: impl AsyncFn() -> std::sync::Arc<dyn $crate::Store>) {
            $(
                let store = open().await;
                tracing::info!(case = stringify!($case));
                $crate::contract::$case(std::sync::Arc::clone(&store)).await;
                store.close().await;
            )*
        }
    };
    ($open:path) => {
        $crate::contract_tests!(@cases each $open);
    };
}
