//! Projects, workloads and their instances.

use millrace_types::{DesiredState, InstanceId, ProjectId, Timestamp, WorkloadId, WorkloadStage};

use super::Fixture;
use super::support::Shared;
use crate::workload::KEPT_INSTANCES;
use crate::{
    CreateProjectRefused, CreateWorkloadRefused, DeleteProjectRefused, InstanceRecord, PageRequest,
    ProjectRecord, Saved, WorkloadFilter, WorkloadRecord, WorkloadSave,
};

const NODE: &str = "node-1";

fn page(limit: u32, cursor: Option<String>) -> PageRequest {
    PageRequest { cursor, limit }
}

async fn project(store: &Shared, key: &str) -> ProjectRecord {
    let record = ProjectRecord {
        id: ProjectId::new(),
        name: format!("The {key}"),
        key: key.into(),
        local_path: format!("/srv/{key}"),
        git_json: None,
        created_at: Timestamp::from_micros(1_700_000_000_123_456),
    };
    store.create_project(&record).await.unwrap();
    record
}

async fn workload(store: &Shared, project: ProjectId, service: &str) -> WorkloadRecord {
    store
        .create_workload(WorkloadId::new(), project, service, NODE)
        .await
        .unwrap()
}

fn instance(workload: WorkloadId, port: Option<u16>) -> InstanceRecord {
    InstanceRecord {
        id: InstanceId::new(),
        workload_id: workload,
        node_id: NODE.into(),
        pid: None,
        port,
        socket: "/run/x/s".into(),
        started_at: Timestamp::now(),
        ended_at: None,
        exit_code: None,
        signal: None,
        reason: String::new(),
        limits: String::new(),
    }
}

fn save(record: &WorkloadRecord, instances: &[&InstanceRecord]) -> WorkloadSave {
    WorkloadSave {
        id: record.id,
        revision: record.revision,
        state: record.state.clone(),
        instances: instances.iter().map(|&i| i.clone()).collect(),
    }
}

async fn saved(store: &Shared, record: &mut WorkloadRecord, instances: &[&InstanceRecord]) {
    let outcome = store
        .save_workloads(&[save(record, instances)])
        .await
        .unwrap();
    let Saved::Done { revision, at } = outcome[0] else {
        panic!("{outcome:?}");
    };
    record.revision = revision;
    record.updated_at = at;
}

