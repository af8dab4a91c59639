//! The suite over the Redis locks, on a real server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use millrace_locks::conformance::Subject;
use millrace_locks::{DistributedLockManager, Lease, RedisLocks, RedisLocksConfig, RedisRates};
use millrace_testkit::{eventually_eq, redis_url};

/// Two managers on the shared server, with a prefix of their own.
#[derive(Debug)]
struct OnRedis {
    config: RedisLocksConfig,
    here: Arc<RedisLocks>,
    there: Arc<RedisLocks>,
}

impl OnRedis {
    fn new() -> Self {
        let prefix = format!("test-{}", uuid::Uuid::now_v7().simple());
        // The deadline is not what is tested here; a busy machine gets its time.
        let timeout = Duration::from_secs(20);
        let config = RedisLocksConfig {
            prefix,
            timeout,
            ..RedisLocksConfig::new(redis_url())
        };
        let locks = || Arc::new(RedisLocks::new(&config).unwrap());
        Self {
            here: locks(),
            there: locks(),
            config,
        }
    }
}

#[async_trait]
impl Subject for OnRedis {
    fn locks(&self) -> Arc<dyn DistributedLockManager> {
        self.here.clone()
    }

    fn elsewhere(&self) -> Arc<dyn DistributedLockManager> {
        self.there.clone()
    }

    async fn until_expired(&self, lease: &Lease) {
        let client = redis::Client::open(self.config.url.as_str()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let name = format!("{{{}}}:lock:{}", self.config.prefix, lease.key());
        eventually_eq(Duration::from_secs(20), 0, || async {
            let mut connection = connection.clone();
            redis::cmd("EXISTS")
                .arg(&name)
                .query_async::<i64>(&mut connection)
                .await
                .unwrap()
        })
        .await;
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

millrace_locks::conformance_suite!(OnRedis::new());

#[tokio::test]
async fn two_processes_take_from_one_rate() {
    let config = OnRedis::new().config;
    let rates = [(); 2].map(|()| RedisRates::new(&config).unwrap());
    let hour = Duration::from_hours(1);
    for n in 0..4 {
        let taken = rates[n % 2].take("a", hour, 4).await.unwrap();
        assert_eq!(taken, None, "{n}");
    }
    let wait = rates[0].take("a", hour, 4).await.unwrap().unwrap();
    assert!(wait <= hour && wait > hour / 2, "{wait:?}");
    assert!(rates[1].take("a", hour, 4).await.unwrap().is_some());
    // A larger burst has room left, and another key has all of it.
    assert_eq!(rates[1].take("a", hour, 5).await.unwrap(), None);
    assert_eq!(rates[1].take("b", hour, 1).await.unwrap(), None);
    let moment = Duration::from_micros(1);
    for _ in 0..3 {
        assert_eq!(rates[0].take("c", moment, 1).await.unwrap(), None);
    }
}
