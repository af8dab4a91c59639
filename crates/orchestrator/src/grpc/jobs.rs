//! Jobs.

use std::time::Duration;

use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::orchestrator::v1::run_job_response::Message;
use millrace_service::CancellationToken;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::convert::{self, status};
use super::{Answers, WorkloadOrchestratorRpc};
use crate::operation::{Job, JobEvent, Within};
use crate::spec::Resources;

/// When the caller does not say.
const TIMEOUT: Duration = Duration::from_hours(1);

impl WorkloadOrchestratorRpc {
    pub(super) async fn run_job(
        &self,
        request: pb::RunJobRequest,
    ) -> Result<Answers<pb::RunJobResponse>, Status> {
        let limits = request.limits.unwrap_or_default();
        let job = Job {
            command: request.command,
            stdin: request.stdin,
            env: request.env.into_iter().collect(),
            timeout: match request.timeout_ms {
                0 => TIMEOUT,
                ms => Duration::from_millis(ms.into()),
            },
            limits: Resources {
                memory: Some(limits.memory_bytes).filter(|limit| *limit > 0),
                cpu_millis: Some(limits.cpu_millis).filter(|limit| *limit > 0),
                pids: Some(limits.pids).filter(|limit| *limit > 0),
                open_files: Some(limits.open_files).filter(|limit| *limit > 0),
            },
            within: Within::default(),
            cancel: CancellationToken::new(),
        };
        let events = self
            .orchestrator
            .shared
            .jobs
            .run(job)
            .await
            .map_err(status)?;
        let answers = ReceiverStream::new(events).map(|event| {
            Ok(pb::RunJobResponse {
                message: Some(message(event)),
            })
        });
        Ok(Box::pin(answers))
    }
}

fn message(event: JobEvent) -> Message {
    match event {
        JobEvent::Output(entry) => Message::Output(convert::entry(entry)),
        JobEvent::Ended {
            code,
            signal,
            reason,
            message,
        } => Message::End(pb::JobEnd {
            exit_code: code,
            signal,
            reason: reason.to_owned(),
            message,
        }),
    }
}
