//! What a shim is to start: a file in its folder, written by the orchestrator
//! of the same version.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::log::Keep;

const NAME: &str = "launch";

/// What to start, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    pub instance: u128,
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    pub working_dir: PathBuf,
    /// The file that is its standard input; nothing without it.
    pub stdin: Option<PathBuf>,
    /// All of its environment.
    pub env: Vec<(OsString, OsString)>,
    pub log_dir: PathBuf,
    pub keep: Keep,
    /// `cgroup.procs` files to join.
    pub cgroups: Vec<PathBuf>,
    /// The `cgroup.kill` file, where there is one.
    pub cgroup_kill: Option<PathBuf>,
    /// Resources and their limits, for setrlimit.
    pub limits: Vec<(i32, u64)>,
    /// How many files it may open unless it asks for more: those of the
    /// orchestrator without it. A limit of open files counts for more.
    pub open_files: Option<u64>,
    pub user: Option<(u32, u32)>,
    pub no_new_privs: bool,
    /// Which files it may use; any that its user may, without it. Needs
    /// `no_new_privs`.
    pub confined: Option<Confined>,
    /// Whoever does not say it on the socket is not obeyed; everybody is,
    /// without it.
    pub key: Option<u128>,
    /// What whoever takes it up wants to know of it; nothing to its shim.
    pub note: String,
}

/// Which files may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confined {
    /// Read and run, with all that is beneath them.
    pub readable: Vec<PathBuf>,
    /// Used in any way, with all that is beneath them.
    pub writable: Vec<PathBuf>,
}

const INSTANCE: u8 = 1;
const ARGUMENT: u8 = 2;
const WORKING_DIR: u8 = 3;
const VARIABLE: u8 = 4;
const LOG_DIR: u8 = 5;
const KEEP: u8 = 6;
const CGROUP: u8 = 7;
const CGROUP_KILL: u8 = 8;
const LIMIT: u8 = 9;
const USER: u8 = 10;
const NO_NEW_PRIVS: u8 = 11;
const STDIN: u8 = 12;
const CONFINED: u8 = 13;
const READABLE: u8 = 14;
const WRITABLE: u8 = 15;
const OPEN_FILES: u8 = 16;
const KEY: u8 = 17;
const NOTE: u8 = 18;

