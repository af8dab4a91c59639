//! The frames of one execution, and what has changed in them since the last
//! checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use super::frame::{CorruptFrames, Frame, ROOT, Root, TaskFrame};
use crate::language::model::Workflow;

#[derive(Debug)]
struct Entry {
    frame: Frame,
    /// Whether a checkpoint holds it, so that its end has to be stored too.
    stored: bool,
}

#[derive(Debug)]
pub(super) struct Tree {
    entries: BTreeMap<u64, Entry>,
    changed: BTreeSet<u64>,
    deleted: Vec<u64>,
    next_id: u64,
}

impl Tree {
    pub fn new(root: Root) -> Self {
        let entry = Entry {
            frame: Frame::Root(root),
            stored: false,
        };
        Self {
            entries: BTreeMap::from([(ROOT, entry)]),
            changed: BTreeSet::from([ROOT]),
            deleted: Vec::new(),
            next_id: ROOT + 1,
        }
    }

    /// Reads the frames of a checkpoint.
    pub fn from_stored<'a>(
        frames: impl IntoIterator<Item = (u64, &'a str)>,
        workflow: &Workflow,
    ) -> Result<Self, CorruptFrames> {
        let mut entries = BTreeMap::new();
        for (id, text) in frames {
            let frame = Frame::from_stored(id, text, workflow)?;
            entries.insert(
                id,
                Entry {
                    frame,
                    stored: true,
                },
            );
        }
        let mut highest = ROOT;
        for (id, entry) in &entries {
            let parent = entry.frame.parent().unwrap_or(ROOT);
            if !entries.contains_key(&parent) {
                return Err(CorruptFrames::Dangling {
                    id: *id,
                    missing: parent,
                });
            }
            let timers = entry.frame.timers();
            let last_timer = timers.iter().map(|(timer, _)| timer.id).max();
            let last_listener = entry.frame.listeners().max();
            highest = highest
                .max(*id)
                .max(last_timer.unwrap_or(0))
                .max(last_listener.unwrap_or(0));
        }
        match entries.get(&ROOT).map(|entry| &entry.frame) {
            Some(Frame::Root(_)) => Ok(Self {
                entries,
                changed: BTreeSet::new(),
                deleted: Vec::new(),
                next_id: highest + 1,
            }),
            _ => Err(CorruptFrames::Dangling {
                id: ROOT,
                missing: ROOT,
            }),
        }
    }

    /// A number that no living frame, timer or listener has. One that a checkpoint has
    /// deleted may come again; nothing refers to it any more.
    pub fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub fn insert(&mut self, frame: Frame) -> u64 {
        let id = self.next_id();
        let entry = Entry {
            frame,
            stored: false,
        };
        self.entries.insert(id, entry);
        self.changed.insert(id);
        id
    }

    pub fn root(&self) -> &Root {
        match self.entries.get(&ROOT).map(|entry| &entry.frame) {
            Some(Frame::Root(root)) => root,
            _ => unreachable!("the root is made with the tree and never removed"),
        }
    }

    pub fn root_mut(&mut self) -> &mut Root {
        self.changed.insert(ROOT);
        match self.entries.get_mut(&ROOT).map(|entry| &mut entry.frame) {
            Some(Frame::Root(root)) => root,
            _ => unreachable!("the root is made with the tree and never removed"),
        }
    }

    pub fn get(&self, id: u64) -> Option<&Frame> {
        self.entries.get(&id).map(|entry| &entry.frame)
    }

    pub fn task(&self, id: u64) -> Option<&TaskFrame> {
        match self.get(id) {
            Some(Frame::Task(task)) => Some(task),
            _ => None,
        }
    }

    /// For a change: the next checkpoint will carry the frame.
    pub fn task_mut(&mut self, id: u64) -> Option<&mut TaskFrame> {
        match self.entries.get_mut(&id).map(|entry| &mut entry.frame) {
            Some(Frame::Task(task)) => {
                self.changed.insert(id);
                Some(task)
            }
            _ => None,
        }
    }

    pub fn remove(&mut self, id: u64) -> Option<Frame> {
        let entry = self.entries.remove(&id)?;
        self.changed.remove(&id);
        if entry.stored {
            self.deleted.push(id);
        }
        Some(entry.frame)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &Frame)> {
        self.entries.iter().map(|(id, entry)| (*id, &entry.frame))
    }

    pub fn children(&self, of: u64) -> Vec<u64> {
        self.iter()
            .filter(|(_, frame)| frame.parent() == Some(of))
            .map(|(id, _)| id)
            .collect()
    }

    /// What the next checkpoint is to carry; from now on it counts as stored.
    pub fn take_changes(&mut self) -> (Vec<(u64, String)>, Vec<u64>) {
        let mut upsert = Vec::with_capacity(self.changed.len());
        for id in std::mem::take(&mut self.changed) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.stored = true;
                upsert.push((id, entry.frame.to_stored()));
            }
        }
        (upsert, std::mem::take(&mut self.deleted))
    }

    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty() || !self.deleted.is_empty()
    }
}
