//! `millrace keys create`.

use std::io::{self, Write as _, stdout};

use millrace_service::access::KeyToken;
use millrace_store::{ApiKeyRecord, NewApiKey};
use serde_json::json;

use super::{Keys, KeysError, Shown};
use crate::cli::KeyCreateArgs;

pub async fn run(args: KeyCreateArgs) -> Result<(), KeysError> {
    let keys = Keys::open(&args.database).await?;
    let (text, token) = KeyToken::mint().map_err(|error| KeysError::Random(error.to_string()))?;
    let key = NewApiKey {
        id: token.id(),
        name: args.name,
        role: args.role,
        digest: *token.digest(),
        expires_in: args.expires,
    };
    let made = keys.store.create_api_key(&key).await?;
    let shown = show(text.expose(), &made, args.json, &keys.place);
    if let Err(reason) = shown {
        // Nobody can ever use it.
        keys.store.revoke_api_key(made.id).await?;
        return Err(KeysError::NotShown {
            id: made.id,
            reason,
        });
    }
    keys.close().await;
    Ok(())
}

/// Prints the key alone, so that a script can take it as it is; what there is
/// to say about it goes to standard error.
fn show(key: &str, made: &ApiKeyRecord, json: bool, place: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    if json {
        let shown = json!({
            "id": made.id,
            "name": made.name,
            "role": made.role.as_str(),
            "expiresAt": made.expires_at,
            "key": key,
        });
        writeln!(out, "{shown}")?;
    } else {
        let until = match made.expires_at {
            Some(_) => format!("valid until {}", Shown(made.expires_at)),
            None => "valid until it is revoked".to_owned(),
        };
        eprintln!(
            "key {} for `{}`, {}, {until}, in {place}. It is shown this once, and kept nowhere:",
            made.id, made.name, made.role
        );
        writeln!(out, "{key}")?;
    }
    out.flush()
}
