//! Errors as the workflow language knows them.

use serde::{Deserialize, Serialize};

use crate::language::error_type;

/// The standard errors that the interpreter itself raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    Configuration,
    Validation,
    Expression,
    Authorization,
    Timeout,
    Communication,
    Runtime,
}

impl Standard {
    const fn uri(self) -> &'static str {
        match self {
            Self::Configuration => error_type::CONFIGURATION,
            Self::Validation => error_type::VALIDATION,
            Self::Expression => error_type::EXPRESSION,
            Self::Authorization => error_type::AUTHORIZATION,
            Self::Timeout => error_type::TIMEOUT,
            Self::Communication => error_type::COMMUNICATION,
            Self::Runtime => error_type::RUNTIME,
        }
    }

    /// The status that goes with it where no better one is known.
    const fn status(self) -> u16 {
        match self {
            Self::Configuration | Self::Validation | Self::Expression => 400,
            Self::Authorization => 403,
            Self::Timeout => 408,
            Self::Communication | Self::Runtime => 500,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration Error",
            Self::Validation => "Validation Error",
            Self::Expression => "Expression Error",
            Self::Authorization => "Authorization Error",
            Self::Timeout => "Timeout",
            Self::Communication => "Communication Error",
            Self::Runtime => "Runtime Error",
        }
    }
}

/// An error that a task raised: a problem of RFC 9457 whose `instance` is the
/// JSON pointer of the task in the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    pub instance: String,
}

impl Fault {
    /// A standard error at `instance`, with its usual status and title.
    pub fn new(standard: Standard, instance: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind: standard.uri().to_owned(),
            status: standard.status(),
            title: Some(standard.title().to_owned()),
            detail: Some(detail.into()),
            instance: instance.into(),
        }
    }

    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The error as JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text and integers are always JSON")
    }
}