pub async fn project_is_found_by_id_and_key_and_listed(store: Shared, _: &dyn Fixture) {
    let mut made = [project(&store, "A").await, project(&store, "B").await];
    assert_eq!(
        store.project(made[0].id).await.unwrap().as_ref(),
        Some(&made[0])
    );
    assert_eq!(
        store.project_by_key("B").await.unwrap().as_ref(),
        Some(&made[1])
    );
    assert_eq!(store.project_by_key("C").await.unwrap(), None);
    made[0].name = "New".into();
    made[0].local_path = "/srv/new".into();
    made[0].git_json = Some(r#"{"url":"/srv/a.git","ref":null}"#.into());
    assert!(store.update_project(&made[0]).await.unwrap());
    let unknown = ProjectRecord {
        id: ProjectId::new(),
        ..made[0].clone()
    };
    assert!(!store.update_project(&unknown).await.unwrap());
    let first = store.projects(&page(1, None)).await.unwrap();
    assert_eq!(first.items, [made[1].clone()]);
    let second = store.projects(&page(1, first.next)).await.unwrap();
    assert_eq!(second.items, [made[0].clone()]);
    assert_eq!(second.next, None);
}

pub async fn key_of_a_project_is_taken_once(store: Shared, _: &dyn Fixture) {
    let first = project(&store, "A").await;
    store.create_project(&first).await.expect("the same again");
    let other = ProjectRecord {
        id: ProjectId::new(),
        ..first.clone()
    };
    let refused = store.create_project(&other).await.unwrap_err();
    assert!(matches!(refused, CreateProjectRefused::KeyTaken(key) if key == "A"));
    assert_eq!(store.project(other.id).await.unwrap(), None);
}

pub async fn project_with_workloads_is_not_deleted(store: Shared, _: &dyn Fixture) {
    let project = project(&store, "A").await;
    let workload = workload(&store, project.id, "web").await;
    let refused = store.delete_project(project.id).await.unwrap_err();
    assert!(matches!(refused, DeleteProjectRefused::HasWorkloads(_)));
    assert!(store.delete_workload(workload.id).await.unwrap());
    assert!(!store.delete_workload(workload.id).await.unwrap());
    store.delete_project(project.id).await.unwrap();
    let refused = store.delete_project(project.id).await.unwrap_err();
    assert!(matches!(refused, DeleteProjectRefused::NotFound(_)));
}

pub async fn service_has_one_workload(store: Shared, _: &dyn Fixture) {
    let project = project(&store, "A").await;
    let first = workload(&store, project.id, "web").await;
    assert_eq!(
        (first.revision, first.state.stage),
        (1, WorkloadStage::Pending)
    );
    let again = store
        .create_workload(first.id, project.id, "web", NODE)
        .await
        .unwrap();
    assert_eq!(again, first);
    let refused = store
        .create_workload(WorkloadId::new(), project.id, "web", NODE)
        .await
        .unwrap_err();
    assert!(matches!(refused, CreateWorkloadRefused::Exists(id) if id == first.id));
    let refused = store
        .create_workload(WorkloadId::new(), ProjectId::new(), "web", NODE)
        .await
        .unwrap_err();
    assert!(matches!(refused, CreateWorkloadRefused::NoProject(_)));
    let found = store.workload_of(project.id, "web").await.unwrap();
    assert_eq!(found, Some(first));
}

pub async fn missing_workloads_are_made_at_once(store: Shared, _: &dyn Fixture) {
    let project = project(&store, "A").await;
    let first = workload(&store, project.id, "b").await;
    let of = |name: &str| (WorkloadId::new(), name.to_owned());
    let wanted = [of("c"), of("b"), of("a")];
    let made = store
        .ensure_workloads(project.id, &wanted, NODE)
        .await
        .unwrap();
    let services: Vec<&str> = made.iter().map(|record| record.service.as_str()).collect();
    assert_eq!(services, ["c", "b", "a"]);
    assert_eq!(
        made.iter().map(|record| record.id).collect::<Vec<_>>(),
        [wanted[0].0, first.id, wanted[2].0]
    );
    assert_eq!(
        (made[0].revision, made[0].state.stage, &*made[0].node_id),
        (1, WorkloadStage::Pending, NODE)
    );
    for record in &made {
        let stored = store.workload(record.id).await.unwrap();
        assert_eq!(stored.as_ref(), Some(record));
    }
    let again = [of("a"), of("b"), of("c")];
    let again = store.ensure_workloads(project.id, &again, NODE).await;
    let (mut again, mut made) = (again.unwrap(), made);
    again.reverse();
    made.sort_by(|a, b| b.service.cmp(&a.service));
    assert_eq!(again, made);
    let refused = store
        .ensure_workloads(ProjectId::new(), &[of("a")], NODE)
        .await
        .unwrap_err();
    assert!(matches!(refused, CreateWorkloadRefused::NoProject(_)));
}

pub async fn transitions_of_one_workload_build_on_each_other(store: Shared, _: &dyn Fixture) {
    let project = project(&store, "A").await;
    let mut workload = workload(&store, project.id, "web").await;
    let mut old = instance(workload.id, Some(3100));
    saved(&store, &mut workload, &[&old]).await;
    // The end of one, its next stage, and another one on its port.
    old.ended_at = Some(Timestamp::from_micros(1_800_000_000_000_000));
    let new = instance(workload.id, Some(3100));
    let first = save(&workload, &[&old]);
    let stages = [WorkloadStage::Validate, WorkloadStage::Deploy];
    let mut steps = vec![first];
    for (stage, instances) in stages.into_iter().zip([&[][..], &[&new][..]]) {
        workload.revision += 1;
        workload.state.stage = stage;
        steps.push(save(&workload, instances));
    }
    let outcomes = store.save_workloads(&steps).await.unwrap();
    let all_done = outcomes.iter().zip(2..).all(|(outcome, before)| {
        matches!(outcome, Saved::Done { revision, .. } if *revision == before + 1)
    });
    assert!(all_done, "{outcomes:?}");
    let stored = store.workload(workload.id).await.unwrap().unwrap();
    assert_eq!(
        (stored.revision, stored.state.stage),
        (workload.revision + 1, WorkloadStage::Deploy)
    );
    let instances = store.instances(workload.id, 9).await.unwrap();
    assert_eq!(instances, [old, new]);
    // What builds on one that is refused is refused as well.
    steps.remove(0);
    let outcomes = store.save_workloads(&steps).await.unwrap();
    assert_eq!(outcomes, [Saved::Stale, Saved::Stale]);
    // One that is refused for its port takes none of those before it along.
    let mut other = self::workload(&store, project.id, "other").await;
    let first = save(&other, &[]);
    other.revision += 1;
    other.state.stage = WorkloadStage::Deploy;
    let refused = instance(other.id, Some(3100));
    let steps = [first, save(&other, &[&refused])];
    let outcomes = store.save_workloads(&steps).await.unwrap();
    assert!(matches!(
        outcomes[..],
        [Saved::Done { .. }, Saved::PortTaken]
    ));
    let stored = store.workload(other.id).await.unwrap().unwrap();
    assert_eq!(
        (stored.revision, stored.state.stage),
        (other.revision, WorkloadStage::Pending)
    );
}

pub async fn transition_is_read_back_with_its_instances(store: Shared, _: &dyn Fixture) {
    let project = project(&store, "A").await;
    let mut workload = workload(&store, project.id, "web").await;
    workload.state.desired = DesiredState::Running;
    workload.state.stage = WorkloadStage::Running;
    workload.state.kind = "process".into();
    workload.state.port = Some(65_535);
    workload.state.pid = Some(4_194_304);
    workload.state.error = Some(("crash-loop".into(), "it \"ended\"".into()));
    workload.state.restarts = 7;
    workload.state.next_retry_at = Some(Timestamp::from_micros(1_800_000_000_000_001));
    workload.state.ready = Some(false);
    let mut instance = instance(workload.id, Some(65_535));
    saved(&store, &mut workload, &[&instance]).await;
    assert_eq!(
        store.workload(workload.id).await.unwrap().as_ref(),
        Some(&workload)
    );
    assert_eq!(
        store.living_instances(NODE, None).await.unwrap(),
        [instance.clone()]
    );

    instance.pid = Some(4_194_304);
    instance.ended_at = Some(Timestamp::from_micros(1_800_000_000_000_002));
    instance.exit_code = Some(-1);
    instance.signal = Some(9);
    instance.reason = "out-of-memory".into();
    instance.limits = "cgroup v2".into();
    workload.state = crate::WorkloadState::new();
    saved(&store, &mut workload, &[&instance]).await;
    assert_eq!(
        store.workload(workload.id).await.unwrap().as_ref(),
        Some(&workload)
    );
    assert_eq!(store.instances(workload.id, 10).await.unwrap(), [instance]);
    assert_eq!(store.living_instances(NODE, None).await.unwrap(), []);
}

pub async fn transition_from_another_revision_changes_nothing(store: Shared, _: &dyn Fixture) {
    let project = project(&store, "A").await;
    let mut workload = workload(&store, project.id, "web").await;
    let stale = WorkloadSave {
        revision: workload.revision + 1,
        ..save(&workload, &[&instance(workload.id, None)])
    };
    workload.state.restarts = 3;
    let gone = WorkloadSave {
        id: WorkloadId::new(),
        ..save(&workload, &[])
    };
    let good = save(&workload, &[]);
    let outcomes = store.save_workloads(&[stale, gone, good]).await.unwrap();
    assert_eq!(outcomes[..2], [Saved::Stale, Saved::Stale]);
    assert!(matches!(outcomes[2], Saved::Done { revision: 2, .. }));
    assert_eq!(store.instances(workload.id, 10).await.unwrap(), []);
    let found = store.workload(workload.id).await.unwrap().unwrap();
    assert_eq!((found.revision, found.state.restarts), (2, 3));
}

pub async fn living_instances_of_a_node_share_no_port(store: Shared, _: &dyn Fixture) {
    let project = project(&store, "A").await;
    let mut first = workload(&store, project.id, "one").await;
    let mut second = workload(&store, project.id, "two").await;
    let mut holder = instance(first.id, Some(3100));
    saved(&store, &mut first, &[&holder]).await;
    let wanting = instance(second.id, Some(3100));
    let refused = store
        .save_workloads(&[save(&second, &[&wanting])])
        .await
        .unwrap();
    assert_eq!(refused, [Saved::PortTaken]);
    let found = store.workload(second.id).await.unwrap().unwrap();
    assert_eq!(found.revision, second.revision, "nothing of it was written");
    // In one batch, the one gives it back and the other takes it.
    holder.ended_at = Some(Timestamp::now());
    let outcomes = store
        .save_workloads(&[save(&first, &[&holder]), save(&second, &[&wanting])])
        .await
        .unwrap();
    assert!(
        outcomes
            .iter()
            .all(|saved| matches!(saved, Saved::Done { .. }))
    );
    second.revision += 1;
    let elsewhere = InstanceRecord {
        node_id: "node-2".into(),
        ..instance(second.id, Some(3100))
    };
    saved(&store, &mut second, &[&elsewhere]).await;
}

pub async fn only_the_last_ended_instances_are_kept(store: Shared, _: &dyn Fixture) {
    let project = project(&store, "A").await;
    let mut workload = workload(&store, project.id, "web").await;
    let living = instance(workload.id, None);
    saved(&store, &mut workload, &[&living]).await;
    let mut ended = Vec::new();
    for _ in 0..KEPT_INSTANCES + 3 {
        let mut one = instance(workload.id, None);
        one.ended_at = Some(Timestamp::from_micros(1_800_000_000_000_000));
        one.started_at = Timestamp::from_micros(1_700_000_000_000_000);
        saved(&store, &mut workload, &[&one]).await;
        ended.push(one.id);
    }
    let kept = store.instances(workload.id, 100).await.unwrap();
    let ids: Vec<_> = kept.iter().map(|i| i.id).collect();
    let mut wanted = vec![living.id];
    wanted.extend(&ended[3..]);
    assert_eq!(ids, wanted, "and a living one however old");
    let last: Vec<_> = store
        .instances(workload.id, 2)
        .await
        .unwrap()
        .iter()
        .map(|i| i.id)
        .collect();
    assert_eq!(last, ended[ended.len() - 2..]);
}

pub async fn workloads_are_listed_newest_first_and_filtered(store: Shared, _: &dyn Fixture) {
    let (a, b) = (project(&store, "A").await, project(&store, "B").await);
    let one = workload(&store, a.id, "one").await;
    let two = workload(&store, b.id, "two").await;
    let three = store
        .create_workload(WorkloadId::new(), a.id, "three", "node-2")
        .await
        .unwrap();
    let list = async |filter: WorkloadFilter| {
        let page = store.workloads(&filter, &page(10, None)).await.unwrap();
        page.items.iter().map(|w| w.id).collect::<Vec<_>>()
    };
    assert_eq!(
        list(WorkloadFilter::default()).await,
        [three.id, two.id, one.id]
    );
    let of_project = WorkloadFilter {
        project_id: Some(a.id),
        ..WorkloadFilter::default()
    };
    assert_eq!(list(of_project.clone()).await, [three.id, one.id]);
    let of_node = WorkloadFilter {
        node_id: Some("node-2".into()),
        ..WorkloadFilter::default()
    };
    assert_eq!(list(of_node).await, [three.id]);
    let first = store.workloads(&of_project, &page(1, None)).await.unwrap();
    let second = store
        .workloads(&of_project, &page(1, first.next))
        .await
        .unwrap();
    assert_eq!((second.items[0].id, second.next), (one.id, None));
}
