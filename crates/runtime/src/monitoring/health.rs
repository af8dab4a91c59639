//! Health: each dependency asked, with a deadline, all at once.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::MonitoringService;

/// How long a dependency may take to answer before it counts as unhealthy.
const DEADLINE: Duration = Duration::from_secs(2);

/// Whether Redis answers; implemented by what holds the connection.
#[async_trait]
pub trait CacheProbe: Send + Sync + 'static {
    async fn ping(&self) -> Result<(), String>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Healthy,
    Unhealthy,
    /// Not configured, and not needed.
    Disabled,
}

impl Condition {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Disabled => "disabled",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Dependency {
    pub name: &'static str,
    pub condition: Condition,
    pub latency: Duration,
    pub message: String,
}

/// The service as a whole: without its database it can do nothing; without
/// Redis or an engine it still admits.
pub(crate) fn overall(dependencies: &[Dependency]) -> &'static str {
    let down = |name| {
        dependencies
            .iter()
            .any(|d| d.name == name && d.condition == Condition::Unhealthy)
    };
    if down("database") {
        "unhealthy"
    } else if dependencies
        .iter()
        .any(|d| d.condition == Condition::Unhealthy)
    {
        "degraded"
    } else {
        "healthy"
    }
}

impl MonitoringService {
    pub(crate) async fn dependencies(&self) -> [Dependency; 3] {
        let (database, redis, engine) = tokio::join!(
            probe("database", async {
                self.store.ping().await.map_err(|e| e.to_string())
            }),
            async {
                match &self.redis {
                    Some(redis) => probe("redis", redis.ping()).await,
                    None => Dependency {
                        name: "redis",
                        condition: Condition::Disabled,
                        latency: Duration::ZERO,
                        message: String::new(),
                    },
                }
            },
            probe("workflow_engine", async {
                self.engine
                    .ping(DEADLINE)
                    .await
                    .map_err(|s| s.message().to_owned())
            }),
        );
        [database, redis, engine]
    }
}

async fn probe(name: &'static str, ask: impl Future<Output = Result<(), String>>) -> Dependency {
    let began = Instant::now();
    let answer = match tokio::time::timeout(DEADLINE, ask).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {DEADLINE:?}")),
    };
    let latency = began.elapsed();
    match answer {
        Ok(()) => Dependency {
            name,
            condition: Condition::Healthy,
            latency,
            message: String::new(),
        },
        Err(message) => Dependency {
            name,
            condition: Condition::Unhealthy,
            latency,
            message,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(name: &'static str, condition: Condition) -> Dependency {
        Dependency {
            name,
            condition,
            latency: Duration::ZERO,
            message: String::new(),
        }
    }

    #[test]
    fn only_a_lost_database_is_fatal() {
        use Condition::{Disabled, Healthy, Unhealthy};
        let all = |database, redis| {
            overall(&[dependency("database", database), dependency("redis", redis)])
        };
        assert_eq!(all(Healthy, Healthy), "healthy");
        assert_eq!(all(Healthy, Disabled), "healthy");
        assert_eq!(all(Healthy, Unhealthy), "degraded");
        assert_eq!(all(Unhealthy, Healthy), "unhealthy");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_hangs_is_unhealthy_by_the_deadline() {
        let answer = probe("redis", std::future::pending()).await;
        assert_eq!(answer.condition, Condition::Unhealthy);
        assert!(answer.message.contains("2s"), "{}", answer.message);
    }
}
