//! The suite that every implementation of the store must pass.
//!
//! Each case is a sentence about the contract and gets an empty, migrated
//! store. An implementation runs all of them with one line in its tests:
//!
//! ```ignore
//! async fn make_store() -> (Arc<dyn Store>, MyGuard) { … }
//! millrace_store::conformance_tests!(make_store);
//! ```
//!
//! The guard keeps the database alive for as long as the case runs, removes
//! it when dropped, and is a [`Fixture`]: it can do the little that the
//! contract, for good reason, cannot.

pub mod admit;
pub mod api_keys;
pub mod backfills;
pub mod cancel;
pub mod checkpoint;
pub mod claim;
pub mod concurrency;
pub mod deploy;
pub mod deployments;
pub mod end;
pub mod event_listeners;
pub mod events;
pub mod executions;
pub mod fairness;
pub mod group;
pub mod incarnations;
pub mod kept;
pub mod listeners;
pub mod maintain;
pub mod monitoring;
pub mod overlap;
pub mod paths;
pub mod refusals;
pub mod repeats;
pub mod schedules;
pub mod settings;
mod support;
pub mod versions;
pub mod workloads;

use async_trait::async_trait;

/// What a case needs beyond the contract.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Makes every ended execution, and its events, look as if it had ended
    /// `days` days earlier than it did.
    async fn age_ended(&self, days: u16);
}

