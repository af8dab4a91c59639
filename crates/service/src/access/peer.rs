//! What a connection proves about its other side.

/// Among the extensions of every request whose connection was opened with a
/// client certificate that `tls.ca` vouches for: the caller is another role of
/// this installation.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedPeer;
