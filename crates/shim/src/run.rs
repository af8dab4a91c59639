//! The life of a shim.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::launch::Launch;
use crate::log::{self, Appender};
use crate::pipe::Pipe;
use crate::queue::{Intake, Queue};
use crate::record::{MAX_LINE, Meta, Stage, Stream};
use crate::sys::landlock::Rules;
use crate::sys::{self, ChildSetup, Ended, Poll, SIGKILL, SIGSTOP};
use crate::wire::{Exit, Request, State, key_line, parse_request};
use crate::{exit, tree};

/// Read from a pipe at once: of one that much comes through, what it holds by
/// default.
const LITTLE: usize = 4096;
const MUCH: usize = MAX_LINE;
/// Orchestrators that may be connected at once: an old one, a new one, and
/// someone who looks.
const MAX_CLIENTS: usize = 8;
/// Between two looks while processes are being killed.
const KILLING: i32 = 2;
/// How long there may be no look at anything else while the queue is full.
const STALLED: Duration = Duration::from_millis(20);

/// How long whoever was told of the end may take to store it: there is nothing
/// left then to bring to the disk, which would only slow that down.
const STORING: Duration = Duration::from_millis(100);

/// Runs what the launch file in `directory` says to its end. Standard input
/// is the socket to answer on, listening already.
pub fn run(directory: &Path) -> io::Result<()> {
    sys::keep_little_memory();
    let launch = Launch {
        note: String::new(),
        ..Launch::read(directory)?
    };
    sys::become_subreaper()?;
    let signals = sys::take_signals()?;
    let listener = listener()?;
    let appender = Appender::open(&launch.log_dir, launch.keep, true)?;

    let queue = Arc::new(Queue::default());
    let writer = std::thread::Builder::new().stack_size(128 * 1024).spawn({
        let queue = Arc::clone(&queue);
        let mut appender = appender;
        move || queue.write_to(&mut appender)
    })?;
    let mut shim = Shim::new(&launch, signals, listener, &queue);
    let last = match start(&launch) {
        Ok((pid, stdout, stderr)) => {
            let began = tree::stat(pid).map_or(0, |stat| stat.began);
            let shim_pid = std::process::id();
            shim.program = Some(pid);
            shim.pipes = vec![
                Pipe::new(stdout.into(), Stream::Stdout),
                Pipe::new(stderr.into(), Stream::Stderr),
            ];
            shim.tell(State::Running {
                pid,
                shim: shim_pid,
                began,
            });
            State::Exited(shim.serve()?)
        }
        Err(error) => State::Failed {
            errno: error.raw_os_error().unwrap_or(0),
            message: error.to_string(),
        },
    };
    shim.finish();
    queue.close();
    // A writer that panicked has lost what it had.
    let lost = writer.join().unwrap_or(1);
    let last = match last {
        State::Exited(exit) => State::Exited(Exit { lost, ..exit }),
        other => other,
    };
    // Whoever is on the socket need not wait for the disk, and is told also
    // when there is no room for it there.
    let written = exit::write(directory, &last);
    shim.accept();
    shim.tell(last);
    if !shim.clients.is_empty() {
        std::thread::sleep(STORING);
    }
    exit::sync(directory, &written?)
}

fn listener() -> io::Result<UnixListener> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Fails when it is no socket.
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn start(launch: &Launch) -> io::Result<(u32, ChildStdout, ChildStderr)> {
    let place = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    let mut cgroups = Vec::with_capacity(launch.cgroups.len());
    let mut born_into = None;
    for path in &launch.cgroups {
        let file = OpenOptions::new().write(true).open(path);
        let file = OwnedFd::from(file.map_err(|error| place(path, error))?);
        // Only those of version 2 have controllers that are listed.
        match path.parent() {
            Some(folder) if folder.join("cgroup.controllers").exists() => {
                let folder = File::open(folder).map_err(|error| place(folder, error))?;
                born_into = Some(OwnedFd::from(folder));
                cgroups.insert(0, file);
            }
            _ => cgroups.push(file),
        }
    }
    let confined = launch.confined.as_ref();
    let rules = confined.map(|may| Rules::new(&may.readable, &may.writable));
    let rules = rules.transpose()?;
    let (mut pid, pid_writer) = io::pipe()?;
    let mut command = Command::new(&launch.command[0]);
    command
        .args(&launch.command[1..])
        .current_dir(&launch.working_dir)
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(match &launch.stdin {
            Some(path) => Stdio::from(File::open(path)?),
            None => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    sys::set_up(
        &mut command,
        ChildSetup {
            born_into,
            cgroups,
            pid: pid_writer,
            limits: limits(launch)?,
            user: launch.user,
            no_new_privs: launch.no_new_privs,
            rules,
            parent: std::process::id(),
        },
    );
    let mut child = command.spawn()?;
    // It is reaped with all others, by number.
    match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), Some(stderr)) => {
            sys::set_nonblocking(stdout.as_fd())?;
            sys::set_nonblocking(stderr.as_fd())?;
            // It has said so before it became the program; the one that was
            // made first may have made another one in its place.
            let mut number = [0; 4];
            pid.read_exact(&mut number)?;
            Ok((u32::from_le_bytes(number), stdout, stderr))
        }
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Of each resource the soft and the hard one.
fn limits(launch: &Launch) -> io::Result<Vec<(i32, u64, u64)>> {
    let both = |(resource, limit): &(i32, u64)| (*resource, *limit, *limit);
    let mut limits: Vec<_> = launch.limits.iter().map(both).collect();
    let is_limited = limits.iter().any(|limit| limit.0 == sys::LIMIT_OPEN_FILES);
    if let (Some(soft), false) = (launch.open_files, is_limited) {
        let hard = sys::hard_limit(sys::LIMIT_OPEN_FILES)?;
        limits.push((sys::LIMIT_OPEN_FILES, soft.min(hard), hard));
    }
    Ok(limits)
}

struct Client {
    stream: UnixStream,
    /// What has come of a request that has not ended.
    input: Vec<u8>,
    /// It has said the key, or there is none.
    is_trusted: bool,
}

/// How far the end has come.
enum Ending {
    No,
    /// Asked to end; killed at that time.
    Asked(Instant),
    /// Killing whatever there is.
    Killing,
}

struct Shim<'a> {
    launch: &'a Launch,
    signals: OwnedFd,
    listener: UnixListener,
    clients: Vec<Client>,
    intake: Intake<'a>,
    meta: Meta,
    pipes: Vec<Pipe>,
    state: State,
    program: Option<u32>,
    /// How the program ended, and when.
    ended: Option<(Ended, i64)>,
    ending: Ending,
    buffer: Vec<u8>,
}

