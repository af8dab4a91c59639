//! Schedules and their ledger.

use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_store::FireFilter;

use super::{RuntimeRpc, convert};

impl RuntimeRpc {
    pub(super) async fn list_fires(
        &self,
        request: pb::ListFiresRequest,
    ) -> Result<pb::ListFiresResponse, Failure> {
        let id = convert::named("trigger", &request.trigger_id)?;
        let filter = FireFilter {
            from: convert::optional("from", &request.from)?,
            to: convert::optional("to", &request.to)?,
        };
        let page = convert::page(request.cursor, request.limit)?;
        let page = self.schedules.fires(id, &filter, &page).await?;
        Ok(pb::ListFiresResponse {
            fires: page.items.into_iter().map(convert::fire).collect(),
            next_cursor: page.next.unwrap_or_default(),
        })
    }

    pub(super) async fn backfill_schedule(
        &self,
        request: pb::BackfillScheduleRequest,
    ) -> Result<pb::BackfillScheduleResponse, Failure> {
        let id = convert::named("trigger", &request.trigger_id)?;
        let from = convert::required("from", &request.from)?;
        let to = convert::required("to", &request.to)?;
        let asked = self.schedules.ask_backfill(id, from, to).await;
        let occurrences = asked?;
        Ok(pb::BackfillScheduleResponse { occurrences })
    }

    pub(super) async fn preview_schedule(
        &self,
        request: pb::PreviewScheduleRequest,
    ) -> Result<pb::PreviewScheduleResponse, Failure> {
        let id = convert::named("trigger", &request.trigger_id)?;
        let count = convert::amount("count", request.count)?;
        let ahead = self.schedules.preview(id, count).await?;
        Ok(pb::PreviewScheduleResponse {
            fires: ahead
                .into_iter()
                .map(|preview| convert::preview(&request.trigger_id, preview))
                .collect(),
        })
    }
}
