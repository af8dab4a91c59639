//! Who may call the listeners of a role.

use std::sync::{Arc, OnceLock};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_service::access::{Guard, KeyLookUp, KeyToken, LookUpFailed};
use millrace_service::config::Config;
use millrace_types::ApiKey;

use super::exposure::has_certificates;

/// The keys of a database, once that is open; listeners are there before.
#[derive(Debug, Clone, Default)]
pub struct Keys(Arc<OnceLock<Arc<dyn KeyLookUp>>>);

impl Keys {
    pub fn connect(&self, keys: impl KeyLookUp + 'static) {
        // There is one database in a process; a second connect changes nothing.
        let _ = self.0.set(Arc::new(keys));
    }
}

impl KeyLookUp for Keys {
    fn look_up<'a>(
        &'a self,
        token: &'a KeyToken,
    ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>> {
        match self.0.get() {
            Some(keys) => keys.look_up(token),
            None => {
                let starting = LookUpFailed("this process is starting".to_owned());
                std::future::ready(Err(starting)).boxed()
            }
        }
    }
}

/// Of a role that has a database.
pub fn guard(config: &Config, keys: &Keys) -> Guard {
    let keys = Arc::new(keys.clone());
    Guard::of_grpc(&config.auth, has_certificates(config), Some(keys))
}

/// Of one that has none, and is called by other roles only.
pub fn guard_of_engine(config: &Config) -> Guard {
    Guard::of_grpc(&config.auth, has_certificates(config), None)
}