impl<'a> Shim<'a> {
    fn new(launch: &'a Launch, signals: OwnedFd, listener: UnixListener, queue: &'a Queue) -> Self {
        Self {
            launch,
            signals,
            listener,
            clients: Vec::new(),
            intake: Intake::new(queue),
            meta: Meta {
                at: 0,
                instance: launch.instance,
                stream: Stream::Stdout,
                stage: Stage::Deploy,
                flags: 0,
            },
            pipes: Vec::new(),
            state: State::Starting,
            program: None,
            ended: None,
            ending: Ending::No,
            buffer: vec![0; LITTLE],
        }
    }

    /// Until the program and all that came of it are gone, and what they
    /// wrote has been read.
    fn serve(&mut self) -> io::Result<Exit> {
        loop {
            let may_read = self.intake.may_read_within(STALLED);
            for pipe in &mut self.pipes {
                if pipe.pass_time() {
                    self.buffer = vec![0; LITTLE];
                }
            }
            let mut polls = self.polls(may_read);
            sys::wait(&mut polls, self.timeout(may_read))?;
            let ready: Vec<bool> = polls.iter().map(Poll::is_ready).collect();
            if ready[0] {
                sys::drain(self.signals.as_fd());
            }
            if ready[1] {
                self.accept();
            }
            if may_read {
                self.read_pipes(&ready[2..4]);
            }
            self.hear(&ready[4..]);
            while let Some((pid, ended)) = sys::reap() {
                // The last that it wrote may have come after the look at the
                // pipes: they are looked at once more.
                for pipe in &mut self.pipes {
                    pipe.hurry();
                }
                if Some(pid) == self.program {
                    self.ended = Some((ended, log::now()));
                }
            }
            if let Some(exit) = self.proceed() {
                return Ok(exit);
            }
        }
    }

