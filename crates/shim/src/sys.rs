//! The few calls of the operating system that the standard library lacks.
//!
//! Unsafe code is allowed here, and only here: this crate has no dependencies,
//! since a build script compiles it by itself. Each call passes plain numbers,
//! or pointers to memory that it owns for the length of the call.
#![allow(unsafe_code, reason = "declares and calls C functions; see above")]

pub mod landlock;

use std::ffi::{c_int, c_long, c_short, c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub const SIGKILL: i32 = 9;
pub const SIGSTOP: i32 = 19;
const SIGCHLD: i32 = 17;
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

const POLLIN: c_short = 1;

/// As `struct pollfd`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Poll {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

impl Poll {
    /// Waits for something to read; with `None`, for nothing.
    pub fn input(fd: Option<RawFd>) -> Self {
        Self {
            fd: fd.unwrap_or(-1),
            events: POLLIN,
            revents: 0,
        }
    }

    /// There is something to read, or the end of it.
    pub const fn is_ready(&self) -> bool {
        self.revents != 0
    }
}

/// 1024 bits, in glibc and musl alike.
#[repr(C)]
struct SignalSet([c_ulong; 128 / size_of::<c_ulong>()]);

#[repr(C)]
struct Limit {
    soft: u64,
    hard: u64,
}

unsafe extern "C" {
    fn poll(fds: *mut Poll, count: c_ulong, timeout: c_int) -> c_int;
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn setsid() -> c_int;
    fn getppid() -> c_int;
    fn signalfd(fd: c_int, mask: *const SignalSet, flags: c_int) -> c_int;
    fn pthread_sigmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn fcntl(fd: c_int, command: c_int, argument: c_int) -> c_int;
    fn syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long) -> c_long;
    fn setrlimit(resource: c_int, limit: *const Limit) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut Limit) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    fn setgid(gid: c_uint) -> c_int;
    fn setuid(uid: c_uint) -> c_int;
    fn getpid() -> c_int;
    fn _exit(code: c_int) -> !;
    fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize;
}

fn check(answer: c_int) -> io::Result<c_int> {
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}

/// Waits at most `timeout` ms (for ever when negative); an interruption is as
/// good as a timeout.
pub fn wait(polls: &mut [Poll], timeout: i32) -> io::Result<()> {
    // SAFETY: pointer and length are those of one slice of the same layout.
    let answer = unsafe { poll(polls.as_mut_ptr(), polls.len() as c_ulong, timeout) };
    match check(answer) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// From here on, what was large and is let go of goes back to the system,
/// rather than being kept for later. Before there are other threads.
pub fn keep_little_memory() {
    #[cfg(target_env = "gnu")]
    {
        const M_MMAP_THRESHOLD: c_int = -3;
        const M_ARENA_MAX: c_int = -8;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // SAFETY: takes numbers only; where it refuses, all stays as it was.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, 64 * 1024);
            mallopt(M_ARENA_MAX, 1);
        }
    }
}

