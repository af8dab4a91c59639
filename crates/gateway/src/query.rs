//! Query parameters, read one by one by their names. What nobody asked for
//! is refused: a mistyped filter would otherwise answer with everything.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;

use crate::problem::Problem;

/// The longest wait that a caller may ask for.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// The parameters of one request.
#[derive(Debug)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub fn of(uri: &'a Uri) -> Self {
        let text = uri.query().unwrap_or_default();
        Self(url::form_urlencoded::parse(text.as_bytes()).collect())
    }

    /// The value of `name`, which may be there once; empty counts as absent.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let mut found = None;
        let mut doubled = false;
        self.0.retain(|(key, value)| {
            let hit = key == name;
            if hit {
                doubled |= found.is_some();
                found = Some(value.clone().into_owned());
            }
            !hit
        });
        if doubled {
            return Err(Problem::parameter(
                name,
                format!("`{name}` is given more than once."),
            ));
        }
        // No text that is stored has one, and databases refuse it as a key.
        if found.as_ref().is_some_and(|value| value.contains('\0')) {
            return Err(Problem::parameter(
                name,
                format!("`{name}` must not contain the character U+0000."),
            ));
        }
        Ok(found.filter(|value| !value.is_empty()))
    }

    /// The value of `name`, which has to be the text of a `T`; handed on as
    /// it was written.
    pub fn parsed<T>(&mut self, name: &'static str) -> Result<String, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(text) = self.text(name)? else {
            return Ok(String::new());
        };
        match text.parse::<T>() {
            Ok(_) => Ok(text),
            Err(error) => Err(Problem::parameter(name, format!("`{name}`: {error}."))),
        }
    }

    /// `limit`, 1 to 1000; 50 when it is not given.
    pub fn limit(&mut self) -> Result<u32, Problem> {
        self.amount("limit")
    }

    /// How many of something, 1 to 1000; 50 when it is not given.
    pub fn amount(&mut self, name: &'static str) -> Result<u32, Problem> {
        match self.text(name)?.map(|text| text.parse::<u32>()) {
            None => Ok(50),
            Some(Ok(amount @ 1..=1000)) => Ok(amount),
            Some(_) => Err(Problem::parameter(
                name,
                format!("`{name}` has to be an integer from 1 to 1000."),
            )),
        }
    }

    /// `wait`, as `10s` or `PT10S`; `None` when it is not given.
    pub fn wait(&mut self) -> Result<Option<Duration>, Problem> {
        const NAME: &str = "wait";
        let given = self.0.iter().any(|(key, _)| key == NAME);
        let text = self.text(NAME)?;
        if !given {
            return Ok(None);
        }
        text.and_then(|text| text.parse::<jiff::SignedDuration>().ok())
            .and_then(|wait| Duration::try_from(wait).ok())
            .filter(|wait| *wait <= MAX_WAIT)
            .map(Some)
            .ok_or_else(|| {
                Problem::parameter(
                    NAME,
                    "`wait` has to be a duration such as 10s or PT10S, of at most 300 seconds.",
                )
            })
    }

    /// Refuses what has not been read.
    pub fn finish(self, known: &[&'static str]) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let known = if known.is_empty() {
                    "none".into()
                } else {
                    known.join(", ")
                };
                Err(Problem::invalid(format!(
                    "There is no query parameter `{name}` here; known: {known}."
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(query: &str) -> Result<Option<Duration>, Problem> {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        Query::of(&uri).wait()
    }

    #[test]
    fn waits_are_read_in_both_spellings() {
        assert_eq!(wait("").unwrap(), None);
        for (text, millis) in [
            ("10s", 10_000),
            ("PT10S", 10_000),
            ("250ms", 250),
            ("PT5M", 300_000),
        ] {
            let expected = Duration::from_millis(millis);
            assert_eq!(
                wait(&format!("wait={text}")).unwrap(),
                Some(expected),
                "{text}"
            );
        }
        for bad in [
            "wait",
            "wait=",
            "wait=10",
            "wait=-1s",
            "wait=PT5M1S",
            "wait=P1D",
            "wait=1s&wait=2s",
        ] {
            assert!(wait(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn limits_have_bounds() {
        let limit = |text: &str| Query::of(&format!("/x?{text}").parse().unwrap()).limit();
        assert_eq!(limit("").unwrap(), 50);
        assert_eq!(limit("limit=1000").unwrap(), 1000);
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=1&limit=2",
            "limit=%00",
        ] {
            assert!(limit(bad).is_err(), "{bad} was taken");
        }
    }
}
