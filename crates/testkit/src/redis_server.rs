//! An own Redis server for tests that mistreat it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::free_port;

/// How long a server may take to start, on a machine that is busy.
const START: Duration = Duration::from_secs(30);

/// A `redis-server` of one's own: on a free port, with a password, in a
/// temporary directory, without persistence. It ends with this value.
///
/// The program is `MILLRACE_REDIS_SERVER` if set, else found in `PATH`.
#[derive(Debug)]
pub struct PrivateRedis {
    directory: TempDir,
    program: PathBuf,
    password: String,
    port: u16,
    child: Option<Child>,
}

impl PrivateRedis {
    /// Starts a server and waits until it answers.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it does not start.
    pub async fn start() -> Self {
        let mut server = Self {
            directory: TempDir::with_prefix("millrace-redis-").expect("the temp dir is writable"),
            program: program(),
            password: uuid::Uuid::now_v7().simple().to_string(),
            port: free_port(),
            child: None,
        };
        // Its port is free when it is chosen, but may be taken until it is bound.
        for _ in 0..5 {
            if server.launch().await.is_ok() {
                return server;
            }
            server.port = free_port();
        }
        panic!("redis-server does not start:\n{}", server.log());
    }

    /// How to connect to it. The same over stops and restarts.
    pub fn url(&self) -> String {
        format!(
            "redis://default:{}@127.0.0.1:{}/0",
            self.password, self.port
        )
    }

    /// Kills it, as a crash would: connections break, data is lost.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // `kill` fails only when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it and starts it again, empty, on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.stop();
        if let Err(reason) = self.launch().await {
            panic!(
                "redis-server does not start again: {reason}\n{}",
                self.log()
            );
        }
    }

    /// Freezes it: it takes connections and answers nothing, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Deletes all its data.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn flush(&self) {
        let mut connection = self.connection().await.expect("the server runs");
        let () = redis::cmd("FLUSHALL")
            .query_async(&mut connection)
            .await
            .expect("it flushes");
    }

    /// A connection to it, for a test that looks into it or prepares its data.
    pub async fn connection(&self) -> redis::RedisResult<MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        client.get_multiplexed_async_connection().await
    }

    async fn launch(&mut self) -> Result<(), String> {
        let directory = self.directory.path();
        let config = directory.join("redis.conf");
        let text = format!(
            "port {}\nbind 127.0.0.1\nrequirepass {}\nsave \"\"\nappendonly no\ndir {}\n",
            self.port,
            self.password,
            directory.display(),
        );
        fs::write(&config, text).map_err(|error| error.to_string())?;
        let log = fs::File::create(directory.join("redis.log")).map_err(|e| e.to_string())?;
        let child = dying_with_us(&self.program)
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        self.child = Some(child);

        let deadline = Instant::now() + START;
        loop {
            // The password makes sure that it is ours that answers.
            let answer = async {
                let mut connection = self.connection().await?;
                redis::cmd("PING")
                    .query_async::<String>(&mut connection)
                    .await
            };
            let failure = match answer.await {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            };
            let ended = self
                .child
                .as_mut()
                .is_some_and(|c| !matches!(c.try_wait(), Ok(None)));
            if ended || Instant::now() >= deadline {
                self.stop();
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the server runs");
        let pid = Pid::from_child(child);
        kill_process(pid, signal).expect("a child can be signalled until it is waited for");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `program`, which gets killed when our thread ends, if this system has
/// `setpriv`: a test run that is itself killed leaves nothing behind.
fn dying_with_us(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("MILLRACE_REDIS_SERVER") {
        return program.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("redis-server"))
        .find(|program| program.is_file())
        .expect(
            "no redis-server in PATH: run this test through `scripts/with-services cargo test …`",
        )
}
