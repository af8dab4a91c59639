//! Whole documents: what is read, and what is refused where.

mod accepted;
mod faults;
mod refused;
mod text;

use super::{Diagnostic, Parsed, Severity, parse};

/// The first five lines of a document; what a test adds starts on line 6.
const HEAD: &str = "\
document:
  dsl: 1.0.3
  namespace: shop
  name: order-intake
  version: 0.1.0
";

/// A document with these lines after its head.
fn with_head(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

fn accepted(text: &str) -> Parsed {
    match parse(text) {
        Ok(parsed) => parsed,
        Err(findings) => panic!("{}\n---\n{text}", listed(&findings)),
    }
}

fn listed(findings: &[Diagnostic]) -> String {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The errors of a document that is refused.
fn errors(text: &str) -> Vec<Diagnostic> {
    let findings = parse(text)
        .err()
        .unwrap_or_else(|| panic!("accepted:\n{text}"));
    findings
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect()
}
