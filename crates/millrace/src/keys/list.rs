//! `millrace keys list`.

use std::io::{Write as _, stdout};

use millrace_store::PageRequest;
use serde_json::json;

use super::{Keys, KeysError, Shown};
use crate::cli::KeysListArgs;
use crate::client::table::Table;

pub async fn run(args: KeysListArgs) -> Result<(), KeysError> {
    let keys = Keys::open(&args.database).await?;
    let page = PageRequest {
        cursor: args.page.cursor,
        limit: args.page.limit,
    };
    let listed = keys.store.api_keys(&page).await?;
    keys.close().await;
    let mut out = stdout().lock();
    if args.json {
        let items: Vec<_> = listed.items.iter().map(super::json).collect();
        let shown = json!({"items": items, "next": listed.next});
        return Ok(writeln!(out, "{shown}")?);
    }
    let mut table = Table::new([
        "ID", "NAME", "ROLE", "STATE", "CREATED", "EXPIRES", "REVOKED",
    ]);
    for key in listed.items {
        table.row([
            key.id.to_string(),
            key.name,
            key.role.to_string(),
            key.state.to_string(),
            Shown(Some(key.created_at)).to_string(),
            Shown(key.expires_at).to_string(),
            Shown(key.revoked_at).to_string(),
        ]);
    }
    table.write(&mut out)?;
    if let Some(next) = listed.next {
        eprintln!("there are more: --cursor {next}");
    }
    Ok(())
}
