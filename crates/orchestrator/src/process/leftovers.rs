//! Processes of an instance whose shim has died: those that were not its
//! direct child run on, and are found by their environment.

use millrace_types::InstanceId;

use super::marked;

/// The variable that every process of an instance has inherited.
pub(crate) const INSTANCE_VARIABLE: &str = "MILLRACE_INSTANCE_ID";

/// Kills whatever still runs of the instance; answers how many that were.
pub(crate) async fn kill(instance: InstanceId) -> usize {
    marked::kill_all(&format!("{INSTANCE_VARIABLE}={instance}")).await
}
