//! What tests start is made to outlive its parent. When a test is killed, or
//! has failed, somebody else has to end it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Reads folders, line by line, until whoever writes them is gone; then kills
/// every process that has one of them in its environment or its arguments, as
/// often as there are some. It has them in neither itself.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
folders=
while read -r folder; do
  case $folder in /*/?*) folders="$folders$folder
" ;; esac
done
[ -n "$folders" ] || exit 0
for round in 1 2 3 4 5; do
  found=$(printf '%s' "$folders" | grep -slaFf - /proc/[0-9]*/environ /proc/[0-9]*/cmdline)
  [ -n "$found" ] || exit 0
  for file in $found; do
    process=${file#/proc/}
    kill -9 "${process%%/*}" 2>/dev/null
  done
  sleep 0.1
done
"#;

/// The guard of this process; its input ends with this process.
static GUARD: OnceLock<Mutex<Child>> = OnceLock::new();

/// Once this process has ended, however it did, whatever runs in `folder` or
/// with it is killed: for folders of a test's own, with names that nobody else
/// has.
///
/// # Panics
/// When there is no `sh`, or `folder` is not within the one for temporary files.
pub fn guard(folder: &Path) {
    let temporary = std::env::temp_dir();
    assert!(
        folder.is_absolute() && folder.starts_with(&temporary) && folder != temporary,
        "{} is not only this test's",
        folder.display()
    );
    let guard = GUARD.get_or_init(|| {
        // Nobody waits for it: it is there for when nobody is left.
        let child = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C is for the tests, not for who cleans up after them.
            .process_group(0)
            .spawn();
        Mutex::new(child.expect("sh runs"))
    });
    let mut guard = guard.lock().unwrap_or_else(PoisonError::into_inner);
    let input = guard.stdin.as_mut().expect("its input is a pipe");
    writeln!(input, "{}", folder.display()).expect("the guard listens");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of the test below that is killed.
    #[test]
    fn a_process_that_is_guarded() {
        let Ok(folder) = std::env::var("MILLRACE_GUARDED") else {
            return;
        };
        // Only its children are to be found, not this process.
        let folder = Path::new(&folder).join("inner");
        guard(&folder);
        let sleeper = Command::new("sleep")
            .arg("1000")
            .env("FOLDER", &folder)
            .process_group(0)
            .spawn();
        println!("\nsleeper {}", sleeper.unwrap().id());
        // Ends without an end of its own, as if it were killed.
        std::process::abort();
    }

    #[test]
    fn what_a_killed_test_has_started_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let killed = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "guard::tests::a_process_that_is_guarded",
                "--nocapture",
            ])
            .env("MILLRACE_GUARDED", folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(killed.stdout).unwrap();
        let sleeper: u32 = said
            .lines()
            .find_map(|line| line.strip_prefix("sleeper "))
            .unwrap()
            .parse()
            .unwrap();
        let is_there = || Path::new(&format!("/proc/{sleeper}")).exists();
        let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while is_there() {
            assert!(std::time::Instant::now() < deadline, "{sleeper} is left");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
