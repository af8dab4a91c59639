//! Users of the host.

use std::io;

/// The identifiers of user and group in `/etc/passwd`.
pub(crate) fn find(name: &str) -> io::Result<(u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd")?;
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            if fields.next()? != name {
                return None;
            }
            let user = fields.nth(1)?.parse().ok()?;
            Some((user, fields.next()?.parse().ok()?))
        })
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no user `{name}`"),
            )
        })
}
