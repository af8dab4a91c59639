use std::fmt;
use std::str::FromStr;

/// A version of Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl NodeVersion {
    /// What [`NodeVersion::serves_dataobjects`] asks for, in words.
    pub const NEEDED: &str = "Node 22.18 or newer is needed (of 23, 23.6).";

    /// Whether it strips types and has `node:sqlite` without being asked to.
    pub const fn serves_dataobjects(self) -> bool {
        match self.major {
            22 => self.minor >= 18,
            // Both came to 23 before they came back to 22.
            23 => self.minor >= 6,
            major => major >= 24,
        }
    }
}

impl fmt::Display for NodeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Reads `v24.1.0`, and what nightly builds add to it.
impl FromStr for NodeVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.strip_prefix('v').ok_or(())?;
        let text = text.split_once('-').map_or(text, |(release, _)| release);
        let mut numbers = text.split('.').map(str::parse);
        let mut next = || numbers.next().ok_or(())?.map_err(|_| ());
        let version = Self {
            major: next()?,
            minor: next()?,
            patch: next()?,
        };
        if numbers.next().is_some() {
            return Err(());
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_strip_types_is_told_from_what_cannot() {
        let serves = |text: &str| text.parse::<NodeVersion>().unwrap().serves_dataobjects();
        for old in ["v18.20.0", "v20.20.2", "v22.17.9", "v23.5.0"] {
            assert!(!serves(old), "{old}");
        }
        for new in ["v22.18.0", "v23.6.0", "v24.0.0", "v26.1.0-nightly2026"] {
            assert!(serves(new), "{new}");
        }
        for bad in ["", "24.0.0", "v24", "v24.1", "v24.1.0.0", "vx.1.0"] {
            assert!(bad.parse::<NodeVersion>().is_err(), "{bad}");
        }
    }
}
