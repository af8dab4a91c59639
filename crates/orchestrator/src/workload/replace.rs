//! Replacing an instance by a new one without a gap: the candidate is started
//! on a port of its own; once it is ready, requests go to it, and the old one
//! is let go when nobody is connected to it any more.

use std::time::Duration;

use millrace_shim::record::Stage;
use tokio::time::Instant;

use super::actor::Actor;
use super::instance::Live;
use super::launch::Halted;
use crate::prepare::StageError;

/// How long gateways have to learn of the new address.
const SWITCH: Duration = Duration::from_millis(500);
/// Between two looks at the connections of the old one.
const LOOK: Duration = Duration::from_millis(50);

impl Actor {
    /// `old` serves all the while; it goes on when the candidate fails.
    pub(super) async fn replace(&mut self, old: Live) {
        let candidate = match self.plan(true).await {
            Ok(plan) => self.start_instance(&plan, true).await,
            Err(halted) => Err(halted),
        };
        let error = match candidate {
            Ok(new) => {
                self.serve_from(new).await;
                self.settle();
                self.drain(&old).await;
                self.end(old, "replaced").await;
                return;
            }
            Err(Halted::Interrupted) => None,
            Err(Halted::Failed(error)) => Some((None, error)),
            Err(Halted::Ended { record, error, .. }) => Some((Some(*record), error)),
        };
        self.live = Some(old);
        if error.is_some() {
            self.asked = false;
        }
        if let Some((record, error)) = error {
            let text = format!("the replacement failed, the old instance goes on: {error}");
            self.say(Stage::Deploy, text.clone()).await;
            let failed = StageError::new("replacement-failed", text);
            self.record.state.error = Some((failed.reason.to_owned(), failed.message));
            let ended = record.clone();
            self.save(record.into_iter().collect()).await;
            if let Some(ended) = ended {
                self.forget(&ended);
            }
        }
    }

    /// Waits until the old instance has no connections, at most for its grace.
    async fn drain(&mut self, old: &Live) {
        let port = old.context.port;
        if port == 0 {
            return;
        }
        let until = Instant::now() + old.spec.stop.grace.max(SWITCH);
        // Whatever is wanted next: a gateway that has not learned of the new
        // address yet would find connections closed under its requests.
        tokio::time::sleep(SWITCH).await;
        let wait = async move {
            while Instant::now() < until {
                let look = move || crate::ports::connections(port);
                if matches!(tokio::task::spawn_blocking(look).await, Ok(0)) {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        // Whoever wants it stopped does not wait.
        let _ = self.attend(wait).await;
    }
}
