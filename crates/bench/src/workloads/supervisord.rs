//! supervisord, driven through its XML-RPC.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::{Captured, Context, PATIENCE, Program, Supervisor};

/// Why it cannot be compared with.
pub fn missing(program: &Path) -> Option<String> {
    let ran = std::process::Command::new(program)
        .arg("--version")
        .output();
    match ran {
        Ok(ran) if ran.status.success() => None,
        Ok(ran) => Some(format!("{} --version: {}", program.display(), ran.status)),
        Err(error) => Some(format!(
            "{}: {error} (Debian: apt-get install supervisor)",
            program.display()
        )),
    }
}

#[derive(Debug)]
pub struct Supervisord {
    folder: PathBuf,
    daemon: Child,
}

impl Supervisord {
    async fn call(&self, method: &str, parameters: &str) -> io::Result<String> {
        let body = format!(
            "<?xml version=\"1.0\"?><methodCall><methodName>supervisor.{method}</methodName>\
             <params>{parameters}</params></methodCall>"
        );
        let request = format!(
            "POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = UnixStream::connect(self.folder.join("rpc")).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        if answer.contains(" 200 ") && !answer.contains("<fault>") {
            return Ok(answer);
        }
        Err(io::Error::other(answer))
    }

    fn log(&self, program: &str) -> PathBuf {
        self.folder.join(format!("{program}.out"))
    }
}

/// In its configuration, a percent sign begins an expression.
fn quoted(argv: &[String]) -> String {
    let words = argv
        .iter()
        .map(|word| format!("'{}'", word.replace('%', "%%")));
    words.collect::<Vec<_>>().join(" ")
}

fn configuration(folder: &Path, programs: &[Program]) -> String {
    let at = folder.display();
    // Descriptors and processes that it asks the system for at its start.
    let mut text = format!(
        "[unix_http_server]\nfile={at}/rpc\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisord]\nnodaemon=true\nlogfile={at}/log\npidfile={at}/pid\nminfds={}\n",
        programs.len() * 6 + 256
    );
    for program in programs {
        let name = &program.name;
        let command = quoted(&program.argv);
        // Without `startsecs` it would wait a second to call it running.
        let _ = write!(
            text,
            "[program:{name}]\ncommand={command}\nautostart=false\nautorestart=true\nstartsecs=0\n\
             stdout_logfile={at}/{name}.out\nstdout_logfile_maxbytes=0\n\
             stderr_logfile={at}/{name}.err\nstderr_logfile_maxbytes=0\n"
        );
    }
    text
}

impl Supervisor for Supervisord {
    const NAME: &'static str = "supervisord";

    async fn up(context: &Context<'_>, programs: &[Program]) -> io::Result<Self> {
        let folder = context.folder.join("supervisord");
        fs::create_dir(&folder)?;
        let file = folder.join("conf");
        fs::write(&file, configuration(&folder, programs))?;
        let daemon = Command::new(&context.options.supervisord)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let supervisord = Self { folder, daemon };
        let answers = async {
            while supervisord.call("getState", "").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers)
            .await
            .map_err(|_| io::Error::other("supervisord did not come up"))?;
        Ok(supervisord)
    }

    async fn start(&mut self) -> io::Result<()> {
        let wait = "<param><value><boolean>1</boolean></value></param>";
        self.call("startAllProcesses", wait).await.map(|_| ())
    }

    fn captured(&self, program: &str, _: u64, bytes: u64) -> io::Result<Captured> {
        let is = fs::metadata(self.log(program))?.len();
        Ok(Captured { is, wanted: bytes })
    }

    fn daemon(&self) -> io::Result<u32> {
        let pid = self.daemon.id();
        pid.ok_or_else(|| io::Error::other("supervisord has ended"))
    }

    async fn down(mut self) -> io::Result<()> {
        self.call("shutdown", "").await?;
        tokio::time::timeout(PATIENCE, self.daemon.wait())
            .await
            .map_err(|_| io::Error::other("supervisord did not stop in time"))??;
        Ok(())
    }
}

impl Drop for Supervisord {
    /// Where it was not taken down in order, it stops all that it runs.
    fn drop(&mut self) {
        if let Some(pid) = self.daemon.id().and_then(|id| i32::try_from(id).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}
