//! What `$secrets` holds: one file for each, read anew for each conversation.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tracing::warn;

use crate::value::{self, Value};

/// Bytes that one secret may have.
const LARGEST: u64 = 64 * 1024;

/// A folder of secrets, such as a mounted Kubernetes Secret.
#[derive(Debug)]
pub(super) struct Secrets(pub Option<PathBuf>);

impl Secrets {
    /// Those of these names that are there: a JSON object as such, everything
    /// else as text. The others are missed where they are used.
    pub async fn read(&self, names: &[Arc<str>]) -> Value {
        let mut members = Vec::new();
        if let Some(folder) = &self.0 {
            for name in names {
                match read(folder, name).await {
                    Ok(secret) => members.push((&**name, secret)),
                    Err(error) => warn!("the secret `{name}` cannot be read: {error}"),
                }
            }
        }
        value::object(members)
    }
}

async fn read(folder: &Path, name: &str) -> io::Result<Value> {
    if name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it cannot be the name of a file",
        ));
    }
    let file = tokio::fs::File::open(folder.join(name)).await?;
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).await?;
    if text.len() as u64 > LARGEST {
        let why = format!("it has more than {LARGEST} bytes");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    let object = value::from_json(text.as_bytes()).ok();
    Ok(object
        .filter(|v| v.as_object().is_some())
        .unwrap_or_else(|| {
            // Editors end a file with a newline that is not part of it.
            value::string(text.strip_suffix('\n').unwrap_or(&text))
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn secrets_are_files_of_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "s3cret\n").unwrap();
        std::fs::write(folder.path().join("login"), r#"{"username": "ada"}"#).unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("mine"), "12").unwrap();
        std::fs::write(inner.join("large"), "x".repeat(70_000)).unwrap();
        let read = async |folder: &Path, names: &[&str]| {
            let names: Vec<Arc<str>> = names.iter().map(|name| (*name).into()).collect();
            let secrets = Secrets(Some(folder.to_owned())).read(&names).await;
            value::to_json(&secrets)
        };
        assert_eq!(
            read(folder.path(), &["token", "login", "missing"]).await,
            r#"{"token":"s3cret","login":{"username":"ada"}}"#
        );
        assert_eq!(
            read(&inner, &["mine", "../token", "..", "large"]).await,
            r#"{"mine":"12"}"#
        );
        let none = Secrets(None).read(&["token".into()]).await;
        assert_eq!(value::to_json(&none), "{}");
    }
}