/// Expands to one `#[tokio::test]` for each case of the suite, grouped in
/// modules by subject. `$make` is the path of an
/// `async fn() -> (Arc<dyn Store>, impl Fixture)`.
#[macro_export]
macro_rules! conformance_tests {
    ($make:ident) => {
        $crate::conformance_cases! { $make;
            deploy {
                first_deploy_makes_version_one_live
                same_bundle_again_changes_nothing
                other_bundle_makes_the_next_version
                earlier_bundle_brings_its_version_back
                versions_are_read_back_as_posted
                triggers_that_stay_keep_id_and_revision
                changed_trigger_keeps_its_id_and_raises_its_revision
                changed_secret_raises_the_revision_and_is_found_by_path_alone
                nameless_triggers_are_told_apart_by_kind_and_position
                nameless_trigger_that_leaves_takes_no_other_with_it
                trigger_is_found_by_its_id
                trigger_that_left_is_gone
                paused_deployment_stays_paused
                archived_deployment_is_revived_with_its_ids
                concurrent_deploys_of_one_workflow_take_effect_one_after_the_other
                concurrent_deploys_of_one_bundle_change_once
            }
            paths {
                taken_path_is_refused_and_nothing_has_changed
                path_is_free_once_its_holder_is_archived
                path_is_free_once_its_holder_no_longer_has_it
                deployment_may_keep_and_move_its_own_paths
                one_path_serves_two_deployments_by_method
                revival_is_refused_when_its_path_was_taken_meanwhile
                concurrent_deploys_on_one_path_leave_one_holder
            }
            deployments {
                unknown_deployment_is_none
                list_is_newest_first_in_pages_without_gap_or_repeat
                list_filters_by_status_namespace_name_and_label
                list_shows_archived_only_when_asked
                pause_and_resume_raise_every_revision
                same_status_again_changes_nothing
                archived_deployment_takes_no_status
                webhooks_are_found_by_shape
                webhooks_of_paused_and_disabled_say_so
            }
            versions {
                versions_are_listed_newest_first_in_pages
                version_is_found_by_its_digest
                bundle_is_given_back_as_it_was_deployed
                bundle_deployed_again_brings_triggers_and_settings_back
                redeploy_goes_by_what_is_live
                redeploy_revives_nothing
                concurrent_redeploys_take_effect_once
            }
            admit {
                fresh_admission_is_pending_and_shown
                living_owner_runs_it_from_the_admission_on
                dead_owner_leaves_it_pending
                input_is_kept_byte_for_byte
                rerun_and_trigger_are_kept
                rerun_runs_the_version_of_its_original
                admission_runs_the_version_that_is_live
                large_batch_is_admitted_in_order
            }
            repeats {
                repeated_id_gets_the_first_answer
                repeated_id_after_the_end_gets_the_first_answer
                owner_that_repeats_is_told_that_it_owns
                repeated_id_in_one_batch_is_admitted_once
                repeated_key_gets_the_first_answer
                repeated_key_in_one_batch_is_admitted_once
                repeated_key_after_the_end_gets_the_first_answer
                repeated_key_gets_the_status_of_the_admission
                first_answer_is_kept_with_its_key
                concurrent_first_answers_are_one
                answer_goes_with_the_key_that_has_run_out
                concurrent_repeats_of_a_key_make_one_execution
                same_key_on_another_deployment_is_another_execution
                expired_key_is_free_again
                repeat_is_answered_though_the_deployment_is_paused
                refused_first_use_of_a_key_leaves_it_free
            }
            refusals {
                unknown_deployment_is_refused
                paused_and_archived_deployments_are_refused
                stale_revision_is_refused
                trigger_of_another_deployment_is_refused
                disabled_trigger_is_refused
                refusals_leave_neighbours_alone
            }
            checkpoint {
                frames_are_upserted_and_deleted
                what_is_deleted_and_set_at_once_is_set
                events_with_a_gap_or_a_repeat_are_refused_alone
                timers_are_set_moved_and_cleared
                repeat_of_the_last_one_changes_nothing
                repeat_of_a_park_changes_nothing
                gap_in_the_sequence_is_refused
                other_epoch_is_fenced
                other_owner_is_fenced
                unknown_or_ended_execution_is_fenced
                park_lets_go_until_the_timer
                park_without_a_timer_is_refused
                fenced_write_leaves_neighbours_alone
            }
            claim {
                pending_execution_is_claimed_with_a_raised_epoch
                owned_execution_is_not_claimed
                waiting_execution_is_claimed_only_when_due
                claim_brings_frames_due_timers_and_sequences
                due_timers_stay_until_cleared
                oldest_due_comes_first
                limit_bounds_a_claim
                concurrent_claims_are_disjoint_and_complete
                dead_owner_claims_nothing
                next_due_tells_how_long_to_wait
                owned_executions_are_listed_with_their_epochs
                released_execution_is_due_at_once_with_a_raised_epoch
                release_is_fenced
            }
            cancel {
                pending_execution_is_seized
                waiting_execution_is_seized
                owner_finds_the_request_and_the_first_reason_stays
                request_survives_a_release_and_a_takeover
                execution_parked_after_the_request_is_due_at_once
                dead_canceller_leaves_it_due
                request_for_an_ended_one_says_how_it_ended
                request_for_an_unknown_one_is_none
            }
            end {
                events_with_a_gap_are_refused
                ended_execution_keeps_its_facts
                every_outcome_is_kept
                end_is_answered_with_what_is_stored
                ended_execution_is_never_claimed_nor_taken_over
                repeat_of_an_end_is_success
                end_is_fenced
                end_after_an_end_with_another_epoch_is_fenced
            }
            events {
                events_are_paged_in_order
                pages_cut_through_the_events_of_one_commit
                events_outlive_the_end
                events_of_an_unknown_execution_are_none
                execution_without_events_has_an_empty_page
                event_texts_survive_byte_for_byte
            }
            event_listeners {
                listeners_are_found_by_the_type_of_the_event
                only_what_takes_triggers_listens
                listeners_follow_the_bundle
                events_of_all_filters_start_something_together
                what_is_gathered_goes_with_what_the_trigger_was
                what_is_gathered_outlives_a_pause
                events_that_come_at_once_find_each_other
                what_waits_for_one_filter_keeps_out_nothing_for_another
                what_has_started_something_is_known_for_as_long_as_it_is_kept
            }
            listeners {
                an_event_wakes_what_listens_once
                an_event_before_the_park_is_not_lost
                a_takeover_brings_what_was_not_consumed
                listeners_end_with_their_execution
                a_number_that_comes_again_is_another_listener
                a_narrowed_listener_keeps_what_came
                what_a_step_emits_stays_until_it_is_published
                events_that_are_left_are_held_by_who_takes_them_up
                an_event_for_what_was_there_before_takes_nothing_from_the_next
                a_park_and_its_event_may_share_a_batch
                what_came_is_brought_in_parts
                subscriptions_come_page_by_page
                a_cancelled_wait_for_events_ends
            }
            executions {
                unknown_execution_is_none
                list_merges_live_and_ended_newest_first
                list_leaves_payloads_out
                list_filters
                pages_have_no_gap_or_repeat_while_executions_end
            }
            incarnations {
                expired_owner_loses_its_executions
                writes_of_an_expired_owner_are_fenced_once_taken_over
                living_owner_keeps_its_executions
                takeover_is_bounded
                frames_survive_a_takeover
                heartbeat_prolongs_a_lease
                heartbeat_cannot_revive_an_expired_lease
                heartbeat_of_an_unknown_incarnation_is_refused
                retired_incarnation_hands_over_at_once
                voiding_ends_every_lease
                ping_answers
            }
            group {
                grouped_writes_get_their_own_outcomes
                bad_bytes_never_fail_their_neighbours
            }
            schedules {
                deploy_makes_a_schedule_that_is_due_at_once
                claimed_schedule_comes_up_again_when_its_claimer_dies
                concurrent_claims_of_schedules_are_disjoint
                decision_advances_admits_and_enters_at_once
                decision_at_another_step_changes_nothing
                occurrence_in_the_ledger_is_never_started_again
                overlap_is_skipped_until_the_run_before_has_ended
                pausing_and_resuming_make_schedules_due
                paused_deployment_starts_nothing
                unchanged_trigger_keeps_its_schedule
                ledger_is_paged_and_filtered_newest_first
                many_in_a_row_are_one_row_whatever_decided_them
                many_skipped_for_runs_are_one_row
                ledger_beyond_its_retention_is_gone
            }
            workloads {
                project_is_found_by_id_and_key_and_listed
                key_of_a_project_is_taken_once
                project_with_workloads_is_not_deleted
                service_has_one_workload
                missing_workloads_are_made_at_once
                transitions_of_one_workload_build_on_each_other
                transition_is_read_back_with_its_instances
                transition_from_another_revision_changes_nothing
                living_instances_of_a_node_share_no_port
                only_the_last_ended_instances_are_kept
                workloads_are_listed_newest_first_and_filtered
            }
            backfills {
                backfill_starts_and_is_entered_as_such
                backfill_takes_the_place_of_what_did_not_run
                backfill_leaves_a_row_alone_that_has_grown_meanwhile
                schedule_has_one_backfill_at_a_time
                claimed_backfill_comes_up_again_when_its_claimer_dies
                part_at_another_step_changes_nothing
                backfill_waits_for_a_run_of_its_schedule
                backfill_waits_while_its_deployment_is_paused
                backfill_goes_when_its_trigger_changes
                stopped_scheduler_claims_and_decides_nothing
            }
            overlap {
                skip_looks_at_every_live_run
                queued_occurrence_starts_when_no_run_is_left
                one_occurrence_waits_and_the_next_is_skipped
                cancel_asks_every_run_to_end_and_waits_for_it
                cancel_replaces_the_occurrence_that_waits
                what_waited_is_settled_when_its_schedule_goes
                what_waited_is_paused_with_its_deployment
                interval_that_strays_is_listed_until_it_does_not
                what_is_made_up_for_waits_for_every_run
                pause_after_what_is_made_up_for_is_kept
            }
            concurrency {
                limit_holds_and_the_rest_queues
                slot_is_held_through_waits_and_takeovers
                each_value_of_the_key_has_its_own_slots
                skipped_execution_has_ended_at_once
                oldest_is_asked_to_end_for_a_newer_one
                raised_and_lifted_limits_let_the_queue_go
                queued_execution_can_be_cancelled
                concurrent_admissions_never_pass_the_limit
                paused_deployment_refuses_before_it_limits
                repeats_are_told_whether_the_first_found_a_slot
            }
            settings {
                timeouts_come_with_what_is_owned
                execution_without_settings_has_no_limits
                wait_ends_at_the_deadline
                queue_ends_at_the_start_timeout
                overdue_executions_are_seized_before_all_that_is_due
                parked_execution_past_its_deadline_is_seized
                retention_goes_by_the_settings_and_the_end
                back_off_grows_until_there_is_progress
            }
            kept {
                rerun_begins_with_the_frames_that_were_kept
                rerun_without_kept_frames_is_refused
                kept_frames_go_with_their_execution
            }
            fairness {
                flood_leaves_room_for_others
                small_claims_go_round
                higher_priority_is_claimed_first
            }
            monitoring {
                a_deployment_has_its_live_and_its_latest_ended
                schedules_and_their_fires_are_told
                few_schedules_are_all_given_and_many_are_sampled
                load_is_told_by_instance
                executions_are_found_by_their_trigger
                only_the_unsuccessful_are_given_when_asked
                a_page_that_checked_many_rows_ends_early_and_goes_on
            }
            api_keys {
                key_is_found_with_its_digest_and_validity
                key_without_a_term_never_expires
                expired_key_is_not_valid
                revoked_key_stays_revoked_since_then
                keys_are_listed_newest_first_in_pages
                name_belongs_to_one_valid_key
                concurrent_keys_of_one_name_leave_one
            }
            maintain {
                expired_dedupe_rows_do_not_stop_maintenance
                execution_is_kept_within_its_retention
                execution_past_its_retention_is_gone
                live_execution_is_never_removed
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($make:ident; $($subject:ident { $($case:ident)+ })+) => {
        $(mod $subject {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, guard) = super::$make().await;
                $crate::conformance::$subject::$case(store, &guard).await;
            })+
        })+
    };
}
