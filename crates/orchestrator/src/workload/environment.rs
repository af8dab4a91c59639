//! The environment of a service: what it declares, what Millrace says, and a
//! few variables that programs expect. Nothing else of the orchestrator's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::prepare::StageError;
use crate::process::leftovers::INSTANCE_VARIABLE;
use crate::spec::{EnvValue, ServiceSpec};

/// What is handed on of the orchestrator's own environment.
pub(crate) const BASE_VARIABLES: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// Where programs are found when the orchestrator itself does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Largest secret, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Those of [`BASE_VARIABLES`] that there are.
pub(crate) fn inherited() -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = BASE_VARIABLES
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect();
    env.entry("PATH".into()).or_insert_with(|| PATH.into());
    env
}

/// Who an instance is.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    pub project_id: String,
    pub project_key: &'a str,
    pub service: &'a str,
    pub workload_id: String,
    pub instance_id: String,
    pub port: Option<u16>,
    pub data_dir: &'a Path,
    /// Of the user that it runs as, where that is not this process' own.
    pub home: Option<&'a str>,
    /// A folder of its own for temporary files, where it has one.
    pub temporary: Option<&'a Path>,
}

/// All of it. `prepared` is what the build has to add.
pub(crate) fn environment(
    spec: &ServiceSpec,
    prepared: &BTreeMap<String, String>,
    identity: &Identity<'_>,
    secrets: Option<&Path>,
) -> Result<BTreeMap<String, String>, StageError> {
    let mut env = inherited();
    if let Some(home) = identity.home {
        env.insert("HOME".into(), home.to_owned());
    }
    if let Some(temporary) = identity.temporary {
        let path = temporary.to_string_lossy().into_owned();
        env.insert("TMPDIR".into(), path);
    }
    env.extend(prepared.clone());
    for (name, value) in &spec.env {
        let value = match value {
            EnvValue::Literal(text) => text.clone(),
            EnvValue::Secret(secret) => read_secret(secrets, secret)?,
        };
        env.insert(name.clone(), value);
    }
    let ours = [
        ("MILLRACE_PROJECT_ID", identity.project_id.clone()),
        ("MILLRACE_PROJECT_KEY", identity.project_key.to_owned()),
        ("MILLRACE_SERVICE", identity.service.to_owned()),
        ("MILLRACE_WORKLOAD_ID", identity.workload_id.clone()),
        (INSTANCE_VARIABLE, identity.instance_id.clone()),
        (
            "MILLRACE_DATA_DIR",
            identity.data_dir.to_string_lossy().into_owned(),
        ),
    ];
    env.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    if let Some(port) = identity.port {
        env.insert("PORT".into(), port.to_string());
    }
    Ok(env)
}

fn read_secret(secrets: Option<&Path>, name: &str) -> Result<String, StageError> {
    let missing = |message| StageError::new("secret-missing", message);
    let Some(folder) = secrets else {
        let message = "it asks for secrets, and `orchestrator.secrets_dir` is not set";
        return Err(missing(message.to_owned()));
    };
    let path = folder.join(name);
    let failed = |error: std::io::Error| missing(format!("secret `{name}`: {error}"));
    let size = fs::metadata(&path).map_err(failed)?.len();
    if size > MAX_SECRET {
        return Err(missing(format!(
            "secret `{name}` is larger than {MAX_SECRET} bytes"
        )));
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    // Editors end a file with a newline that is not part of it.
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
