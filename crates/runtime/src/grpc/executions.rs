//! Executions and what happened in them.

use std::sync::Arc;

use futures::StreamExt as _;
use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_service::grpc::Answers;
use millrace_service::trace_context;
use millrace_store::ExecutionFilter;
use millrace_types::{ErrorKind, ExecutionId};

use super::{RuntimeRpc, convert};
use crate::execution::watch::{Seen, watch};
use crate::monitoring::search;

impl RuntimeRpc {
    pub(super) async fn get_execution(
        &self,
        request: pb::GetExecutionRequest,
    ) -> Result<pb::GetExecutionResponse, Failure> {
        let text = &request.execution_id;
        let id: ExecutionId = convert::named("execution", text)?;
        let record = self
            .executions
            .store
            .execution(id)
            .await
            .map_err(|e| convert::store_failure(&e))?
            .ok_or_else(|| unknown_execution(id))?;
        Ok(pb::GetExecutionResponse {
            execution: Some(convert::execution(record)),
        })
    }

    pub(super) async fn get_execution_history(
        &self,
        request: pb::GetExecutionHistoryRequest,
    ) -> Result<pb::GetExecutionHistoryResponse, Failure> {
        let filter = ExecutionFilter {
            deployment_id: convert::optional("deployment_id", &request.deployment_id)?,
            status: convert::optional("status", &request.status)?,
            trigger: convert::optional("trigger", &request.trigger)?,
            from: convert::optional("from", &request.from)?,
            to: convert::optional("to", &request.to)?,
            trigger_id: convert::optional("trigger_id", &request.trigger_id)?,
            unsuccessful: false,
        };
        let page = convert::page(request.cursor, request.limit)?;
        let text = request.error_text;
        if text.chars().count() > 200 {
            let message = "it has at most 200 characters";
            return Err(convert::invalid("error_text", message));
        }
        let store = &*self.executions.store;
        let found = if text.is_empty() {
            let page = store.list_executions(&filter, &page).await;
            page.map(|page| search::Found {
                items: page.items,
                next: page.next,
                scanned: 0,
            })
        } else {
            search::by_error(store, filter, &text, &page).await
        };
        let found = found.map_err(|e| convert::store_failure(&e))?;
        Ok(pb::GetExecutionHistoryResponse {
            executions: found.items.into_iter().map(convert::execution).collect(),
            next_cursor: found.next.unwrap_or_default(),
            scanned: found.scanned,
        })
    }

    pub(super) async fn list_execution_events(
        &self,
        request: pb::ListExecutionEventsRequest,
    ) -> Result<pb::ListExecutionEventsResponse, Failure> {
        let id: ExecutionId = convert::named("execution", &request.execution_id)?;
        let page = convert::page(request.cursor, request.limit)?;
        let sequence = |cursor: &String| cursor.parse::<i64>().is_ok_and(|seq| seq >= 0);
        if !page.cursor.as_ref().is_none_or(sequence) {
            return Err(convert::invalid(
                "cursor",
                "the cursor is none of this list",
            ));
        }
        let page = self
            .executions
            .store
            .execution_events(id, &page)
            .await
            .map_err(|e| convert::store_failure(&e))?
            .ok_or_else(|| unknown_execution(id))?;
        Ok(pb::ListExecutionEventsResponse {
            events: page.items.into_iter().map(convert::event).collect(),
            next_cursor: page.next.unwrap_or_default(),
        })
    }

    pub(super) async fn watch_execution(
        &self,
        request: pb::WatchExecutionRequest,
    ) -> Result<Answers<pb::WatchExecutionResponse>, Failure> {
        let id: ExecutionId = convert::named("execution", &request.execution_id)?;
        let store = &self.executions.store;
        let known = store.execution(id).await;
        if known.map_err(|e| convert::store_failure(&e))?.is_none() {
            return Err(unknown_execution(id));
        }
        let seen = watch(Arc::clone(&self.executions), id, request.after_seq);
        let answers = seen.map(|seen| match seen {
            Ok(Seen::Event(event)) => Ok(pb::WatchExecutionResponse {
                event: Some(convert::event(event)),
                execution: None,
            }),
            Ok(Seen::Ended(record)) => Ok(pb::WatchExecutionResponse {
                event: None,
                execution: Some(convert::execution(*record)),
            }),
            Err(error) => Err(convert::store_failure(&error).into()),
        });
        Ok(Box::pin(answers))
    }

    pub(super) async fn cancel_execution(
        &self,
        request: pb::CancelExecutionRequest,
    ) -> Result<pb::CancelExecutionResponse, Failure> {
        let id: ExecutionId = convert::named("execution", &request.execution_id)?;
        let cancelled = self.executions.cancel(id, &request.reason).await;
        let record = cancelled?;
        Ok(pb::CancelExecutionResponse {
            execution: Some(convert::execution(record)),
        })
    }

    pub(super) async fn rerun_execution(
        &self,
        request: pb::RerunExecutionRequest,
    ) -> Result<pb::RerunExecutionResponse, Failure> {
        let id: ExecutionId = convert::named("execution", &request.execution_id)?;
        let new = convert::optional("new_execution_id", &request.new_execution_id)?;
        let new = new.unwrap_or_else(ExecutionId::new);
        let trace = trace_context::current().map(|trace| trace.to_string());
        let rerun = self.executions.rerun(id, new, &request.from, trace).await;
        let id = rerun?;
        Ok(pb::RerunExecutionResponse {
            execution_id: id.to_string(),
        })
    }
}

fn unknown_execution(id: ExecutionId) -> Failure {
    Failure::new(ErrorKind::NotFound, format!("there is no execution {id}"))
}
