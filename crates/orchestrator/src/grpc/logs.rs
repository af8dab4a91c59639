//! Logs.

use std::time::Duration;

use millrace_proto::orchestrator::v1 as pb;
use millrace_service::OnFailure;
use millrace_shim::reader::LogReader;
use millrace_types::WorkloadId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::convert::{self, status};
use super::{Answers, WorkloadOrchestratorRpc};
use crate::logs::{LogQuery, page, tail};

/// Lines that wait for a caller who is slow.
const WAITING: usize = 64;
/// Lines that are read at once for a stream.
const READ: usize = 256;

pub(super) fn internal(error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "a stream cannot be read");
    millrace_proto::Failure::new(millrace_types::ErrorKind::Internal, "internal error").into()
}

/// The log goes on, though not here: whoever follows asks again.
pub(super) fn stopping() -> Status {
    Status::unavailable("the orchestrator is stopping")
}

impl WorkloadOrchestratorRpc {
    pub(super) async fn get_logs(
        &self,
        request: pb::GetLogsRequest,
    ) -> Result<pb::GetLogsResponse, Status> {
        let id: WorkloadId = convert::id("workload", &request.workload_id)?;
        let query = LogQuery {
            after: request.after,
            limit: convert::limit(request.limit)? as usize,
            stream: convert::stream(&request.stream)?,
        };
        self.orchestrator.workload(id).await.map_err(status)?;
        let directory = self.orchestrator.shared.log_dir(id);
        let read = tokio::task::spawn_blocking(move || page(&directory, query));
        let found = read.await.map_err(internal)?.map_err(internal)?;
        Ok(pb::GetLogsResponse {
            entries: found.entries.into_iter().map(convert::entry).collect(),
            next: found.next.unwrap_or(0),
        })
    }

    pub(super) async fn stream_logs(
        &self,
        request: pb::StreamLogsRequest,
    ) -> Result<Answers<pb::StreamLogsResponse>, Status> {
        let id: WorkloadId = convert::id("workload", &request.workload_id)?;
        let wanted = convert::stream(&request.stream)?;
        self.orchestrator.workload(id).await.map_err(status)?;
        let shared = &self.orchestrator.shared;
        let directory = shared.log_dir(id);
        let mut follower = shared.hub.follow(&directory).map_err(internal)?;
        let after = match request.tail {
            Some(count) => tail(&directory, count),
            None => request.after,
        };
        let mut handle = shared.handle(id).map(|handle| handle.view);
        let (lines, receiver) = mpsc::channel(WAITING + 1);
        // Kept free for that: also one who is slow is told that there is more
        // to come, when this process stops.
        let last_word = lines.clone().reserve_owned().await.map_err(internal)?;
        shared
            .streams
            .spawn("log-stream", OnFailure::Log, move |stop| async move {
                let mut reader = LogReader::after(&directory, after);
                loop {
                    let read = tokio::task::spawn_blocking(move || {
                        let entries = reader.read(READ);
                        (reader, entries)
                    });
                    let (back, entries) = read.await?;
                    reader = back;
                    let entries = match entries {
                        Ok(entries) => entries,
                        Err(error) => {
                            let _ = lines.send(Err(internal(error))).await;
                            return Ok::<(), tokio::task::JoinError>(());
                        }
                    };
                    if entries.is_empty() {
                        let deleted = async {
                            // An error means that this process stops.
                            if let Some(view) = &mut handle
                                && view.wait_for(|view| view.deleted).await.is_ok()
                            {
                                // Its last lines have been read.
                                tokio::time::sleep(Duration::from_millis(50)).await;
                            } else {
                                std::future::pending::<()>().await;
                            }
                        };
                        tokio::select! {
                            () = stop.cancelled() => {
                                last_word.send(Err(stopping()));
                                return Ok(());
                            }
                            () = lines.closed() => return Ok(()),
                            () = deleted => return Ok(()),
                            () = follower.changed() => {}
                        }
                        continue;
                    }
                    for entry in entries {
                        if wanted.is_some_and(|wanted| wanted != entry.meta.stream) {
                            continue;
                        }
                        let answer = pb::StreamLogsResponse {
                            entry: Some(convert::entry(entry)),
                        };
                        tokio::select! {
                            () = stop.cancelled() => {
                                last_word.send(Err(stopping()));
                                return Ok(());
                            }
                            sent = lines.send(Ok(answer)) => if sent.is_err() {
                                return Ok(());
                            },
                        }
                    }
                }
            });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}
