//! Starting a shim.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use millrace_shim::launch::Launch;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::process::Child;

use super::ShimLink;

/// The executable that this program carries with it.
const PROGRAM: &[u8] = include_bytes!(env!("MILLRACE_SHIM"));

/// How the names of shims' executables begin, of all versions.
pub(super) const SHIM: &str = "millrace-shim-";

/// How often an executable that is still being written is tried again.
const BUSY: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// The socket's name in the folder of its instance.
pub(super) const SOCKET: &str = "s";

/// Where the shim's executable lies.
#[derive(Debug, Clone)]
pub(crate) struct ShimProgram {
    path: PathBuf,
}

impl ShimProgram {
    /// Puts it into `directory`, unless it is there: one for each version,
    /// since those of earlier ones may still run.
    pub(crate) fn install(directory: &Path) -> io::Result<Self> {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        PROGRAM.hash(&mut hasher);
        let path = directory.join(format!("{SHIM}{:016x}", hasher.finish()));
        let there = fs::metadata(&path).is_ok_and(|file| file.len() == PROGRAM.len() as u64);
        if !there {
            fs::create_dir_all(directory)?;
            let temporary = path.with_extension(std::process::id().to_string());
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o755)
                .open(&temporary)?;
            file.write_all(PROGRAM)?;
            // Pages that are not on the disk yet would count as memory of each
            // process that runs them.
            file.sync_all()?;
            // A file that is open for writing cannot be run.
            drop(file);
            fs::rename(&temporary, &path)?;
        }
        Ok(Self { path })
    }
}

#[cfg(test)]
impl ShimProgram {
    /// Another program in its place.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }
}

/// The shim could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the shim cannot be started ({doing}): {error}")]
pub(super) struct SpawnError {
    doing: &'static str,
    error: io::Error,
}

/// What is to be started.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub launch: &'a Launch,
    /// Of this instance alone; it is there, and nobody else can look into it.
    pub run_dir: &'a Path,
}

/// A shim that has been started.
#[derive(Debug)]
pub(super) struct Spawned {
    pub link: ShimLink,
    /// Held, it costs nothing when other children end; it is reaped whenever it
    /// is let go.
    pub child: Child,
    /// What it says when it cannot even say it on its socket.
    pub errors: File,
}

/// Starts a shim, which starts the program. Once this has returned, it runs
/// on whatever happens to this process.
pub(super) async fn spawn(program: &ShimProgram, start: Start<'_>) -> Result<Spawned, SpawnError> {
    let failed = |doing| move |error| SpawnError { doing, error };
    start
        .launch
        .write(start.run_dir)
        .map_err(failed("its launch file"))?;
    // Of use to nobody who comes later: it has no name.
    let errors = memfd_create("shim-errors", MemfdFlags::CLOEXEC)
        .map_err(|error| failed("its error file")(error.into()))?;
    let said = errors.try_clone().map_err(failed("its error file"))?;
    let listener = listen(start.run_dir).map_err(failed("its socket"))?;
    let link = ShimLink::connect(start.run_dir, start.launch.key)
        .await
        .map_err(failed("connecting to it"))?;
    let mut command = tokio::process::Command::new(&program.path);
    command
        .arg(start.run_dir)
        .current_dir("/")
        .env_clear()
        // The socket listens before the shim runs: nobody waits for it.
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(errors)
        // A Ctrl-C in the terminal is not meant for it.
        .process_group(0)
        .kill_on_drop(false);
    let mut tries = 0;
    let child = loop {
        match command.spawn() {
            // Somebody whom this process was just starting has the executable
            // open for writing, as this process had when it put it there.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            done => break done.map_err(failed("running it"))?,
        }
    };
    Ok(Spawned {
        link,
        child,
        errors: said.into(),
    })
}

/// A path to the socket that is short whatever the folder is: the kernel
/// takes 107 bytes.
pub(super) fn short_path(run_dir: &File) -> PathBuf {
    format!("/proc/self/fd/{}/{SOCKET}", run_dir.as_raw_fd()).into()
}

fn listen(run_dir: &Path) -> io::Result<UnixListener> {
    let folder = File::open(run_dir)?;
    UnixListener::bind(short_path(&folder))
}
