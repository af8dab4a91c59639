//! `millrace keys revoke`.

use millrace_service::access::KeyToken;
use millrace_types::ApiKeyId;

use super::{Keys, KeysError, Shown};
use crate::cli::KeyRevokeArgs;

/// One that is revoked already stays so.
pub async fn run(args: KeyRevokeArgs) -> Result<(), KeysError> {
    let id = id(args.id)?;
    let keys = Keys::open(&args.database).await?;
    let Some(key) = keys.store.revoke_api_key(id).await? else {
        return Err(KeysError::NotFound {
            id,
            database: keys.place,
        });
    };
    keys.close().await;
    println!(
        "key {} for `{}` is revoked since {}",
        key.id,
        key.name,
        Shown(key.revoked_at)
    );
    Ok(())
}

/// Of the key itself, too: whoever finds one somewhere can revoke it.
fn id(text: String) -> Result<ApiKeyId, KeysError> {
    if let Ok(token) = KeyToken::parse(&text) {
        return Ok(token.id());
    }
    match text.parse() {
        Ok(id) => Ok(id),
        Err(_) if text.starts_with("mlr") => Err(KeysError::NoKey),
        Err(_) => Err(KeysError::NoId(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_id_or_by_itself_and_never_repeated() {
        let (key, token) = KeyToken::mint().unwrap();
        assert_eq!(id(token.id().to_string()).unwrap(), token.id());
        assert_eq!(id(key.expose().clone()).unwrap(), token.id());
        let cut = key.expose()[..60].to_owned();
        let refused = id(cut.clone()).unwrap_err().to_string();
        assert!(!refused.contains(&cut[40..]), "{refused}");
        assert!(id("ci".into()).unwrap_err().to_string().contains("`ci`"));
    }
}
