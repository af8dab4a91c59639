//! The migrations are built into the crate: a new file there is a new build.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/postgres");
}
