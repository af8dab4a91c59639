//! A store in memory: the contract's own tests run over the real ones.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use millrace_store::{
    CreateProjectRefused, CreateWorkloadRefused, DeleteProjectRefused, InstanceRecord, Page,
    PageRequest, ProjectRecord, Saved, StoreError, WorkloadFilter, WorkloadRecord, WorkloadSave,
    WorkloadState, WorkloadStore,
};
use millrace_types::{InstanceId, ProjectId, Timestamp, WorkloadId, WorkloadStage};

#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    /// Questions for instances that go without an answer.
    silent: AtomicU32,
    /// What was stored that cannot be.
    untrue: Mutex<Vec<String>>,
}

#[derive(Default)]
struct State {
    projects: BTreeMap<ProjectId, ProjectRecord>,
    workloads: BTreeMap<WorkloadId, WorkloadRecord>,
    instances: BTreeMap<InstanceId, InstanceRecord>,
}

impl State {
    /// Whether another living instance of the node has the port of this one,
    /// which lives as well.
    fn has_its_port(&self, wanting: &InstanceRecord) -> bool {
        let lives = wanting.ended_at.is_none() && wanting.port.is_some();
        let holds = |i: &InstanceRecord| {
            let other = i.id != wanting.id && i.ended_at.is_none();
            other && i.port == wanting.port && i.node_id == wanting.node_id
        };
        lives && self.instances.values().any(holds)
    }
}

impl MemoryStore {
    /// So many questions for a workload's instances are not answered.
    pub fn keep_silent(&self, questions: u32) {
        self.silent.store(questions, Ordering::SeqCst);
    }

    /// How many of them there still are.
    pub fn silent(&self) -> u32 {
        self.silent.load(Ordering::SeqCst)
    }

    /// What was stored that cannot be: a workload as stopped that had an
    /// instance that lived.
    pub fn untrue(&self) -> Vec<String> {
        self.untrue.lock().unwrap().clone()
    }

    /// Enters an instance of the same node that lives and has this port, of
    /// which the orchestrator knows nothing. Some workload has been made.
    pub fn give_away(&self, port: u16) -> InstanceId {
        let mut state = self.state.lock().unwrap();
        let node_id = state.workloads.values().next().unwrap().node_id.clone();
        let id = InstanceId::new();
        let holder = InstanceRecord {
            id,
            workload_id: WorkloadId::new(),
            node_id,
            pid: None,
            port: Some(port),
            socket: String::new(),
            started_at: Timestamp::now(),
            ended_at: None,
            exit_code: None,
            signal: None,
            reason: String::new(),
            limits: String::new(),
        };
        state.instances.insert(id, holder);
        id
    }

    /// It is gone.
    pub fn take_back(&self, holder: InstanceId) {
        self.state.lock().unwrap().instances.remove(&holder);
    }

    /// How many instances live now.
    pub fn living(&self) -> usize {
        let state = self.state.lock().unwrap();
        state
            .instances
            .values()
            .filter(|i| i.ended_at.is_none())
            .count()
    }
}

#[async_trait]
impl WorkloadStore for MemoryStore {
    async fn create_project(&self, project: &ProjectRecord) -> Result<(), CreateProjectRefused> {
        let mut state = self.state.lock().unwrap();
        if state.projects.values().any(|p| p.key == project.key) {
            return Err(CreateProjectRefused::KeyTaken(project.key.clone()));
        }
        state.projects.insert(project.id, project.clone());
        Ok(())
    }

    async fn project(&self, id: ProjectId) -> Result<Option<ProjectRecord>, StoreError> {
        Ok(self.state.lock().unwrap().projects.get(&id).cloned())
    }

    async fn project_by_key(&self, key: &str) -> Result<Option<ProjectRecord>, StoreError> {
        let state = self.state.lock().unwrap();
        Ok(state.projects.values().find(|p| p.key == key).cloned())
    }

    async fn projects(&self, _: &PageRequest) -> Result<Page<ProjectRecord>, StoreError> {
        let state = self.state.lock().unwrap();
        Ok(Page {
            items: state.projects.values().rev().cloned().collect(),
            next: None,
        })
    }

    async fn update_project(&self, project: &ProjectRecord) -> Result<bool, StoreError> {
        let mut state = self.state.lock().unwrap();
        let there = state.projects.get_mut(&project.id);
        Ok(there.map(|there| there.clone_from(project)).is_some())
    }

    async fn delete_project(&self, id: ProjectId) -> Result<(), DeleteProjectRefused> {
        let mut state = self.state.lock().unwrap();
        if state.workloads.values().any(|w| w.project_id == id) {
            return Err(DeleteProjectRefused::HasWorkloads(id));
        }
        let gone = state.projects.remove(&id);
        gone.map(|_| ()).ok_or(DeleteProjectRefused::NotFound(id))
    }

