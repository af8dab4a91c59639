//! Git, for tests that need a repository.

use std::path::Path;
use std::process::Command;

/// Runs `git` in `folder`, with nobody's configuration; answers what it says.
///
/// # Panics
/// When there is no `git`, or it fails.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let done = Command::new("git")
        .args(["-c", "user.name=Author", "-c", "user.email=a@example.org"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {said}");
    let output = String::from_utf8(done.stdout).expect("git says UTF-8");
    output.trim().to_owned()
}
