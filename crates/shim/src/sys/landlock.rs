//! Landlock: which files a process and all that come of it may use, whoever
//! they are. What is given up so cannot be had again.

use std::ffi::{c_int, c_long};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{check, syscall};

// The same numbers on every architecture.
const CREATE_RULESET: c_long = 444;
const ADD_RULE: c_long = 445;
const RESTRICT_SELF: c_long = 446;

const RULE_PATH_BENEATH: c_long = 1;
/// Asks for the version, and makes no rules.
const VERSION: c_long = 1;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// Removing, making and moving of whatever there is in a folder.
const CHANGE_DIR: u64 = 0x3ff0;
const TRUNCATE: u64 = 1 << 14;
/// Since the fifth version.
const IOCTL_DEV: u64 = 1 << 15;
/// What a rule of a file, which is no folder, can say.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
/// Sockets without a name in the file system, and signals, to processes that
/// are not confined by the same rules. Since the sixth version.
const SCOPED: u64 = 0b11;

/// As `struct landlock_ruleset_attr`, of which earlier versions know less.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

/// As `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: c_int,
}

/// The version of this kernel; 0 when it has none.
pub fn version() -> u32 {
    // SAFETY: the pointer is null, and its size 0: the version is asked for.
    let version = unsafe { syscall(CREATE_RULESET, 0, 0, VERSION, 0) };
    u32::try_from(version).unwrap_or(0)
}

/// Whether rules of this version also keep signals from others.
pub const fn holds_signals(version: u32) -> bool {
    version >= 6
}

/// What may be used; not in force before [`Rules::restrict`].
#[derive(Debug)]
pub struct Rules(OwnedFd);

impl Rules {
    /// Folders may be listed anywhere; beneath `readable`, files may be read
    /// and run; beneath `writable`, anything. What is not there is passed over
    /// among the readable.
    pub fn new<P: AsRef<Path>>(readable: &[P], writable: &[P]) -> io::Result<Self> {
        let version = version();
        let devices = if version >= 5 { IOCTL_DEV } else { 0 };
        let read = EXECUTE | READ_FILE | READ_DIR;
        let all = read | WRITE_FILE | CHANGE_DIR | TRUNCATE | devices;
        let ruleset = Ruleset {
            files: all,
            network: 0,
            scoped: if holds_signals(version) { SCOPED } else { 0 },
        };
        // What versions before know of it is its beginning.
        let size: c_long = match version {
            0..=3 => 8,
            4 | 5 => 16,
            _ => 24,
        };
        let pointer = (&raw const ruleset) as c_long;
        // SAFETY: `ruleset` lives for the length of the call, and has at least
        // that size; the descriptor is new, and owned by nobody else.
        let rules = unsafe {
            let fd = syscall(CREATE_RULESET, pointer, size, 0, 0);
            Self(OwnedFd::from_raw_fd(check(
                c_int::try_from(fd).unwrap_or(-1),
            )?))
        };
        rules.allow(&open(Path::new("/"))?, READ_DIR)?;
        for path in readable {
            match open(path.as_ref()) {
                Ok(place) => rules.allow(&place, read)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for path in writable {
            rules.allow(&open(path.as_ref())?, all)?;
        }
        Ok(rules)
    }

    fn allow(&self, place: &File, allowed: u64) -> io::Result<()> {
        let is_dir = place.metadata()?.is_dir();
        let beneath = Beneath {
            allowed: if is_dir { allowed } else { allowed & OF_FILES },
            parent: place.as_raw_fd(),
        };
        let fd = c_long::from(self.0.as_raw_fd());
        let pointer = (&raw const beneath) as c_long;
        // SAFETY: `beneath` lives for the length of the call.
        let answer = unsafe { syscall(ADD_RULE, fd, RULE_PATH_BENEATH, pointer, 0) };
        check(c_int::try_from(answer).unwrap_or(-1)).map(|_| ())
    }

    /// From here on they hold for this thread, and for what comes of it. Is
    /// safe between fork and exec, and needs `no_new_privs`.
    pub(super) fn restrict(&self) -> io::Result<()> {
        let fd = c_long::from(self.0.as_raw_fd());
        // SAFETY: takes numbers only.
        let answer = unsafe { syscall(RESTRICT_SELF, fd, 0, 0, 0) };
        check(c_int::try_from(answer).unwrap_or(-1)).map(|_| ())
    }
}

/// A place in the file system, for nothing but to be named.
fn open(path: &Path) -> io::Result<File> {
    const O_PATH: i32 = 0o10_000_000;
    OpenOptions::new()
        .read(true)
        .custom_flags(O_PATH)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
