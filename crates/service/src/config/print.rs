//! `--print-config`.

use std::fmt::Write as _;

use super::Loaded;
use super::settings::{KEYS, show};

/// Writing to a string cannot fail, hence the ignored results.
pub(super) fn to_toml(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut open = "";
    // A table may be opened only once.
    let first = |of: &str| KEYS.iter().position(|key| section(key) == of);
    let mut keys: Vec<&str> = KEYS.to_vec();
    keys.sort_by_key(|key| first(section(key)));
    for key in keys {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        if section != open {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{section}]");
            open = section;
        }
        let origin = loaded.origin(key);
        let _ = match show(&loaded.config, key) {
            Some(value) => writeln!(text, "{name} = {value}  # {origin}"),
            None => writeln!(text, "# {name} is not set"),
        };
    }
    text
}

fn section(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(section, _)| section)
}
