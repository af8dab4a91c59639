//! The migrations are built into the binary: a new one asks for a new build.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations/sqlite");
}
