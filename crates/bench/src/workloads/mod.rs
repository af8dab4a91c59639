//! `make bench-workloads`: Millrace as a supervisor, side by side with PM2 and
//! supervisord on the same machine in the same run.
//!
//! Each of them runs the same programs, is asked through its own API, and is
//! up before the clock runs: what is measured is neither the start of a
//! daemon nor that of a command line. Programs say themselves that they run,
//! through a pipe that nobody has to poll.

mod figures;
mod millrace;
mod pm2;
mod supervisord;
mod table;
mod witness;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use figures::{Memory, cpu, kill};
use table::Table;
use tempfile::TempDir;
use witness::Witness;

/// How long anything may take until it counts as failed.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between the end of a start and a look at memory or processor time.
const SETTLE: Duration = Duration::from_secs(5);
/// Processes that are killed, one after the other, each for the first time.
const KILLS: usize = 20;

/// What is measured, and against whom.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// PM2's program; without it, the comparison says so and goes on.
    #[arg(long, default_value = "")]
    pm2: String,
    /// supervisord's program; without it, the comparison says so and goes on.
    #[arg(long, default_value = "supervisord")]
    supervisord: PathBuf,
    /// Programs that are started at once.
    #[arg(long, default_value_t = 100)]
    starts: usize,
    /// How often starts and lines are measured: the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Lines that one program writes as fast as it can.
    #[arg(long, default_value_t = 2_000_000)]
    lines: u64,
    /// Programs that do nothing.
    #[arg(long, default_value_t = 1_000)]
    idle: usize,
    /// How long they are watched.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Also watches as many idle programs of the others.
    #[arg(long)]
    idle_peers: bool,
}

/// One program that is to run.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: String,
    pub argv: Vec<String>,
}

/// A supervisor that runs, with nothing under it yet.
pub trait Supervisor: Sized {
    const NAME: &'static str;

    /// Brings it up in a folder of its own, ready to be told to start
    /// `programs`.
    async fn up(options: &Context<'_>, programs: &[Program]) -> io::Result<Self>;

    /// Starts them all; back once it says that they run.
    async fn start(&mut self) -> io::Result<()>;

    /// Bytes of log that are there of a program, and all that there will be
    /// when it has written `lines` lines of `bytes` bytes.
    fn captured(&self, program: &str, lines: u64, bytes: u64) -> io::Result<Captured>;

    /// Fails unless the last line is really there.
    async fn confirm(&self, _program: &str, _lines: u64) -> io::Result<()> {
        Ok(())
    }

    /// Its own process.
    fn daemon(&self) -> io::Result<u32>;

    /// Processes of its own beside each program.
    async fn beside(&self) -> io::Result<Vec<u32>> {
        Ok(Vec::new())
    }

    /// Ends it with all that it runs.
    async fn down(self) -> io::Result<()>;
}

/// How far a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured {
    pub is: u64,
    pub wanted: u64,
}

/// What supervisors need to come up.
#[derive(Debug)]
pub struct Context<'a> {
    pub options: &'a Options,
    pub binary: &'a Path,
    pub folder: &'a Path,
}

/// All figures of one supervisor.
#[derive(Debug, Default)]
struct Figures {
    start: Option<Duration>,
    respawn: Option<Duration>,
    lines: Option<Duration>,
    daemon: Option<Memory>,
    each: Option<Memory>,
    idle: Option<f64>,
}

pub async fn run(binary: &Path, options: &Options) -> io::Result<()> {
    // Programs run with paths of their own.
    let binary = &binary.canonicalize()?;
    println!(
        "each: {} starts and {} lines, median of {}; {KILLS} processes killed, median; \
         {} idle programs over {} s",
        options.starts, options.lines, options.rounds, options.idle, options.seconds
    );
    // Removed at the end: a file system such as ext4 passes over inodes that were
    // freed within the last minutes one by one when it looks for one, which would
    // make each round slower than the one before.
    let mut used = Vec::new();
    let ours = measure::<millrace::Millrace>(binary, options, true, &mut used).await?;
    let mut table = Table::new(options, "Millrace", &ours);
    match pm2::missing(Path::new(&options.pm2)) {
        Some(why) => table.skip("PM2", &why),
        None => {
            let theirs = measure::<pm2::Pm2>(binary, options, options.idle_peers, &mut used);
            table.compare("PM2", &theirs.await?);
        }
    }
    match supervisord::missing(&options.supervisord) {
        Some(why) => table.skip("supervisord", &why),
        None => {
            let idle = options.idle_peers;
            let theirs = measure::<supervisord::Supervisord>(binary, options, idle, &mut used);
            table.compare("supervisord", &theirs.await?);
        }
    }
    match table.print() {
        0 => Ok(()),
        missed => Err(io::Error::other(format!("{missed} aims were missed"))),
    }
}

