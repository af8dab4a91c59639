//! `--print-config`.

use std::fmt::Write as _;

use super::Loaded;
use super::settings::{KEYS, show};

/// Writing to a string cannot fail, hence the ignored results.
pub(super) fn to_toml(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut open = "";
    for key in KEYS {
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