    async fn create_workload(
        &self,
        id: WorkloadId,
        project_id: ProjectId,
        service: &str,
        node_id: &str,
    ) -> Result<WorkloadRecord, CreateWorkloadRefused> {
        let mut state = self.state.lock().unwrap();
        let same = |w: &&WorkloadRecord| w.project_id == project_id && w.service == service;
        if let Some(there) = state.workloads.values().find(same) {
            return Err(CreateWorkloadRefused::Exists(there.id));
        }
        let record = WorkloadRecord {
            id,
            project_id,
            service: service.into(),
            node_id: node_id.into(),
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
            revision: 1,
            state: WorkloadState::new(),
        };
        state.workloads.insert(id, record.clone());
        Ok(record)
    }

    async fn ensure_workloads(
        &self,
        project_id: ProjectId,
        services: &[(WorkloadId, String)],
        node_id: &str,
    ) -> Result<Vec<WorkloadRecord>, CreateWorkloadRefused> {
        let mut records = Vec::new();
        for (id, service) in services {
            let made = self.create_workload(*id, project_id, service, node_id);
            records.push(match made.await {
                Err(CreateWorkloadRefused::Exists(_)) => {
                    self.workload_of(project_id, service).await?.unwrap()
                }
                made => made?,
            });
        }
        Ok(records)
    }

    async fn workload(&self, id: WorkloadId) -> Result<Option<WorkloadRecord>, StoreError> {
        Ok(self.state.lock().unwrap().workloads.get(&id).cloned())
    }

    async fn workload_of(
        &self,
        project_id: ProjectId,
        service: &str,
    ) -> Result<Option<WorkloadRecord>, StoreError> {
        let state = self.state.lock().unwrap();
        let same = |w: &&WorkloadRecord| w.project_id == project_id && w.service == service;
        Ok(state.workloads.values().find(same).cloned())
    }

    async fn workloads(
        &self,
        filter: &WorkloadFilter,
        _: &PageRequest,
    ) -> Result<Page<WorkloadRecord>, StoreError> {
        let state = self.state.lock().unwrap();
        let wanted = |w: &&WorkloadRecord| {
            filter.project_id.is_none_or(|id| id == w.project_id)
                && filter.node_id.as_ref().is_none_or(|id| *id == w.node_id)
        };
        Ok(Page {
            items: state
                .workloads
                .values()
                .rev()
                .filter(wanted)
                .cloned()
                .collect(),
            next: None,
        })
    }

    async fn save_workloads(&self, saves: &[WorkloadSave]) -> Result<Vec<Saved>, StoreError> {
        let mut state = self.state.lock().unwrap();
        let mut outcomes = Vec::new();
        for save in saves {
            let at = Timestamp::now();
            if save.instances.iter().any(|i| state.has_its_port(i)) {
                outcomes.push(Saved::PortTaken);
                continue;
            }
            let Some(workload) = state.workloads.get_mut(&save.id) else {
                outcomes.push(Saved::Stale);
                continue;
            };
            if workload.revision != save.revision {
                outcomes.push(Saved::Stale);
                continue;
            }
            workload.revision += 1;
            workload.updated_at = at;
            workload.state = save.state.clone();
            let revision = workload.revision;
            for instance in &save.instances {
                state.instances.insert(instance.id, instance.clone());
            }
            let living = |i: &&InstanceRecord| i.workload_id == save.id && i.ended_at.is_none();
            if save.state.stage == WorkloadStage::Stopped
                && let Some(instance) = state.instances.values().find(living)
            {
                let untrue = format!("{} is stopped, and {} lives", save.id, instance.id);
                self.untrue.lock().unwrap().push(untrue);
            }
            outcomes.push(Saved::Done { revision, at });
        }
        Ok(outcomes)
    }

    async fn delete_workload(&self, id: WorkloadId) -> Result<bool, StoreError> {
        let mut state = self.state.lock().unwrap();
        state.instances.retain(|_, i| i.workload_id != id);
        Ok(state.workloads.remove(&id).is_some())
    }

    async fn instances(&self, id: WorkloadId, _: u32) -> Result<Vec<InstanceRecord>, StoreError> {
        let less = |left: u32| left.checked_sub(1);
        let silent = self
            .silent
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        if silent.is_ok() {
            return Err(StoreError::Unavailable("it is silent".into()));
        }
        let state = self.state.lock().unwrap();
        let of = state.instances.values().filter(|i| i.workload_id == id);
        Ok(of.cloned().collect())
    }

    async fn living_instances(
        &self,
        node_id: &str,
        after: Option<InstanceId>,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let state = self.state.lock().unwrap();
        let wanted = |i: &&InstanceRecord| {
            i.node_id == node_id && i.ended_at.is_none() && after.is_none_or(|id| i.id > id)
        };
        Ok(state.instances.values().filter(wanted).cloned().collect())
    }
}
