//! Users of the host.

use std::io;

/// One of them, as `/etc/passwd` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

/// The user of this name.
pub(crate) fn find(name: &str) -> io::Result<User> {
    let text = std::fs::read_to_string("/etc/passwd")?;
    let found = text.lines().find_map(|line| parse(line, name));
    found.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no user `{name}`"),
        )
    })
}

/// Name, password, user, group, comment, home, shell.
fn parse(line: &str, name: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [_, _, uid, gid, _, home, ..] = fields[..] else {
        return None;
    };
    (fields[0] == name).then_some(User {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: home.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_a_user_is_and_where_it_is_at_home() {
        let line = "www:x:33:34:Web:/var/www:/usr/sbin/nologin";
        let www = User {
            uid: 33,
            gid: 34,
            home: "/var/www".into(),
        };
        assert_eq!(parse(line, "www"), Some(www));
        assert_eq!(parse(line, "ww"), None);
        assert_eq!(parse("www:x:33", "www"), None);
    }
}
