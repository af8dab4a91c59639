//! Talking to a shim.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_shim::exit;
use millrace_shim::launch::Launch;
use millrace_shim::wire::{Request, State, key_line, parse_state};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::spawn::short_path;

/// What is known of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    State(State),
    /// Its shim is gone, and left no exit.
    Lost,
}

/// The connection to one shim.
#[derive(Debug)]
pub(crate) struct ShimLink {
    run_dir: PathBuf,
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl ShimLink {
    /// Takes up the shim of this folder. Fails when none listens there.
    pub(crate) async fn take_up(run_dir: &Path) -> io::Result<Self> {
        // One of a version before has no key. What a shim that is gone would
        // have been told, its end says.
        let launch = Launch::read(run_dir).ok();
        Self::connect(run_dir, launch.and_then(|launch| launch.key)).await
    }

    /// Fails when no shim listens there.
    pub(super) async fn connect(run_dir: &Path, key: Option<u128>) -> io::Result<Self> {
        let folder = File::open(run_dir)?;
        let stream = UnixStream::connect(short_path(&folder)).await?;
        let (reader, mut writer) = stream.into_split();
        if let Some(key) = key {
            let _ = writer
                .write_all(format!("{}\n", key_line(key)).as_bytes())
                .await;
        }
        Ok(Self {
            run_dir: run_dir.to_owned(),
            lines: BufReader::new(reader).lines(),
            writer,
        })
    }

    /// The state at the time of the connection, then each change; the same
    /// final one when asked again. Can be dropped at any time, and loses
    /// nothing.
    pub(crate) async fn next(&mut self) -> Told {
        while let Ok(Some(line)) = self.lines.next_line().await {
            if let Some(state) = parse_state(&line) {
                return Told::State(state);
            }
        }
        match exit::read(&self.run_dir) {
            Some(state) => Told::State(state),
            None => Told::Lost,
        }
    }

    /// Its process, once it runs; `None` when the shim is too busy to say. The
    /// final state of one that is over.
    pub(super) async fn state(&mut self, patience: Duration) -> Result<Option<u32>, Told> {
        loop {
            match tokio::time::timeout(patience, self.next()).await {
                Ok(Told::State(State::Starting)) => {}
                Ok(Told::State(State::Running { pid, .. })) => return Ok(Some(pid)),
                Ok(told) => return Err(told),
                // It listens, and is busy: it is there.
                Err(_) => return Ok(None),
            }
        }
    }

    /// The final state.
    pub(crate) async fn ended(&mut self) -> Told {
        loop {
            match self.next().await {
                Told::State(state) if !state.is_final() => {}
                told => return told,
            }
        }
    }

    /// What a shim that is gone was asked is dropped: its end says all.
    pub(crate) async fn ask(&mut self, request: Request) {
        let _ = self
            .writer
            .write_all(format!("{request}\n").as_bytes())
            .await;
    }
}
