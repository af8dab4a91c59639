//! The key that seals the secrets of webhooks.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use millrace_service::config::WebhooksConfig;
use millrace_service::secret::Secret;
use millrace_signature::seal::InvalidKey;
use millrace_signature::{SealError, SealingKey, SealingKeys};

/// The file of `millrace dev`'s own key.
const FILE: &str = "sealing.key";

/// Why there is no key. It does not say the key.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    #[error("`{key}`: {reason}")]
    Invalid {
        key: &'static str,
        reason: InvalidKey,
    },
    #[error("`webhooks.old_sealing_key` is set and `webhooks.sealing_key` is not")]
    OldAlone,
    #[error("the sealing key {} cannot be kept: {reason}", path.display())]
    Io { path: PathBuf, reason: io::Error },
    #[error("no sealing key can be made: {0}")]
    Make(#[from] SealError),
}

/// The keys of the configuration; `None` without any.
pub fn keys(config: &WebhooksConfig) -> Result<Option<SealingKeys>, SealingKeyError> {
    let read = |key, value: &Option<Secret<String>>| {
        value
            .as_ref()
            .map(|text| SealingKey::from_base64(text.expose()))
            .transpose()
            .map_err(|reason| SealingKeyError::Invalid { key, reason })
    };
    let current = read("webhooks.sealing_key", &config.sealing_key)?;
    let old = read("webhooks.old_sealing_key", &config.old_sealing_key)?;
    match (current, old) {
        (Some(current), old) => Ok(Some(SealingKeys::new(current, old))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(SealingKeyError::OldAlone),
    }
}

/// The key of a data directory that is ours alone, made when it is missing.
pub fn of_directory(directory: &Path) -> Result<Secret<String>, SealingKeyError> {
    let path = directory.join(FILE);
    let failed = |reason| SealingKeyError::Io {
        path: path.clone(),
        reason,
    };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Secret::new(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = SealingKey::generate()?.to_base64();
            // Whole or not at all: half a key after a crash would be refused
            // at every start.
            let new = path.with_extension("new");
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)
                .map_err(failed)?;
            writeln!(file, "{}", key.as_str())
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&new, &path))
                .map_err(failed)?;
            Ok(Secret::new(key.to_string()))
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_directory_keeps_its_key_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let first = of_directory(directory.path()).unwrap();
        assert!(of_directory(directory.path()).unwrap() == first);
        let mode = fs::metadata(directory.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let config = WebhooksConfig {
            sealing_key: Some(first),
            ..WebhooksConfig::default()
        };
        assert!(keys(&config).unwrap().is_some());
    }

    #[test]
    fn a_wrong_key_is_named_and_not_shown() {
        let config = WebhooksConfig {
            sealing_key: Some(Secret::new("hunter2".to_owned())),
            ..WebhooksConfig::default()
        };
        let error = keys(&config).unwrap_err().to_string();
        assert!(error.starts_with("`webhooks.sealing_key`: "), "{error}");
        assert!(!error.contains("hunter2"));
        let alone = WebhooksConfig {
            old_sealing_key: config.sealing_key,
            ..WebhooksConfig::default()
        };
        assert!(keys(&alone).is_err());
    }
}
