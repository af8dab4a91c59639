//! Webhook paths: `orders/{region}`, their shapes `orders/{}`, and how a
//! request's path finds the shapes that may hold it.

use std::collections::BTreeMap;

/// Segments in one path at most: a request's path is looked up as 2^n shapes.
const MAX_SEGMENTS: usize = 8;

/// Longest path in bytes.
const MAX_LENGTH: usize = 512;

/// A path that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebhookPath {
    /// As it was written, without slashes at the ends.
    pub path: String,
    /// With `{}` for each parameter.
    pub shape: String,
}

/// Reads a path pattern; the error is a sentence for its author.
pub(crate) fn read(written: &str) -> Result<WebhookPath, String> {
    let path = written.trim_matches('/');
    if path.is_empty() {
        return Err("a webhook path has at least one segment, such as `orders`".into());
    }
    if path.len() > MAX_LENGTH {
        return Err(format!("a webhook path has at most {MAX_LENGTH} bytes"));
    }
    let segments: Vec<&str> = path.split('/').collect();
    if segments.len() > MAX_SEGMENTS {
        return Err(format!(
            "a webhook path has at most {MAX_SEGMENTS} segments"
        ));
    }
    let mut names = Vec::new();
    let mut shape = Vec::new();
    for segment in segments {
        if let Some(name) = parameter(segment) {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("`{segment}` is not a parameter such as {{region}}"));
            }
            if names.contains(&name) {
                return Err(format!("the parameter `{name}` stands twice"));
            }
            names.push(name);
            shape.push("{}");
        } else if segment.is_empty() || matches!(segment, "." | "..") {
            return Err("a webhook path has no empty, `.` or `..` segments".into());
        } else if let Some(odd) = segment.chars().find(|c| !is_plain(*c)) {
            return Err(format!(
                "`{odd}` may not stand in a webhook path; use letters, digits and - . _ ~"
            ));
        } else {
            shape.push(segment);
        }
    }
    Ok(WebhookPath {
        path: path.to_owned(),
        shape: shape.join("/"),
    })
}

/// RFC 3986 "unreserved": what needs no percent-encoding.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~')
}

fn parameter(segment: &str) -> Option<&str> {
    segment
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
}

/// The shapes that may hold a request's path; empty when none can.
pub(crate) fn candidates(requested: &str) -> Vec<String> {
    let path = requested.trim_matches('/');
    let segments: Vec<&str> = path.split('/').collect();
    if path.is_empty() || path.len() > MAX_LENGTH || segments.len() > MAX_SEGMENTS {
        return Vec::new();
    }
    (0..1_u32 << segments.len())
        .map(|mask| {
            let parts: Vec<&str> = segments
                .iter()
                .enumerate()
                .map(|(i, s)| if mask & (1 << i) == 0 { *s } else { "{}" })
                .collect();
            parts.join("/")
        })
        .collect()
}

/// How specific a shape is: literal segments win from the left.
pub(crate) fn rank(shape: &str) -> Vec<bool> {
    shape.split('/').map(|segment| segment == "{}").collect()
}

/// The values of the parameters of `pattern` in a request's path, which comes
/// percent-decoded but for the slashes within a segment.
pub(crate) fn parameters(pattern: &str, requested: &str) -> BTreeMap<String, String> {
    pattern
        .split('/')
        .zip(requested.trim_matches('/').split('/'))
        .filter_map(|(segment, value)| {
            Some((parameter(segment)?.to_owned(), value.replace("%2F", "/")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_trimmed_and_shaped() {
        let path = read("/orders/{region}/").unwrap();
        assert_eq!(
            (path.path.as_str(), path.shape.as_str()),
            ("orders/{region}", "orders/{}")
        );
    }

    #[test]
    fn odd_paths_are_refused_with_a_reason() {
        let long = "x".repeat(600);
        for bad in [
            "",
            "/",
            "a//b",
            "a/../b",
            "a b",
            "a/{}",
            "{x}/{x}",
            "{a-b}",
            "a/b/c/d/e/f/g/h/i",
            "ä",
            &long,
        ] {
            assert!(read(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn candidates_hold_every_shape() {
        let mut shapes = candidates("/orders/eu");
        shapes.sort();
        assert_eq!(shapes, ["orders/eu", "orders/{}", "{}/eu", "{}/{}"]);
        assert!(candidates("a/b/c/d/e/f/g/h/i").is_empty());
        assert!(candidates("").is_empty());
    }

    #[test]
    fn literal_segments_win_from_the_left() {
        let mut shapes = ["{}/{}", "{}/eu", "orders/{}", "orders/eu"];
        shapes.sort_by_key(|s| rank(s));
        assert_eq!(shapes, ["orders/eu", "orders/{}", "{}/eu", "{}/{}"]);
    }

    #[test]
    fn a_slash_may_stand_within_a_parameter() {
        let values = parameters("orders/{region}", "orders/a b%2Fc");
        assert_eq!(values["region"], "a b/c");
        assert_eq!(parameters("o/{x}", "o/100%")["x"], "100%");
    }
}
