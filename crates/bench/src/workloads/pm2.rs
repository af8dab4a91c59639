//! PM2, driven by a small program on its API.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Captured, Context, PATIENCE, Program, Supervisor};

const DRIVER: &str = include_str!("pm2.js");

/// Why it cannot be compared with.
pub fn missing(program: &Path) -> Option<String> {
    if program.as_os_str().is_empty() {
        return Some("not given (scripts/tool pm2 fetches it through npm)".to_owned());
    }
    (!program.is_file()).then(|| format!("there is no {}", program.display()))
}

#[derive(Debug)]
pub struct Pm2 {
    home: PathBuf,
    programs: Vec<Program>,
    driver: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Pm2 {
    async fn expect(&mut self, word: &str) -> io::Result<()> {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.answers.next_line());
            let line = line
                .await
                .map_err(|_| io::Error::other("PM2 does not answer"))??
                .ok_or_else(|| io::Error::other("PM2's driver has ended"))?;
            // PM2 itself likes to talk, too.
            match line.strip_prefix("bench: ") {
                Some(said) if said == word => return Ok(()),
                Some(said) => return Err(io::Error::other(said.to_owned())),
                None => {}
            }
        }
    }

    fn log(&self, program: &str) -> PathBuf {
        self.home.join(format!("{program}.out"))
    }
}

impl Supervisor for Pm2 {
    const NAME: &'static str = "PM2";

    async fn up(context: &Context<'_>, programs: &[Program]) -> io::Result<Self> {
        let home = context.folder.join("pm2");
        fs::create_dir(&home)?;
        let script = home.join("driver.js");
        fs::write(&script, DRIVER)?;
        // …/pm2/bin/pm2 is a program of the module …/pm2.
        let program = Path::new(&context.options.pm2).canonicalize()?;
        let module = program.parent().and_then(Path::parent);
        let mut driver = Command::new("node")
            .arg(&script)
            .arg(module.ok_or(io::ErrorKind::NotFound)?)
            .env("PM2_HOME", &home)
            .env("PM2_PROGRAMMATIC", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (requests, answers) = driver
            .stdin
            .take()
            .zip(driver.stdout.take())
            .ok_or(io::ErrorKind::BrokenPipe)?;
        let mut pm2 = Self {
            home,
            programs: programs.to_vec(),
            driver,
            requests,
            answers: BufReader::new(answers).lines(),
        };
        pm2.expect("ready").await?;
        Ok(pm2)
    }

    async fn start(&mut self) -> io::Result<()> {
        let apps: Vec<_> = self
            .programs
            .iter()
            .map(|program| {
                json!({
                    "name": program.name,
                    "script": program.argv[0],
                    "args": program.argv[1..],
                    "interpreter": "none",
                    "exec_mode": "fork",
                    "merge_logs": true,
                    "out_file": self.log(&program.name),
                    "error_file": self.home.join(format!("{}.err", program.name)),
                })
            })
            .collect();
        let request = format!("{}\n", json!(apps));
        self.requests.write_all(request.as_bytes()).await?;
        self.expect("started").await
    }

    fn captured(&self, program: &str, _: u64, bytes: u64) -> io::Result<Captured> {
        let is = fs::metadata(self.log(program))?.len();
        Ok(Captured { is, wanted: bytes })
    }

    fn daemon(&self) -> io::Result<u32> {
        let text = fs::read_to_string(self.home.join("pm2.pid"))?;
        text.trim().parse().map_err(io::Error::other)
    }

    async fn down(mut self) -> io::Result<()> {
        drop(self.requests);
        tokio::time::timeout(PATIENCE, self.driver.wait())
            .await
            .map_err(|_| io::Error::other("PM2 did not stop in time"))??;
        Ok(())
    }
}