    /// Signals, listener, two pipes, clients: in this order.
    fn polls(&self, may_read: bool) -> Vec<Poll> {
        let mut polls = vec![
            Poll::input(Some(self.signals.as_raw_fd())),
            Poll::input(Some(self.listener.as_raw_fd())),
        ];
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pipe = self.pipes.iter().find(|pipe| pipe.stream == stream);
            polls.push(Poll::input(pipe.filter(|_| may_read).and_then(Pipe::fd)));
        }
        for client in &self.clients {
            polls.push(Poll::input(Some(client.stream.as_raw_fd())));
        }
        polls
    }

    /// Milliseconds; for ever when nothing is under way.
    fn timeout(&self, may_read: bool) -> i32 {
        // Where there is no room for what comes, it was waited for already.
        if !may_read {
            return 0;
        }
        let deadline = match &self.ending {
            Ending::No => None,
            Ending::Killing => return KILLING,
            Ending::Asked(deadline) => Some(*deadline),
        };
        let pipes = self.pipes.iter().filter_map(Pipe::due);
        let Some(due) = pipes.chain(deadline).min() else {
            return -1;
        };
        let left = due.saturating_duration_since(Instant::now());
        // Not too early, which would be once more.
        i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    }

    /// What is due by now; the exit when all is over.
    fn proceed(&mut self) -> Option<Exit> {
        match self.ending {
            Ending::No if self.ended.is_some() => self.ending = Ending::Killing,
            Ending::Asked(deadline) if Instant::now() >= deadline => {
                self.ending = Ending::Killing;
            }
            // Everyone has heeded it: no need to wait for the deadline.
            Ending::Asked(_)
                if self.ended.is_some() && tree::descendants(std::process::id()).is_empty() =>
            {
                self.ending = Ending::Killing;
            }
            _ => {}
        }
        if !matches!(self.ending, Ending::Killing) || self.kill() > 0 {
            return None;
        }
        let (ended, at) = self.ended?;
        // Nobody of the tree writes any more; who else holds an end of the
        // pipes is not waited for.
        if self.pipes.iter().any(|pipe| !pipe.is_empty) {
            return None;
        }
        let (code, signal) = match ended {
            Ended::Code(code) => (Some(code), None),
            Ended::Signal(signal) => (None, Some(signal)),
        };
        Some(Exit {
            code,
            signal,
            at,
            lost: 0,
        })
    }

    /// Kills what is left; answers how many that were.
    fn kill(&mut self) -> usize {
        if let Some(path) = &self.launch.cgroup_kill {
            // Where it does not work, the rest of this does.
            let _ = std::fs::write(path, "1");
        }
        let me = std::process::id();
        let left = tree::descendants(me);
        if left.is_empty() {
            return 0;
        }
        // First nobody may fork any more, then all of them go.
        for pid in &left {
            tree::signal_descendant(me, *pid, SIGSTOP);
        }
        tree::signal_all(me, SIGKILL).max(left.len())
    }

    fn read_pipes(&mut self, ready: &[bool]) {
        let Self {
            pipes,
            buffer,
            intake,
            meta,
            ..
        } = self;
        pipes.retain_mut(|pipe| {
            let is_ready = ready[usize::from(pipe.stream == Stream::Stderr)];
            let meta = Meta {
                at: log::now(),
                stream: pipe.stream,
                ..*meta
            };
            let goes_on = pipe.read(is_ready, buffer, |piece| intake.take(&meta, piece));
            if pipe.fills_buffer && buffer.len() < MUCH {
                buffer.resize(MUCH, 0);
            }
            goes_on
        });
        intake.flush(meta);
    }

    /// What is left of lines without an end.
    fn finish(&mut self) {
        let meta = Meta {
            at: log::now(),
            ..self.meta
        };
        for mut pipe in std::mem::take(&mut self.pipes) {
            let stream = pipe.stream;
            let intake = &mut self.intake;
            pipe.finish(|piece| intake.take(&Meta { stream, ..meta }, piece));
        }
        self.intake.finish(&meta);
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            // What is said fits into the socket's buffer; who reads nothing
            // is not waited for.
            let fine =
                stream.set_nonblocking(true).is_ok() && say(&mut stream, &self.state).is_ok();
            if !fine {
                continue;
            }
            if self.clients.len() >= MAX_CLIENTS {
                // Who has said its key already is not taken for a stranger.
                self.hear(&[true; MAX_CLIENTS]);
            }
            if self.clients.len() >= MAX_CLIENTS {
                // Who only looks is no reason to lose an orchestrator.
                let stranger = self.clients.iter().position(|client| !client.is_trusted);
                self.clients.remove(stranger.unwrap_or(0));
            }
            self.clients.push(Client {
                stream,
                input: Vec::new(),
                is_trusted: self.launch.key.is_none(),
            });
        }
    }

    fn tell(&mut self, state: State) {
        self.clients
            .retain_mut(|client| say(&mut client.stream, &state).is_ok());
        self.state = state;
    }

    fn hear(&mut self, ready: &[bool]) {
        let mut requests = Vec::new();
        let key = self.launch.key.map(key_line);
        let mut index = 0;
        self.clients.retain_mut(|client| {
            let is_ready = ready.get(index).copied().unwrap_or(false);
            index += 1;
            !is_ready || client.read(key.as_deref(), &mut requests)
        });
        for request in requests {
            self.follow(request);
        }
    }

    fn follow(&mut self, request: Request) {
        match request {
            Request::Signal(signal) => {
                tree::signal_all(std::process::id(), signal);
            }
            Request::Stop { signal, grace_ms } => {
                let deadline = Instant::now() + Duration::from_millis(grace_ms.min(86_400_000));
                match self.ending {
                    Ending::No => {
                        self.meta.stage = Stage::Stop;
                        self.ending = Ending::Asked(deadline);
                        tree::signal_all(std::process::id(), signal);
                    }
                    // A second one can only make it come sooner.
                    Ending::Asked(before) => self.ending = Ending::Asked(before.min(deadline)),
                    Ending::Killing => {}
                }
            }
            Request::Stage(stage) => {
                self.meta.stage = Stage::of(stage).unwrap_or(self.meta.stage);
            }
        }
    }
}

/// All of the line at once: whoever reads is woken once.
fn say(stream: &mut UnixStream, state: &State) -> io::Result<()> {
    stream.write_all(format!("{state}\n").as_bytes())
}

impl Client {
    /// `false` when it has gone, or says what cannot be a request.
    fn read(&mut self, key: Option<&str>, requests: &mut Vec<Request>) -> bool {
        let mut buffer = [0; 512];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]);
            self.is_trusted |= key == Some(&*line);
            if self.is_trusted {
                requests.extend(parse_request(&line));
            }
        }
        self.input.len() < 1024
    }
}
