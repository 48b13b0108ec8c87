//! Chains of controllers, from a pod to the workload at the top.

use std::collections::{HashMap, HashSet};

use super::{
    Id, Index, Watched,
    strings::{Live, Strings, Sym},
};
use crate::object::{ObjectMeta, OwnerReference};

/// Pod, ReplicaSet, Deployment, custom resource, and two more. Longer chains, or circles, are cut off.
const MAX_DEPTH: usize = 5;

/// A controller as an owner reference names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Controller {
    pub(super) uid: Id,
    pub(super) api_version: Sym,
    pub(super) kind: Sym,
    pub(super) name: Sym,
}

impl Controller {
    pub(super) fn of(reference: &OwnerReference, strings: &mut Strings) -> Self {
        Self {
            uid: Id::of(&reference.uid),
            api_version: strings.intern(&reference.api_version),
            kind: strings.intern(&reference.kind),
            name: strings.intern(&reference.name),
        }
    }

    pub(super) fn mark(&self, live: &mut Live) {
        for sym in [self.api_version, self.kind, self.name] {
            live.mark(sym);
        }
    }
}

#[derive(Debug)]
struct Row {
    controller: Controller,
    kind: Watched,
    generation: u8,
}

/// Objects that have a controller themselves, by UID. Those that have none are at the top of their chains, and not kept.
#[derive(Debug, Default)]
pub(super) struct Owners {
    rows: HashMap<Id, Row>,
    /// Where chains end: if one of these gets a controller, the chain goes on.
    ends: HashSet<Id>,
}

impl Owners {
    pub(super) fn remove(&mut self, uid: Id) {
        // Pods go on belonging to what they belonged to: while a workload is deleted its parts go one after the other.
        self.rows.remove(&uid);
    }

    pub(super) fn sweep(&mut self, kind: Watched, generation: u8) {
        self.rows
            .retain(|_, row| row.kind != kind || row.generation == generation);
    }

    pub(super) fn mark(&self, live: &mut Live) {
        self.rows.values().for_each(|row| row.controller.mark(live));
    }

    /// The end of the chain that begins with a pod's controller.
    fn top(&mut self, first: Controller) -> Controller {
        let mut top = first;
        for _ in 0..MAX_DEPTH {
            let Some(row) = self.rows.get(&top.uid) else {
                break;
            };
            top = row.controller;
        }
        self.ends.insert(top.uid);
        top
    }
}

/// The controller among an object's owners.
pub(super) fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = meta.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true))
}

impl Index {
    pub(super) fn put_owner(&mut self, kind: Watched, meta: &ObjectMeta) {
        let Some(uid) = meta.uid.as_deref() else {
            return;
        };
        let uid = Id::of(uid);
        let Some(controller) = controller(meta) else {
            self.dirty.owners |= self.owners.rows.remove(&uid).is_some();
            return;
        };
        let row = Row {
            controller: Controller::of(controller, &mut self.strings),
            kind,
            generation: self.generation(kind),
        };
        let controller = row.controller;
        let before = self.owners.rows.insert(uid, row);
        self.dirty.owners |= match before {
            Some(before) => before.controller != controller,
            None => self.owners.ends.contains(&uid),
        };
    }

    /// The top of a pod's chain.
    pub(super) fn top(&mut self, first: Controller) -> Controller {
        self.owners.top(first)
    }

    /// Looks up the workloads of all pods again.
    pub(super) fn resolve_owners(&mut self) {
        self.owners.ends.clear();
        for slot in 0..self.askers.len() {
            let slot = u32::try_from(slot).expect("slots are 32 bits");
            self.join_workload(slot, false);
        }
    }
}