impl Launch {
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            // The environment has secrets.
            .mode(0o600)
            .open(directory.join(NAME))?;
        file.write_all(&self.encode())
    }

    pub fn read(directory: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(directory.join(NAME))?;
        Self::decode(&bytes).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the launch file is not understood",
            )
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |tag: u8, value: &[u8]| {
            out.push(tag);
            let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(value);
        };
        put(INSTANCE, &self.instance.to_be_bytes());
        for argument in &self.command {
            put(ARGUMENT, argument.as_bytes());
        }
        put(WORKING_DIR, self.working_dir.as_os_str().as_bytes());
        if let Some(stdin) = &self.stdin {
            put(STDIN, stdin.as_os_str().as_bytes());
        }
        for (name, value) in &self.env {
            let variable = [name.as_bytes(), b"=", value.as_bytes()].concat();
            put(VARIABLE, &variable);
        }
        put(LOG_DIR, self.log_dir.as_os_str().as_bytes());
        let keep = [
            self.keep.max_bytes,
            self.keep.max_age.as_secs(),
            u64::from(self.keep.instances),
        ];
        put(KEEP, &keep.map(u64::to_le_bytes).concat());
        for cgroup in &self.cgroups {
            put(CGROUP, cgroup.as_os_str().as_bytes());
        }
        if let Some(kill) = &self.cgroup_kill {
            put(CGROUP_KILL, kill.as_os_str().as_bytes());
        }
        for (resource, limit) in &self.limits {
            let resource = u64::from(resource.unsigned_abs());
            put(LIMIT, &[resource, *limit].map(u64::to_le_bytes).concat());
        }
        if let Some(key) = self.key {
            put(KEY, &key.to_be_bytes());
        }
        if !self.note.is_empty() {
            put(NOTE, self.note.as_bytes());
        }
        if let Some(open_files) = self.open_files {
            put(OPEN_FILES, &open_files.to_le_bytes());
        }
        if let Some((user, group)) = self.user {
            let ids = [u64::from(user), u64::from(group)];
            put(USER, &ids.map(u64::to_le_bytes).concat());
        }
        if self.no_new_privs {
            put(NO_NEW_PRIVS, &[]);
        }
        if let Some(confined) = &self.confined {
            put(CONFINED, &[]);
            for (tag, paths) in [
                (READABLE, &confined.readable),
                (WRITABLE, &confined.writable),
            ] {
                for path in paths {
                    put(tag, path.as_os_str().as_bytes());
                }
            }
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut launch = Self {
            instance: 0,
            command: Vec::new(),
            working_dir: PathBuf::new(),
            stdin: None,
            env: Vec::new(),
            log_dir: PathBuf::new(),
            keep: Keep {
                max_bytes: 0,
                max_age: Duration::ZERO,
                instances: 0,
            },
            cgroups: Vec::new(),
            cgroup_kill: None,
            limits: Vec::new(),
            open_files: None,
            user: None,
            no_new_privs: false,
            confined: None,
            key: None,
            note: String::new(),
        };
        while let Some((tag, rest)) = bytes.split_first() {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            bytes = rest;
            let text = || OsString::from_vec(value.to_vec());
            match *tag {
                INSTANCE => launch.instance = u128::from_be_bytes(value.try_into().ok()?),
                ARGUMENT => launch.command.push(text()),
                WORKING_DIR => launch.working_dir = text().into(),
                VARIABLE => {
                    let equals = value.iter().position(|byte| *byte == b'=')?;
                    let (name, value) = value.split_at(equals);
                    let value = OsString::from_vec(value[1..].to_vec());
                    launch.env.push((OsString::from_vec(name.to_vec()), value));
                }
                LOG_DIR => launch.log_dir = text().into(),
                KEEP => {
                    launch.keep = Keep {
                        max_bytes: number(value, 0)?,
                        max_age: Duration::from_secs(number(value, 1)?),
                        instances: u32::try_from(number(value, 2)?).ok()?,
                    }
                }
                CGROUP => launch.cgroups.push(text().into()),
                CGROUP_KILL => launch.cgroup_kill = Some(text().into()),
                LIMIT => {
                    let resource = i32::try_from(number(value, 0)?).ok()?;
                    launch.limits.push((resource, number(value, 1)?));
                }
                KEY => launch.key = Some(u128::from_be_bytes(value.try_into().ok()?)),
                NOTE => launch.note = String::from_utf8_lossy(value).into_owned(),
                OPEN_FILES => launch.open_files = Some(number(value, 0)?),
                USER => {
                    let user = u32::try_from(number(value, 0)?).ok()?;
                    launch.user = Some((user, u32::try_from(number(value, 1)?).ok()?));
                }
                STDIN => launch.stdin = Some(text().into()),
                NO_NEW_PRIVS => launch.no_new_privs = true,
                CONFINED => {
                    launch.confined = Some(Confined {
                        readable: Vec::new(),
                        writable: Vec::new(),
                    });
                }
                READABLE => launch.confined.as_mut()?.readable.push(text().into()),
                WRITABLE => launch.confined.as_mut()?.writable.push(text().into()),
                _ => return None,
            }
        }
        Some(launch).filter(|launch| !launch.command.is_empty())
    }
}

fn number(value: &[u8], index: usize) -> Option<u64> {
    let eight = value.get(index * 8..index * 8 + 8)?;
    Some(u64::from_le_bytes(eight.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_is_read_back() {
        let launch = Launch {
            instance: u128::MAX - 1,
            command: vec!["sh".into(), "-c".into(), "echo \n \u{e9}".into()],
            working_dir: "/srv/a b".into(),
            stdin: Some("/in".into()),
            env: vec![("A".into(), "x=y\n".into()), ("B".into(), "".into())],
            log_dir: "/log".into(),
            keep: Keep {
                max_bytes: 1,
                max_age: Duration::from_secs(2),
                instances: 3,
            },
            cgroups: vec!["/sys/fs/cgroup/x/cgroup.procs".into()],
            cgroup_kill: Some("/sys/fs/cgroup/x/cgroup.kill".into()),
            limits: vec![(7, 1024)],
            open_files: Some(512),
            user: Some((65_534, 65_534)),
            no_new_privs: true,
            confined: Some(Confined {
                readable: vec!["/usr".into(), "/a b".into()],
                writable: vec!["/data".into()],
            }),
            key: Some(u128::MAX - 2),
            note: "{\"type\": \"process\"}".into(),
        };
        let bytes = launch.encode();
        assert_eq!(Launch::decode(&bytes), Some(launch));
        for end in 0..bytes.len() {
            // Cut off anywhere, it is nothing or something less; it never panics.
            let _ = Launch::decode(&bytes[..end]);
        }
    }
}
