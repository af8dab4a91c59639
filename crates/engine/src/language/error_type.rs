//! The standard error types and their spellings.

/// Input or output does not fit its schema.
pub const VALIDATION: &str = "https://open-workflow-specification.org/spec/1.0.0/errors/validation";
/// An expression failed.
pub const EXPRESSION: &str = "https://open-workflow-specification.org/spec/1.0.0/errors/expression";
/// A task or the workflow took too long.
pub const TIMEOUT: &str = "https://open-workflow-specification.org/spec/1.0.0/errors/timeout";
/// Something outside could not be reached or answered with a failure.
pub const COMMUNICATION: &str =
    "https://open-workflow-specification.org/spec/1.0.0/errors/communication";
/// Credentials were refused or could not be had.
pub const AUTHENTICATION: &str =
    "https://open-workflow-specification.org/spec/1.0.0/errors/authentication";
/// Something may not be used, or a secret is not there.
pub const AUTHORIZATION: &str =
    "https://open-workflow-specification.org/spec/1.0.0/errors/authorization";
/// Anything else that went wrong while running.
pub const RUNTIME: &str = "https://open-workflow-specification.org/spec/1.0.0/errors/runtime";
/// Settings are missing or wrong.
pub const CONFIGURATION: &str =
    "https://open-workflow-specification.org/spec/1.0.0/errors/configuration";
/// Data is not what a task needs, beyond what its schema says.
pub const DATA: &str = "https://open-workflow-specification.org/spec/1.0.0/errors/data";

/// Whether two error types mean the same: equal, or two spellings of one
/// standard type. Documents in the wild write the language's old and its new
/// domain, and two paths on each.
pub fn same_error_type(a: &str, b: &str) -> bool {
    a == b || matches!((standard_name(a), standard_name(b)), (Some(a), Some(b)) if a == b)
}

/// The bare name, such as `timeout`, of a type on one of the language's
/// domains.
fn standard_name(type_: &str) -> Option<&str> {
    let rest = type_
        .strip_prefix("https://")
        .or_else(|| type_.strip_prefix("http://"))?;
    let (host, path) = rest.split_once('/')?;
    let known = ["open-workflow-specification.org", "serverlessworkflow.io"]
        .iter()
        .any(|domain| host.strip_prefix("www.").unwrap_or(host) == *domain);
    if !known {
        return None;
    }
    let name = path
        .strip_prefix("dsl/errors/types/")
        .or_else(|| path.strip_prefix("errors/types/"))
        .or_else(|| {
            let (version, rest) = path.strip_prefix("spec/")?.split_once('/')?;
            version.starts_with("1.0").then_some(())?;
            rest.strip_prefix("errors/")
        })?;
    let name = name.trim_end_matches('/');
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_standard_type_is_the_same() {
        let spellings = [
            COMMUNICATION,
            "https://serverlessworkflow.io/spec/1.0.0/errors/communication",
            "https://serverlessworkflow.io/dsl/errors/types/communication",
            "https://open-workflow-specification.org/dsl/errors/types/communication",
        ];
        for a in spellings {
            for b in spellings {
                assert!(same_error_type(a, b), "{a} and {b}");
            }
            assert!(!same_error_type(a, TIMEOUT), "{a}");
        }
    }

    #[test]
    fn types_of_others_are_compared_as_they_are() {
        assert!(same_error_type(
            "https://acme.com/errors/sold-out",
            "https://acme.com/errors/sold-out"
        ));
        assert!(!same_error_type(
            "https://acme.com/dsl/errors/types/timeout",
            "https://acme.com/spec/1.0.0/errors/timeout"
        ));
        assert!(!same_error_type("timeout", TIMEOUT));
    }
}
