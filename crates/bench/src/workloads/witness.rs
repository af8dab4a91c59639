//! Programs that say by themselves that they run.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use super::{PATIENCE, Program};

/// Where programs report to: a named pipe, with a line for each start.
#[derive(Debug)]
pub struct Witness {
    script: PathBuf,
    reports: Lines<BufReader<Receiver>>,
}

impl Witness {
    /// Within a runtime.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let pipe = folder.join("running");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        // Of both ends, so that it never ends while nobody writes.
        let reports = OpenOptions::new().read_write(true).open_receiver(&pipe)?;
        let script = folder.join("program.sh");
        std::fs::write(
            &script,
            format!("echo $1 $$ > {}\nexec sleep 3600\n", pipe.display()),
        )?;
        Ok(Self {
            script,
            reports: BufReader::new(reports).lines(),
        })
    }

    /// Says that it runs, and then does nothing.
    pub fn idler(&self, number: usize) -> Program {
        let name = format!("program-{number}");
        let script = self.script.to_string_lossy().into_owned();
        Program {
            argv: vec!["/bin/sh".into(), script, name.clone()],
            name,
        }
    }

    /// Writes numbered lines as fast as it can, and stays.
    #[expect(clippy::unused_self, reason = "as the other kind of program")]
    pub fn writer(&self, lines: u64) -> Program {
        let name = "writer".to_owned();
        let command = format!("seq 1 {lines}; exec sleep 3600");
        Program {
            argv: vec!["/bin/sh".into(), "-c".into(), command],
            name,
        }
    }

    /// The names and processes of `count` different programs.
    pub async fn all(&mut self, count: usize) -> io::Result<HashMap<String, u32>> {
        let mut running = HashMap::new();
        while running.len() < count {
            let (name, pid) = self.next().await?;
            running.insert(name, pid);
        }
        Ok(running)
    }

    /// Waits until a program runs again, as another process.
    pub async fn again(&mut self, name: &str, before: u32) -> io::Result<u32> {
        loop {
            let (who, pid) = self.next().await?;
            if who == name && pid != before {
                return Ok(pid);
            }
        }
    }

    async fn next(&mut self) -> io::Result<(String, u32)> {
        let line = tokio::time::timeout(PATIENCE, self.reports.next_line());
        let line = line
            .await
            .map_err(|_| io::Error::other("no more programs have started"))??
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        line.split_once(' ')
            .and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)))
            .ok_or_else(|| io::Error::other(format!("`{line}` is no report")))
    }
}

/// Bytes of the lines from 1 to `lines`, with their ends.
pub fn written(lines: u64) -> u64 {
    let mut bytes = 0;
    let (mut first, mut width) = (1, 1);
    while first <= lines {
        let last = (first * 10 - 1).min(lines);
        bytes += (last - first + 1) * (width + 1);
        first *= 10;
        width += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_known_before() {
        for lines in [0, 1, 9, 10, 99, 100, 12_345] {
            let bytes: usize = (1..=lines).map(|n| format!("{n}\n").len()).sum();
            assert_eq!(written(lines), bytes as u64, "{lines}");
        }
    }
}
