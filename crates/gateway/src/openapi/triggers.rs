//! `/api/triggers…`

use http::Method;
use millrace_types::TriggerId;
use serde_json::json;

use super::document::{Document, Operation, page_of, schema};
use super::schemas::{amount, id, time};

const TAG: &str = "triggers";
const TRG: &str = TriggerId::PREFIX;

pub fn describe(document: &mut Document) {
    let fires = page_of(&schema("Fire"));
    document.add(
        &Method::DELETE,
        "/api/triggers/{id}",
        Operation::new(
            "unregisterWebhook",
            TAG,
            "Take one webhook away from what is live, as a further version",
        )
        .of(TRG)
        .answers_nothing(204, "It is gone.")
        .problems(&[409]),
    );
    document.add(
        &Method::GET,
        "/api/triggers/{id}/fires",
        Operation::new(
            "listFires",
            TAG,
            "What became of each occurrence of a schedule, the newest first",
        )
        .of(TRG)
        .query("from", time(), "Only occurrences then or later.")
        .query("to", time(), "Only occurrences before.")
        .paged()
        .answers(200, "A page of the ledger.", &fires)
        .problems(&[409]),
    );
    document.add(
        &Method::GET,
        "/api/triggers/{id}/preview",
        Operation::new(
            "previewSchedule",
            TAG,
            "The occurrences of a schedule to come, the soonest first",
        )
        .of(TRG)
        .query("count", amount(), "How many.")
        .answers(200, "The occurrences.", &fires)
        .problems(&[409]),
    );
    let range = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["from", "to"],
        "properties": {"from": time(), "to": time()},
    });
    let begun = json!({
        "type": "object",
        "required": ["triggerId", "from", "to", "occurrences"],
        "properties": {
            "triggerId": id(TRG),
            "from": {"type": "string"},
            "to": {"type": "string"},
            "occurrences": {
                "type": "integer",
                "minimum": 0,
                "description": "In the range, those that ran included.",
            },
        },
    });
    document.add(
        &Method::POST,
        "/api/triggers/{id}/backfill",
        Operation::new(
            "backfillSchedule",
            TAG,
            "Start what did not run of a range of the past",
        )
        .of(TRG)
        .json(
            true,
            &range,
            &json!({"from": "2026-12-01T00:00:00Z", "to": "2026-12-02T00:00:00Z"}),
        )
        .answers(202, "It has begun.", &begun)
        .problems(&[409]),
    );
}
