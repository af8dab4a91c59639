//! Until when a certificate is valid: the one thing about it that nothing else
//! here tells.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The end of the validity of a certificate in DER (RFC 5280, 4.1); `None`
/// when it cannot be found.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (signed, _) = expect(certificate, SEQUENCE)?;
    let (fields, _) = expect(signed, SEQUENCE)?;
    let fields = match element(fields)? {
        (VERSION, _, rest) => rest,
        _ => fields,
    };
    let (_serial, fields) = expect(fields, INTEGER)?;
    let (_algorithm, fields) = expect(fields, SEQUENCE)?;
    let (_issuer, fields) = expect(fields, SEQUENCE)?;
    let (validity, _) = expect(fields, SEQUENCE)?;
    let (_, _not_before, validity) = element(validity)?;
    let (tag, time, _) = element(validity)?;
    let time = std::str::from_utf8(time).ok()?;
    match tag {
        UTC_TIME => {
            // Two digits of the year: from 1950 to 2049.
            let century = if time.get(..2)? < "50" { "20" } else { "19" };
            instant(&format!("{century}{time}"))
        }
        GENERALIZED_TIME => instant(time),
        _ => None,
    }
}

/// `YYYYMMDDHHMMSSZ`
fn instant(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    match element(der)? {
        (found, content, rest) if found == tag => Some((content, rest)),
        _ => None,
    }
}

/// The first element: its tag, its content, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, der) = der.split_first()?;
    let (&first, der) = der.split_first()?;
    let (length, der) = if first < 0x80 {
        (usize::from(first), der)
    } else {
        let (bytes, der) = der.split_at_checked(usize::from(first & 0x7f))?;
        // Certificates are read from files of a megabyte at most.
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        let length = bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        (length, der)
    };
    let (content, rest) = der.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(year: i32, month: u8, day: u8) -> Option<Timestamp> {
        let mut parameters = rcgen::CertificateParams::new(["peer".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        let key = rcgen::KeyPair::generate().unwrap();
        not_after(parameters.self_signed(&key).unwrap().der())
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        let at = |text: &str| Some(text.parse().unwrap());
        assert_eq!(ends(2031, 4, 5), at("2031-04-05T00:00:00Z"));
        assert_eq!(ends(2049, 12, 31), at("2049-12-31T00:00:00Z"));
        assert_eq!(ends(2050, 1, 1), at("2050-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"hello"] {
            assert_eq!(not_after(bytes), None);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(["peer".to_owned()]).unwrap();
        let whole = parameters.self_signed(&key).unwrap();
        for length in 0..100 {
            assert_eq!(not_after(&whole.der()[..length]), None);
        }
    }
}
