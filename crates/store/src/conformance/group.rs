//! The store behind group commit.

use std::sync::Arc;

use bytes::Bytes;
use millrace_types::DeploymentId;
use tokio::task::JoinSet;

use super::Fixture;
use super::support::{Shared, admission, admitted, keyed, live};
use crate::{
    Admission, AdmissionRefused, ExecutionStore, GroupCommit, GroupCommitConfig, Write,
    WriteRefused,
};

/// Hands all writes in at once and gathers the outcomes in their order.
async fn submit_all(
    store: &Shared,
    writes: Vec<Write>,
) -> Vec<Result<crate::WriteDone, WriteRefused>> {
    let (group, committing) = GroupCommit::new(
        Arc::clone(store) as Arc<dyn ExecutionStore>,
        GroupCommitConfig::default(),
    );
    let mut committer = JoinSet::new();
    committer.spawn(committing);
    let mut tasks = JoinSet::new();
    for (n, write) in writes.into_iter().enumerate() {
        let group = group.clone();
        tasks.spawn(async move { (n, group.submit(write).await) });
    }
    let mut outcomes = tasks.join_all().await;
    drop(group);
    committer.join_all().await;
    outcomes.sort_by_key(|(n, _)| *n);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

pub async fn grouped_writes_get_their_own_outcomes(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let unknown = DeploymentId::new();
    let writes: Vec<_> = (0..200)
        .map(|n| {
            Write::Admit(match n % 4 {
                0 => admission(unknown),
                1 => keyed(deployment.id, "shared"),
                _ => admission(deployment.id),
            })
        })
        .collect();
    let outcomes = submit_all(&store, writes.clone()).await;
    let mut fresh_of_key = 0;
    for (n, (write, outcome)) in writes.iter().zip(outcomes).enumerate() {
        let Write::Admit(given) = write else {
            unreachable!("only admissions are written here")
        };
        match n % 4 {
            0 => assert_eq!(
                outcome.unwrap_err(),
                WriteRefused::Admission(AdmissionRefused::DeploymentUnknown(unknown))
            ),
            1 => fresh_of_key += usize::from(admitted(outcome.unwrap()).fresh),
            _ => {
                let answer = admitted(outcome.unwrap());
                assert_eq!((answer.id, answer.fresh), (given.id, true));
            }
        }
    }
    assert_eq!(fresh_of_key, 1);
}

/// Whatever a database makes of bytes that are not text, only the row that
/// carries them may suffer.
pub async fn bad_bytes_never_fail_their_neighbours(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let good = || Write::Admit(admission(deployment.id));
    let bad = [
        Admission {
            input: Bytes::from_static(b"\"a\0b\""),
            ..admission(deployment.id)
        },
        Admission {
            input: Bytes::from_static(b"\xff\xfe"),
            ..admission(deployment.id)
        },
        Admission {
            traceparent: Some("a\0b".into()),
            ..admission(deployment.id)
        },
        keyed(deployment.id, "a\0b"),
    ];
    let mut writes = Vec::new();
    for one in &bad {
        writes.extend([good(), good(), Write::Admit(one.clone()), good()]);
    }
    let outcomes = submit_all(&store, writes.clone()).await;
    for (n, (write, outcome)) in writes.iter().zip(outcomes).enumerate() {
        let Write::Admit(given) = write else {
            unreachable!("only admissions are written here")
        };
        match outcome {
            Ok(done) => assert_eq!(admitted(done).id, given.id),
            Err(refused) => {
                assert_eq!(n % 4, 2, "a neighbour was refused: {refused}");
                assert!(matches!(refused, WriteRefused::Rejected(_)), "{refused}");
            }
        }
        if n % 4 != 2 {
            assert!(store.execution(given.id).await.unwrap().is_some());
        }
    }
}
