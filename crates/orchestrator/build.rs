//! Compiles the shim into an executable of its own, which the orchestrator
//! carries with it. Starting the whole binary again in its place would cost
//! megabytes of relocated memory for each instance; this one is small and
//! static, and shares its pages.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../shim/src");
    println!("cargo::rerun-if-changed={}", source.display());
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let library = out.join("libmillrace_shim.rlib");
    let executable = out.join("millrace-shim");
    let compile = Compile::new()?;
    compile.run(&source.join("lib.rs"), &library, |rustc| {
        rustc.args(["--crate-type", "rlib", "--crate-name", "millrace_shim"]);
    })?;
    let link = |rustc: &mut Command| {
        let mut shim = std::ffi::OsString::from("millrace_shim=");
        shim.push(&library);
        rustc.arg("--extern").arg(shim);
        rustc.args(["--crate-type", "bin", "--crate-name", "millrace_shim_main"]);
    };
    let main = source.join("main.rs");
    let statically = compile.run(&main, &executable, |rustc| {
        link(rustc);
        rustc.args(["-C", "target-feature=+crt-static"]);
    });
    // Some linkers make static executables that do not run.
    let statically = statically.and_then(|()| try_out(&executable));
    if let Err(error) = statically {
        // Without a static C library it is somewhat larger in memory.
        println!("cargo::warning=the shim is linked dynamically: {error}");
        compile.run(&main, &executable, link)?;
    }
    println!("cargo::rustc-env=MILLRACE_SHIM={}", executable.display());
    Ok(())
}

/// Without arguments, it says how it is used. Another machine's is not tried.
fn try_out(executable: &Path) -> Result<(), Box<dyn std::error::Error>> {
    if std::env::var("HOST")? != std::env::var("TARGET")? {
        return Ok(());
    }
    let done = Command::new(executable).output()?;
    match done.status.code() {
        Some(2) => Ok(()),
        _ => Err(format!("it does not run: {}", done.status).into()),
    }
}

struct Compile {
    rustc: String,
    target: String,
    linker: Option<String>,
}

impl Compile {
    fn new() -> Result<Self, std::env::VarError> {
        Ok(Self {
            rustc: std::env::var("RUSTC")?,
            target: std::env::var("TARGET")?,
            linker: std::env::var("RUSTC_LINKER").ok(),
        })
    }

    fn run(
        &self,
        source: &Path,
        output: &Path,
        arguments: impl Fn(&mut Command),
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut rustc = Command::new(&self.rustc);
        rustc.args(["--edition", "2024", "--target", &self.target]);
        rustc.args([
            "-C",
            "opt-level=3",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
        ]);
        if let Some(linker) = &self.linker {
            rustc.arg("-C").arg(format!("linker={linker}"));
        }
        arguments(&mut rustc);
        let done = rustc.arg("-o").arg(output).arg(source).output()?;
        if done.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&done.stderr).into())
    }
}
