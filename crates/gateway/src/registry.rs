//! Registers routes, and takes down which. One without an entry in the table
//! of access is answered 403, whoever calls: nobody said who may.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, any, on};
use millrace_service::access::table::{self, ANY};

use crate::Gateway;
use crate::problem::Problem;

/// A router in the making.
#[derive(Debug, Default)]
pub struct Registry {
    router: Router<Gateway>,
    registered: Vec<(&'static str, &'static str)>,
}

macro_rules! methods {
    ($($verb:ident $method:literal $filter:ident;)+) => {
        $(
            #[must_use]
            pub fn $verb<H, T>(self, path: &'static str, handler: H) -> Self
            where
                H: Handler<T, Gateway>,
                T: 'static,
            {
                let filter = MethodFilter::$filter;
                self.add($method, path, on(filter, handler), on(filter, no_rule))
            }
        )+
    };
}

impl Registry {
    methods! {
        get "GET" GET;
        post "POST" POST;
        patch "PATCH" PATCH;
        delete "DELETE" DELETE;
    }

    /// Whatever the method is.
    #[must_use]
    pub fn any<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Gateway>,
        T: 'static,
    {
        self.add(ANY, path, any(handler), any(no_rule))
    }

    fn add(
        mut self,
        method: &'static str,
        path: &'static str,
        handler: MethodRouter<Gateway>,
        without_entry: MethodRouter<Gateway>,
    ) -> Self {
        let handler = match table::of_route(method, path) {
            Some(_) => handler,
            None => without_entry,
        };
        self.registered.push((method, path));
        self.router = self.router.route(path, handler);
        self
    }

    /// The router, and what was registered: method (or [`ANY`]) and path.
    pub fn finish(self) -> (Router<Gateway>, Vec<(&'static str, &'static str)>) {
        (self.router, self.registered)
    }
}

async fn no_rule() -> Problem {
    Problem::forbidden("No rule says who may call this.")
}
