use std::path::Path;
use std::time::Duration;

use crate::spec::ServiceSpec;

/// What is run to build a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub command: Vec<String>,
    /// As people would write the command.
    pub title: String,
    /// Glob patterns; empty for every file of the folder.
    pub inputs: Vec<String>,
    pub timeout: Duration,
}

impl Plan {
    /// None when there is nothing to build: no `build.command`, and no
    /// `package.json` either.
    pub fn of(spec: &ServiceSpec, dir: &Path) -> Option<Self> {
        let build = spec.build.clone().unwrap_or_default();
        let there = |name: &str| dir.join(name).is_file();
        let (command, inputs) = if let Some(command) = build.command {
            (command.0, build.inputs)
        } else if there("package.json") {
            let locked = there("package-lock.json") || there("npm-shrinkwrap.json");
            let verb = if locked { "ci" } else { "install" };
            let npm = ["npm", verb, "--no-audit", "--no-fund"].map(str::to_owned);
            // Nothing else decides what npm installs.
            let decide = [
                "package.json",
                "package-lock.json",
                "npm-shrinkwrap.json",
                ".npmrc",
            ];
            let inputs = if build.inputs.is_empty() {
                decide.map(str::to_owned).into()
            } else {
                build.inputs
            };
            (npm.into(), inputs)
        } else {
            return None;
        };
        let title = match command.as_slice() {
            [sh, dash_c, text] if sh == "sh" && dash_c == "-c" => text.clone(),
            words => words.join(" "),
        };
        Some(Self {
            command,
            title,
            inputs,
            timeout: build.timeout,
        })
    }
}