/// From here on, orphaned descendants become children of this process.
pub fn become_subreaper() -> io::Result<()> {
    const PR_SET_CHILD_SUBREAPER: c_int = 36;
    // SAFETY: takes numbers only.
    check(unsafe { prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(|_| ())
}

/// Blocks the signals that would end this process, and SIGCHLD; the answer
/// can be read once one of them has come. Threads made later inherit it.
pub fn take_signals() -> io::Result<OwnedFd> {
    const SIG_BLOCK: c_int = 0;
    const CLOEXEC: c_int = 0o2_000_000;
    const NONBLOCK: c_int = 0o4000;
    let mut set = SignalSet([0; 128 / size_of::<c_ulong>()]);
    for signal in [SIGCHLD, SIGHUP, SIGINT, SIGTERM] {
        set.0[0] |= 1 << (signal - 1);
    }
    // SAFETY: `set` lives for the length of both calls; the descriptor is new,
    // and owned by nobody else.
    unsafe {
        pthread_sigmask(SIG_BLOCK, &raw const set, std::ptr::null_mut());
        let fd = check(signalfd(-1, &raw const set, CLOEXEC | NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Reads what there is, and throws it away.
pub fn drain(fd: BorrowedFd<'_>) {
    let mut buffer = [0_u8; 1024];
    // SAFETY: the buffer is as long as it says.
    while unsafe { read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    const F_SETFL: c_int = 4;
    const O_NONBLOCK: c_int = 0o4000;
    // SAFETY: takes numbers only.
    check(unsafe { fcntl(fd.as_raw_fd(), F_SETFL, O_NONBLOCK) }).map(|_| ())
}

/// Makes a pipe hold so many bytes. Fails where the system does not allow it,
/// and while there is more in it.
pub fn set_pipe_size(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    const F_SETPIPE_SZ: c_int = 1031;
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: takes numbers only.
    check(unsafe { fcntl(fd.as_raw_fd(), F_SETPIPE_SZ, bytes) }).map(|_| ())
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

/// One child that has ended, if there is one: it is reaped.
pub fn reap() -> Option<(u32, Ended)> {
    const WNOHANG: c_int = 1;
    let mut status: c_int = 0;
    // SAFETY: `status` lives for the length of the call.
    let pid = unsafe { waitpid(-1, &raw mut status, WNOHANG) };
    let pid = u32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    let ended = match status & 0x7f {
        0 => Ended::Code((status >> 8) & 0xff),
        signal => Ended::Signal(signal),
    };
    Some((pid, ended))
}

/// Up to where this process may raise a limit of its own.
pub fn hard_limit(resource: i32) -> io::Result<u64> {
    let mut limit = Limit { soft: 0, hard: 0 };
    // SAFETY: `limit` lives for the length of the call.
    check(unsafe { getrlimit(resource, &raw mut limit) })?;
    Ok(limit.hard)
}

/// What a child does before it becomes the program. All of it is safe to do
/// between fork and exec: system calls, and nothing else.
#[derive(Debug)]
pub struct ChildSetup {
    /// The folder of a cgroup of version 2 to be born into.
    pub born_into: Option<OwnedFd>,
    /// Open `cgroup.procs` files to join where that does not work; of version
    /// 2 first.
    pub cgroups: Vec<OwnedFd>,
    /// Gets the number of the process that becomes the program.
    pub pid: std::io::PipeWriter,
    /// Resource, and its soft and its hard limit.
    pub limits: Vec<(i32, u64, u64)>,
    /// User and group.
    pub user: Option<(u32, u32)>,
    pub no_new_privs: bool,
    /// Which files it may use; needs `no_new_privs`.
    pub rules: Option<landlock::Rules>,
    /// The process that has to be the parent.
    pub parent: u32,
}

/// `RLIMIT_NOFILE`.
pub const LIMIT_OPEN_FILES: i32 = 7;
/// `RLIMIT_NPROC`.
pub const LIMIT_PROCESSES: i32 = 6;
/// `RLIMIT_AS`.
pub const LIMIT_ADDRESS_SPACE: i32 = 9;

impl ChildSetup {
    fn apply(&self) -> io::Result<()> {
        const PR_SET_PDEATHSIG: c_int = 1;
        const PR_SET_NO_NEW_PRIVS: c_int = 38;
        const SIG_SETMASK: c_int = 2;
        let none = SignalSet([0; 128 / size_of::<c_ulong>()]);
        let is_born = self.born_into.as_ref().is_some_and(be_born_into);
        // SAFETY: numbers, and pointers to memory that lives long enough.
        unsafe {
            let pid = getpid().to_le_bytes();
            if write(self.pid.as_raw_fd(), pid.as_ptr().cast(), pid.len()) < 0 {
                return Err(io::Error::last_os_error());
            }
            // The signals that the shim reads are not blocked for others.
            pthread_sigmask(SIG_SETMASK, &raw const none, std::ptr::null_mut());
            check(setsid())?;
            for procs in self.cgroups.iter().skip(usize::from(is_born)) {
                // 0 stands for the process that writes.
                if write(procs.as_raw_fd(), b"0".as_ptr().cast(), 1) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            for (resource, soft, hard) in &self.limits {
                let limit = Limit {
                    soft: *soft,
                    hard: *hard,
                };
                check(setrlimit(*resource, &raw const limit))?;
            }
            if let Some((uid, gid)) = self.user {
                check(setgroups(1, &raw const gid))?;
                check(setgid(gid))?;
                check(setuid(uid))?;
            }
            if self.no_new_privs {
                check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            }
            if let Some(rules) = &self.rules {
                rules.restrict()?;
            }
            // After the change of user, which clears it.
            check(prctl(PR_SET_PDEATHSIG, SIGKILL as c_ulong, 0, 0, 0))?;
            // The parent may have died before that took effect.
            if u32::try_from(getppid()).ok() != Some(self.parent) {
                return Err(io::Error::from_raw_os_error(3));
            }
        }
        Ok(())
    }
}

/// As `struct clone_args` of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Goes on as another process of the same parent, which is in the cgroup from
/// its first moment on. To move one there stops all forks of the machine
/// until no processor is in the midst of one: tens of milliseconds, each time.
/// `false` where the kernel cannot do it; this process then goes on as it is.
fn be_born_into(cgroup: &OwnedFd) -> bool {
    const CLONE3: c_long = 435;
    const CLONE_PARENT: u64 = 0x8000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let arguments = CloneArguments {
        flags: CLONE_PARENT | CLONE_INTO_CGROUP,
        // It is the parent's child, which is told as it is told of this one.
        exit_signal: 0,
        cgroup: u64::try_from(cgroup.as_raw_fd()).unwrap_or(u64::MAX),
        ..CloneArguments::default()
    };
    // SAFETY: without shared memory it is a fork, of a process that has one
    // thread, is itself between fork and exec, and keeps to what is allowed
    // there; the arguments live for the length of the call.
    unsafe {
        let at = (&raw const arguments) as c_long;
        let size = c_long::try_from(size_of::<CloneArguments>()).unwrap_or(c_long::MAX);
        match syscall(CLONE3, at, size, 0, 0) {
            0 => true,
            1.. => _exit(0),
            _ => false,
        }
    }
}

/// Makes `command` do this in its child.
pub fn set_up(command: &mut std::process::Command, setup: ChildSetup) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: `apply` makes system calls only; errors of the system hold no
    // allocated memory.
    unsafe {
        command.pre_exec(move || setup.apply());
    }
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

// The same numbers on every architecture.
const PIDFD_SEND_SIGNAL: c_long = 424;
const PIDFD_OPEN: c_long = 434;

impl PidFd {
    pub fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: takes numbers; the descriptor is new, and owned by nobody else.
        unsafe {
            let fd = syscall(PIDFD_OPEN, c_long::from(pid), 0, 0, 0);
            let fd = check(c_int::try_from(fd).unwrap_or(-1))?;
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let fd = c_long::from(self.0.as_raw_fd());
        // SAFETY: the third argument, a pointer, is null: no details.
        let answer = unsafe { syscall(PIDFD_SEND_SIGNAL, fd, c_long::from(signal), 0, 0) };
        check(c_int::try_from(answer).unwrap_or(-1)).map(|_| ())
    }
}
