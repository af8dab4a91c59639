//! Workloads as live processes, through the contract.

mod git;
mod harness;
mod jobs;
mod life;
mod limits;
mod logs;
mod memory;
mod projects;
mod replace;
mod storm;
