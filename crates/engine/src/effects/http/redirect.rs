//! Where a redirect leads, and what goes along.

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::failure::HttpFailure;

/// A request as it goes over the wire, to be repeated by a redirect.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<bytes::Bytes>,
}

/// Whether the status asks to go elsewhere.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Request {
    /// The request that a redirect asks for. Credentials and our own tokens
    /// stay with the origin they were meant for.
    pub(super) fn redirected(
        mut self,
        status: StatusCode,
        location: Option<&HeaderValue>,
    ) -> Result<Self, HttpFailure> {
        let broken = |why: &str| HttpFailure::Redirect(why.to_owned());
        let location = location.ok_or_else(|| broken("there is no Location"))?;
        let location = location
            .to_str()
            .map_err(|_| broken("the Location is no text"))?;
        let url = self
            .url
            .join(location)
            .map_err(|_| broken("the Location is no URL"))?;
        let code = status.as_u16();
        let to_get = code == 303 && self.method != Method::HEAD
            || matches!(code, 301 | 302) && self.method == Method::POST;
        if to_get {
            self.method = Method::GET;
            self.body = None;
            self.headers.remove(header::CONTENT_TYPE);
        }
        if url.origin() != self.url.origin() {
            for name in [
                header::AUTHORIZATION,
                header::COOKIE,
                header::PROXY_AUTHORIZATION,
            ] {
                self.headers.remove(name);
            }
            self.headers.remove("millrace-fencing-token");
        }
        self.url = url;
        Ok(self)
    }
}
