//! Reading the members of the generic HMAC.

use std::time::Duration;

use serde_json::Value;

use super::Fields;
use crate::spec::{Algorithm, Encoding, HmacScheme, SignedTime, Template};

/// Default and bound of a generic scheme's tolerance, in seconds.
const TOLERANCE: u64 = 300;
const MAX_TOLERANCE: u64 = 3600;

impl Fields<'_> {
    pub(super) fn hmac(&mut self) -> Option<HmacScheme> {
        let header = self.header("header");
        if !self.members.contains_key("header") {
            self.fault(
                "header",
                "is missing; name the header with the signature, such as \"X-Signature\"",
            );
        }
        let algorithm = self.one_of("algorithm", &Algorithm::ALL);
        let encoding = self.one_of("encoding", &Encoding::ALL);
        let prefix = self.text("prefix").unwrap_or_default();
        if !prefix.bytes().all(|b| matches!(b, b' '..=b'~')) || prefix.trim_start() != prefix {
            self.fault(
                "prefix",
                "must be printable ASCII and not begin with a space",
            );
        }
        let written = self.text("template").unwrap_or("{body}");
        let template = Template::parse(written)
            .map_err(|why| self.fault("template", why))
            .ok();
        let timestamp = self.signed_time(template.as_ref());
        if let (Some(time), Some(header)) = (&timestamp, &header)
            && time.header == *header
        {
            self.fault("timestampHeader", "must differ from `header`");
        }
        Some(HmacScheme {
            header: header?,
            algorithm: algorithm?,
            encoding: encoding?,
            prefix: prefix.to_owned(),
            template: template?,
            timestamp,
        })
    }

    fn signed_time(&mut self, template: Option<&Template>) -> Option<SignedTime> {
        let header = self.header("timestampHeader");
        let tolerance = self.tolerance();
        let named = self.members.contains_key("timestampHeader");
        match template.map(Template::signs_time) {
            Some(true) if !named => self.fault(
                "timestampHeader",
                "is missing; name the header that {timestamp} stands for",
            ),
            Some(false) if named => self.fault(
                "template",
                "must contain {timestamp}: a time that is not signed can be exchanged",
            ),
            _ => {}
        }
        if self.members.contains_key("tolerance") && !named {
            self.fault("tolerance", "needs a `timestampHeader`");
        }
        Some(SignedTime {
            header: header?,
            tolerance: tolerance?,
        })
    }

    fn tolerance(&mut self) -> Option<Duration> {
        let seconds = match self.get("tolerance") {
            None => Some(TOLERANCE),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text
                .parse::<jiff::SignedDuration>()
                .ok()
                .filter(|time| time.subsec_nanos() == 0)
                .and_then(|time| u64::try_from(time.as_secs()).ok()),
            Some(_) => None,
        };
        let seconds = seconds.filter(|s| (1..=MAX_TOLERANCE).contains(s));
        if seconds.is_none() {
            self.fault(
                "tolerance",
                format!("must be 1 to {MAX_TOLERANCE} whole seconds, such as 300 or \"PT5M\""),
            );
        }
        seconds.map(Duration::from_secs)
    }
}
