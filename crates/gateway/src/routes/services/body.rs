//! A request's body that can be offered again, as long as nobody has begun to
//! read it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// Where the body lies until somebody reads it.
#[derive(Debug, Clone)]
pub struct Kept {
    slot: Arc<Mutex<Option<Body>>>,
    hint: SizeHint,
    empty: bool,
}

impl Kept {
    pub fn new(body: Body) -> Self {
        Self {
            hint: body.size_hint(),
            empty: body.is_end_stream(),
            slot: Arc::new(Mutex::new(Some(body))),
        }
    }

    /// Whether it can be sent once more, as a whole.
    pub fn is_whole(&self) -> bool {
        self.empty || self.lock().is_some()
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.empty
    }

    /// The body for one attempt.
    pub fn offer(&self) -> Offered {
        Offered {
            kept: self.clone(),
            taken: None,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Body>> {
        // Only moved in and out: whole whatever happened.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the body when it is first read.
#[derive(Debug)]
pub struct Offered {
    kept: Kept,
    taken: Option<Body>,
}

impl HttpBody for Offered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.taken.is_none() {
            let body = self.kept.lock().take();
            self.taken = body;
        }
        match &mut self.taken {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.taken {
            Some(body) => body.is_end_stream(),
            None => self.kept.empty,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.taken {
            Some(body) => body.size_hint(),
            None => self.kept.hint,
        }
    }
}
