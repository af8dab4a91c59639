//! The folders that a workload has for itself, and the user that they are for.

use std::path::{Path, PathBuf};

use millrace_shim::record::Stage;

use super::actor::Actor;
use super::launch::Halted;
use crate::ground;
use crate::prepare::StageError;
use crate::spec::{Isolation, ServiceSpec};
use crate::user::{self, User};

/// The user that it runs as, where that is not this process' own.
pub(super) fn user_of(spec: &ServiceSpec) -> Result<Option<User>, StageError> {
    let found = spec.user.as_deref().map(user::find).transpose();
    found.map_err(|error| StageError::new("no-user", error.to_string()))
}

impl Actor {
    /// Makes them, for whoever the service runs as, with a way to them and to
    /// `dir`, the service's own folder.
    pub(super) async fn make_folders(
        &mut self,
        spec: &ServiceSpec,
        dir: &Path,
    ) -> Result<(), Halted> {
        let user = user_of(spec)?;
        let shared = self.shared.clone();
        let id = self.record.id;
        let temporary = self.own_temporary_dir(spec);
        let (for_user, dir) = (user.clone(), dir.to_owned());
        let work = tokio::task::spawn_blocking(move || {
            let (data, cache) = (shared.data_dir(id), shared.cache_dir());
            let mut own: Vec<&Path> = vec![&data];
            own.extend(temporary.as_deref());
            let root = &shared.config.data_dir;
            let workload = shared.workload_dir(id);
            let also = [&*cache, &dir];
            ground::prepare(root, &workload, for_user.as_ref(), &own, &also)?;
            let Some(user) = for_user else {
                return Ok(None);
            };
            let bar = [&*data, &*dir]
                .into_iter()
                .find_map(|path| ground::bar(path, &user));
            Ok::<_, std::io::Error>(bar.map(Path::to_owned))
        });
        let made = match self.attend(work).await? {
            Ok(made) => made,
            Err(error) => Err(std::io::Error::other(error)),
        };
        let bar = made.map_err(|error| match &spec.user {
            Some(user) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                let message = format!(
                    "its folders cannot be given to user `{user}` ({error}): only an \
                     orchestrator that runs as root can run what has a user"
                );
                StageError::new("no-user", message)
            }
            _ => StageError::new("internal", format!("its folders cannot be made: {error}")),
        })?;
        if let (Some(bar), Some(user)) = (bar, &spec.user) {
            let text = format!(
                "user `{user}` may not enter {}, as its mode says: the service's folder or its \
                 data lie beneath it",
                bar.display()
            );
            self.say(Stage::Validate, text).await;
        }
        Ok(())
    }

    /// The folder for temporary files, of a service that has one of its own.
    pub(super) fn own_temporary_dir(&self, spec: &ServiceSpec) -> Option<PathBuf> {
        let has = spec.isolation == Isolation::Strict || spec.user.is_some();
        has.then(|| self.shared.temporary_dir(self.record.id))
    }
}