async fn measure<S: Supervisor>(
    binary: &Path,
    options: &Options,
    idle: bool,
    used: &mut Vec<TempDir>,
) -> io::Result<Figures> {
    let mut figures = Figures::default();
    let mut starts = Vec::new();
    let mut lines = Vec::new();
    for round in 1..=options.rounds.max(1) {
        let last = round == options.rounds.max(1);
        let folder = tempfile::tempdir()?;
        let figures = last.then_some(&mut figures);
        starts.push(start_and_kill::<S>(binary, options, folder.path(), figures).await?);
        used.push(folder);
        let folder = tempfile::tempdir()?;
        lines.push(capture::<S>(binary, options, folder.path()).await?);
        used.push(folder);
        println!(
            "{} round {round}: {} starts in {:?}, {} lines in {:?}",
            S::NAME,
            options.starts,
            starts[starts.len() - 1],
            options.lines,
            lines[lines.len() - 1]
        );
    }
    figures.start = Some(median(starts));
    figures.lines = Some(median(lines));
    if idle && options.idle > 0 {
        figures.idle = Some(watch_idle::<S>(binary, options).await?);
    }
    Ok(figures)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How long until all run; then respawns and memory, where they are asked for.
async fn start_and_kill<S: Supervisor>(
    binary: &Path,
    options: &Options,
    folder: &Path,
    figures: Option<&mut Figures>,
) -> io::Result<Duration> {
    let mut witness = Witness::new(folder)?;
    let programs: Vec<Program> = (0..options.starts).map(|n| witness.idler(n)).collect();
    let context = Context {
        options,
        binary,
        folder,
    };
    let mut supervisor = S::up(&context, &programs).await?;
    // Before it has anything to look after.
    tokio::time::sleep(SETTLE).await;
    let alone = Memory::of(supervisor.daemon()?)?;
    let began = Instant::now();
    let (started, running) = tokio::join!(supervisor.start(), witness.all(options.starts));
    let took = began.elapsed();
    started?;
    let running = running?;
    if let Some(figures) = figures {
        tokio::time::sleep(SETTLE).await;
        let with = Memory::of(supervisor.daemon()?)?;
        let mut beside = Memory::default();
        for pid in supervisor.beside().await? {
            beside += Memory::of(pid)?;
        }
        figures.daemon = Some(with);
        figures.each = Some((with.saturating_sub(alone) + beside).divided_by(options.starts));
        let mut respawns = Vec::new();
        for (name, pid) in running.iter().take(KILLS) {
            let began = Instant::now();
            kill(*pid)?;
            witness.again(name, *pid).await?;
            respawns.push(began.elapsed());
        }
        figures.respawn = Some(median(respawns));
    }
    supervisor.down().await?;
    Ok(took)
}

/// How long until all that a program has written is in its log, from the
/// order to start it on.
async fn capture<S: Supervisor>(
    binary: &Path,
    options: &Options,
    folder: &Path,
) -> io::Result<Duration> {
    let witness = Witness::new(folder)?;
    let program = witness.writer(options.lines);
    let context = Context {
        options,
        binary,
        folder,
    };
    let mut supervisor = S::up(&context, std::slice::from_ref(&program)).await?;
    tokio::time::sleep(SETTLE).await;
    let bytes = witness::written(options.lines);
    let began = Instant::now();
    supervisor.start().await?;
    let all = async {
        loop {
            let captured = supervisor.captured(&program.name, options.lines, bytes);
            match captured {
                Ok(captured) if captured.is >= captured.wanted => return Ok(began.elapsed()),
                Ok(captured) if began.elapsed() > PATIENCE => {
                    return Err(io::Error::other(format!(
                        "{} has captured {} of {}",
                        S::NAME,
                        captured.is,
                        captured.wanted
                    )));
                }
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                // Not there yet.
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    let took = all.await?;
    supervisor.confirm(&program.name, options.lines).await?;
    supervisor.down().await?;
    Ok(took)
}

/// The share of one core, in percent, that the supervisor takes with
/// everything that it has beside the programs.
async fn watch_idle<S: Supervisor>(binary: &Path, options: &Options) -> io::Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut witness = Witness::new(folder.path())?;
    let programs: Vec<Program> = (0..options.idle).map(|n| witness.idler(n)).collect();
    let context = Context {
        options,
        binary,
        folder: folder.path(),
    };
    let mut supervisor = S::up(&context, &programs).await?;
    let began = Instant::now();
    let (started, running) = tokio::join!(supervisor.start(), witness.all(options.idle));
    started?;
    running?;
    println!(
        "{}: {} started in {:?}",
        S::NAME,
        options.idle,
        began.elapsed()
    );
    tokio::time::sleep(SETTLE).await;
    let mut watched = supervisor.beside().await?;
    watched.push(supervisor.daemon()?);
    let sum = |pids: &[u32]| {
        pids.iter()
            .map(|pid| cpu(*pid))
            .sum::<io::Result<Duration>>()
    };
    let (began, before) = (Instant::now(), sum(&watched)?);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let used = sum(&watched)?.saturating_sub(before);
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    supervisor.down().await?;
    Ok(share)
}
