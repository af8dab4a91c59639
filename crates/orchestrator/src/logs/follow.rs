//! Waiting for lines to come: the kernel says when a head has changed, so
//! that nobody looks in vain.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_service::CancellationToken;
use millrace_shim::log::HEAD;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Should the kernel be silent (a network file system), a follower looks by
/// itself.
const LOOK: Duration = Duration::from_secs(1);

/// Tells followers of logs when there is something new.
#[derive(Debug)]
pub(crate) struct LogHub {
    inotify: AsyncFd<OwnedFd>,
    watched: Mutex<HashMap<i32, watch::Sender<u64>>>,
}

/// Waits for changes of one log.
#[derive(Debug)]
pub(crate) struct Follower {
    hub: Arc<LogHub>,
    descriptor: i32,
    changes: watch::Receiver<u64>,
}

impl LogHub {
    /// Within a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[allow(
            deprecated,
            reason = "what replaces it is unsafe; an OwnedFd is what it says"
        )]
        let inotify = AsyncFd::new(fd)?;
        Ok(Self {
            inotify,
            watched: Mutex::new(HashMap::new()),
        })
    }

    /// From here on, no change in the log in `directory` is missed.
    pub(crate) fn follow(self: &Arc<Self>, directory: &Path) -> io::Result<Follower> {
        std::fs::create_dir_all(directory)?;
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        // The same folder has the same descriptor.
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE;
        let descriptor = inotify::add_watch(self.inotify.get_ref(), directory, flags)?;
        let sender = watched
            .entry(descriptor)
            .or_insert_with(|| watch::channel(0).0);
        Ok(Follower {
            hub: Arc::clone(self),
            descriptor,
            changes: sender.subscribe(),
        })
    }

    /// Hands on what the kernel says.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) -> io::Result<()> {
        loop {
            let mut ready = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ready = self.inotify.readable() => ready?,
            };
            self.hand_on()?;
            ready.clear_ready();
        }
    }

    fn hand_on(&self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let is_head = event
                .file_name()
                .is_some_and(|name| name.to_bytes() == OsStr::new(HEAD).as_encoded_bytes());
            let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                for sender in watched.values() {
                    sender.send_modify(|count| *count += 1);
                }
            } else if is_head && let Some(sender) = watched.get(&event.wd()) {
                sender.send_modify(|count| *count += 1);
            }
        }
    }
}

impl Follower {
    /// Resolves when something has changed since the last time, or so long
    /// has passed that a look does no harm.
    pub(crate) async fn changed(&mut self) {
        let _ = tokio::time::timeout(LOOK, self.changes.changed()).await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut watched = self
            .hub
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last = watched
            .get(&self.descriptor)
            .is_some_and(|sender| sender.receiver_count() <= 1);
        if last {
            watched.remove(&self.descriptor);
            // It is gone already when its folder is.
            let _ = inotify::remove_watch(self.hub.inotify.get_ref(), self.descriptor);
        }
    }
}
