//! Problem details (RFC 9457) as people read them.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;

use super::table::printable;

/// A refusal of the server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    title: Option<String>,
    status: Option<u16>,
    detail: Option<String>,
    errors: Vec<Finding>,
    /// The file that the findings are about, where there is one.
    #[serde(skip)]
    file: Option<String>,
    /// What to do about it, in a line of its own.
    #[serde(skip)]
    hint: Option<&'static str>,
}

/// One place that is wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Finding {
    pointer: Option<String>,
    line: Option<u64>,
    column: Option<u64>,
    message: String,
}

impl Problem {
    /// From an answer's body; a body of another kind still yields its status.
    pub fn parse(status: StatusCode, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.status.get_or_insert(status.as_u16());
        if problem.title.is_none() && problem.detail.is_none() {
            problem.title = Some(status.canonical_reason().unwrap_or("refused").to_owned());
        }
        problem
    }

    /// Says what to do about it.
    #[must_use]
    pub const fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Says which file the findings are about.
    #[must_use]
    pub fn about(mut self, file: String) -> Self {
        self.file = Some(file);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (&self.title, &self.detail) {
            (Some(title), Some(detail)) if title != detail => format!("{title}: {detail}"),
            (_, Some(detail)) => detail.clone(),
            (title, None) => title.clone().unwrap_or_default(),
        };
        f.write_str(&printable(&what))?;
        if let Some(status) = self.status {
            write!(f, " ({status})")?;
        }
        for finding in &self.errors {
            f.write_str("\n")?;
            finding.write(f, self.file.as_deref())?;
        }
        if let Some(hint) = self.hint {
            write!(f, "\n{hint}")?;
        }
        Ok(())
    }
}

impl Finding {
    /// `FILE:LINE:COLUMN POINTER MESSAGE`, as far as each is known.
    fn write(&self, f: &mut fmt::Formatter<'_>, file: Option<&str>) -> fmt::Result {
        let known = |number: Option<u64>| number.filter(|number| *number > 0);
        let mut place = file.map(str::to_owned).into_iter().collect::<Vec<_>>();
        place.extend(known(self.line).map(|line| line.to_string()));
        place.extend(
            known(self.line)
                .and(known(self.column))
                .map(|column| column.to_string()),
        );
        let pointer = self
            .pointer
            .as_deref()
            .filter(|pointer| !pointer.is_empty());
        let words: Vec<String> = [
            (!place.is_empty()).then(|| place.join(":")),
            pointer.map(printable),
            Some(printable(&self.message)),
        ]
        .into_iter()
        .flatten()
        .collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines_that_editors_can_jump_to() {
        let body = br#"{"type":"about:blank","title":"Invalid workflow","status":400,
            "detail":"the workflow cannot be deployed","errors":[
            {"pointer":"/do/0/set","line":7,"column":3,"message":"unknown key `thne`"},
            {"pointer":"/triggers/0/path","line":0,"column":0,"message":"it is taken"},
            {"message":"and so on"}]}"#;
        let problem = Problem::parse(StatusCode::BAD_REQUEST, body).about("a.yaml".into());
        assert_eq!(
            problem.to_string(),
            "Invalid workflow: the workflow cannot be deployed (400)\n\
             a.yaml:7:3 /do/0/set unknown key `thne`\n\
             a.yaml /triggers/0/path it is taken\n\
             a.yaml and so on"
        );
    }

    #[test]
    fn an_answer_that_is_no_problem_still_says_its_status() {
        let problem = Problem::parse(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(problem.to_string(), "Bad Gateway (502)");
    }
}
