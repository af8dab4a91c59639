//! Errors over gRPC: an [`ErrorKind`], a sentence, and findings with their
//! places, carried in the status' details and read back on the other side.

use millrace_types::ErrorKind;
use prost::Message as _;
use tonic::{Code, Status};

use crate::runtime::v1::{ErrorDetail, Violation};

/// What clients of every language look for in `grpc-status-details-bin`:
/// `google.rpc.Status`, declared here by its field numbers since that is all
/// of it that is used.
#[derive(Clone, PartialEq, prost::Message)]
struct RichStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

const DETAIL_TYPE: &str = "type.googleapis.com/millrace.runtime.v1.ErrorDetail";

/// What went wrong at one place of a request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// JSON pointer into the body; empty for the whole of it.
    pub pointer: String,
    /// 1-based; 0 when unknown.
    pub line: u32,
    /// 1-based; 0 when unknown.
    pub column: u32,
    pub message: String,
}

/// An error as it crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: ErrorKind,
    /// For the caller: says what is wrong and how to mend it.
    pub message: String,
    /// A stable word for programs, such as "stale-trigger"; may be empty.
    pub reason: String,
    pub findings: Vec<Finding>,
}

impl Failure {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            reason: String::new(),
            findings: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    #[must_use]
    pub fn with_findings(mut self, findings: Vec<Finding>) -> Self {
        self.findings = findings;
        self
    }
}

/// The table: kinds to gRPC codes.
pub const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::Precondition => Code::FailedPrecondition,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The same table backwards, for statuses without our detail.
pub const fn kind(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists | Code::Aborted => ErrorKind::Conflict,
        Code::FailedPrecondition => ErrorKind::Precondition,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::Unavailable | Code::Cancelled => ErrorKind::Unavailable,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::Unimplemented => ErrorKind::Unimplemented,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => ErrorKind::Internal,
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let detail = ErrorDetail {
            kind: failure.kind.as_str().to_owned(),
            reason: failure.reason,
            violations: failure
                .findings
                .into_iter()
                .map(|f| Violation {
                    pointer: f.pointer,
                    line: f.line,
                    column: f.column,
                    message: f.message,
                })
                .collect(),
        };
        let code = code(failure.kind);
        let rich = RichStatus {
            code: code.into(),
            message: failure.message.clone(),
            details: vec![Any {
                type_url: DETAIL_TYPE.to_owned(),
                value: detail.encode_to_vec(),
            }],
        };
        Self::with_details(code, failure.message, rich.encode_to_vec().into())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let mut failure = Self::new(kind(status.code()), status.message());
        let rich = RichStatus::decode(status.details()).unwrap_or_default();
        let ours = rich.details.iter().find(|any| any.type_url == DETAIL_TYPE);
        if let Some(any) = ours
            && let Ok(detail) = ErrorDetail::decode(any.value.as_slice())
        {
            failure.reason = detail.reason;
            failure.findings = detail
                .violations
                .into_iter()
                .map(|v| Finding {
                    pointer: v.pointer,
                    line: v.line,
                    column: v.column,
                    message: v.message,
                })
                .collect();
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for kind in ErrorKind::ALL {
            let failure = Failure::new(*kind, "what is wrong")
                .with_reason("why")
                .with_findings(vec![Finding {
                    pointer: "/do/0".into(),
                    line: 3,
                    column: 5,
                    message: "mend it".into(),
                }]);
            assert_eq!(Failure::from(Status::from(failure.clone())), failure);
        }
    }

    #[test]
    fn details_are_read_by_clients_that_know_only_the_standard() {
        let status = Status::from(Failure::new(ErrorKind::Conflict, "taken"));
        let rich = RichStatus::decode(status.details()).unwrap();
        assert_eq!((rich.code, rich.message.as_str()), (6, "taken"));
        assert_eq!(rich.details.len(), 1);
        assert!(
            rich.details[0]
                .type_url
                .ends_with("/millrace.runtime.v1.ErrorDetail")
        );
    }

    #[test]
    fn a_foreign_status_is_understood_by_its_code() {
        let failure = Failure::from(Status::new(Code::NotFound, "gone"));
        assert_eq!(failure, Failure::new(ErrorKind::NotFound, "gone"));
    }

    #[test]
    fn reflection_has_all_three_services() {
        let set = String::from_utf8_lossy(crate::FILE_DESCRIPTOR_SET);
        for name in [
            "millrace.runtime.v1",
            "millrace.engine.v1",
            "millrace.orchestrator.v1",
        ] {
            assert!(set.contains(name), "{name} is missing");
        }
    }
}
