//! What is said on the socket: lines of text. It stays the same from one
//! version to the next, since a shim outlives the orchestrator that began it.
//!
//! The shim says what the state is when somebody connects, and with each
//! change: `starting`, `running PID SHIM BEGAN`, `failed ERRNO MESSAGE`,
//! `exited CODE SIGNAL AT LOST`. It is asked: `signal N`, `stop N GRACE_MS`,
//! `stage N`; before that, where the launch file has a key, `key HEX`: it is
//! read by whoever may, and not by a program that is confined. What a shim
//! does not know it ignores.

use std::fmt;

/// The state of an instance, as its shim sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Starting,
    Running {
        pid: u32,
        /// The shim's own.
        shim: u32,
        /// When the program began: ticks since the machine did.
        began: u64,
    },
    /// The program could not be started.
    Failed {
        errno: i32,
        message: String,
    },
    Exited(Exit),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Microseconds since 1970.
    pub at: i64,
    /// Lines at the end that could not be written to the log.
    pub lost: u64,
}

impl State {
    /// Whether nothing comes after it.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Exited(_))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Running { pid, shim, began } => write!(f, "running {pid} {shim} {began}"),
            Self::Failed { errno, message } => {
                write!(f, "failed {errno} {}", message.replace('\n', " "))
            }
            Self::Exited(exit) => {
                let code = exit.code.unwrap_or(-1);
                let signal = exit.signal.unwrap_or(0);
                write!(f, "exited {code} {signal} {} {}", exit.at, exit.lost)
            }
        }
    }
}

/// Reads a line without its newline.
pub fn parse_state(line: &str) -> Option<State> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut fields = rest.split(' ');
    match word {
        "starting" => Some(State::Starting),
        "running" => Some(State::Running {
            pid: fields.next()?.parse().ok()?,
            shim: fields.next()?.parse().ok()?,
            began: fields.next()?.parse().ok()?,
        }),
        "failed" => {
            let (errno, message) = rest.split_once(' ')?;
            Some(State::Failed {
                errno: errno.parse().ok()?,
                message: message.to_owned(),
            })
        }
        "exited" => {
            let code: i32 = fields.next()?.parse().ok()?;
            let signal: i32 = fields.next()?.parse().ok()?;
            Some(State::Exited(Exit {
                code: Some(code).filter(|code| *code >= 0),
                signal: Some(signal).filter(|signal| *signal > 0),
                at: fields.next()?.parse().ok()?,
                lost: fields.next()?.parse().ok()?,
            }))
        }
        _ => None,
    }
}

/// What a shim is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Send this signal to the whole tree.
    Signal(i32),
    /// Send this signal to the whole tree, and kill what is left of it after
    /// so many milliseconds.
    Stop { signal: i32, grace_ms: u64 },
    /// What is written from now on belongs to this stage of the log.
    Stage(u8),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Stop { signal, grace_ms } => write!(f, "stop {signal} {grace_ms}"),
            Self::Stage(stage) => write!(f, "stage {stage}"),
        }
    }
}

/// The line, without its newline, of one who may ask for something.
pub fn key_line(key: u128) -> String {
    format!("key {key:032x}")
}

/// Reads a line without its newline.
pub fn parse_request(line: &str) -> Option<Request> {
    let mut fields = line.split(' ');
    let word = fields.next()?;
    let number = fields.next()?;
    match word {
        "signal" => Some(Request::Signal(number.parse().ok()?)),
        "stop" => Some(Request::Stop {
            signal: number.parse().ok()?,
            grace_ms: fields.next()?.parse().ok()?,
        }),
        "stage" => Some(Request::Stage(number.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for state in [
            State::Starting,
            State::Running {
                pid: 1,
                shim: 2,
                began: 3,
            },
            State::Failed {
                errno: 2,
                message: "no such file".into(),
            },
            State::Exited(Exit {
                code: Some(7),
                signal: None,
                at: 5,
                lost: 0,
            }),
            State::Exited(Exit {
                code: None,
                signal: Some(9),
                at: 5,
                lost: 3,
            }),
        ] {
            assert_eq!(parse_state(&state.to_string()), Some(state));
        }
        for request in [
            Request::Signal(1),
            Request::Stop {
                signal: 15,
                grace_ms: 10_000,
            },
            Request::Stage(3),
        ] {
            assert_eq!(parse_request(&request.to_string()), Some(request));
        }
        assert_eq!(parse_state("something new 1 2"), None);
        assert_eq!(parse_request("something new"), None);
    }
}
