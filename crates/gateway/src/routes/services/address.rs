use http::Uri;
use http::uri::PathAndQuery;

use crate::problem::Problem;

/// What a request is addressed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub project_key: String,
    pub service: String,
    /// What follows, as it was written; begins with `/`.
    pub rest: PathAndQuery,
}

impl Address {
    /// Reads `/services/{projectKey}/{service}/…`.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let unknown = || Problem::not_found(format!("There is nothing at `{}`.", uri.path()));
        let path = uri.path().strip_prefix("/services/").ok_or_else(unknown)?;
        let (project_key, path) = path.split_once('/').ok_or_else(unknown)?;
        let end = path.find('/').unwrap_or(path.len());
        let (service, rest) = path.split_at(end);
        // Names of either kind are written without anything to be decoded.
        if !is_name(project_key) || !is_name(service) {
            return Err(unknown());
        }
        let rest = if rest.is_empty() { "/" } else { rest };
        let rest = match uri.query() {
            Some(query) => format!("{rest}?{query}"),
            None => rest.to_owned(),
        };
        Ok(Self {
            project_key: project_key.to_owned(),
            service: service.to_owned(),
            rest: rest.parse().map_err(|_| unknown())?,
        })
    }

    /// What was taken off the front.
    pub fn prefix(&self) -> String {
        format!("/services/{}/{}", self.project_key, self.service)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_taken_off_and_the_rest_stays_as_it_was() {
        for (uri, rest) in [
            ("/services/TODO/tasks", "/"),
            ("/services/TODO/tasks/", "/"),
            ("/services/TODO/tasks/a%2Fb//c?x=%20&y", "/a%2Fb//c?x=%20&y"),
            ("/services/TODO/tasks?x=1", "/?x=1"),
            ("http://host/services/TODO/tasks/a", "/a"),
        ] {
            let address = Address::of(&uri.parse().unwrap()).unwrap();
            assert_eq!(address.rest.as_str(), rest, "{uri}");
            assert_eq!(address.prefix(), "/services/TODO/tasks");
        }
        for bad in [
            "/services/TODO",
            "/services/TODO/",
            "/services//tasks/",
            "/services/../tasks/",
            "/services/TO%44O/tasks/",
        ] {
            assert!(Address::of(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
