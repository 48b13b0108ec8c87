//! Who there is and who may do what: in memory, and changed only together with the store.

mod administrator;
mod change;
mod model;
mod rights;
mod selector;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use parking_lot::RwLock;

pub(crate) use self::{
    administrator::{ADMIN, ORGANIZATION, create_first_admin, reset_admin},
    change::{ChangeError, change, check_name, reload},
    model::{Binding, People, Place, Role, Subject, User},
    rights::{Holding, Rights, Scope, Standing},
    selector::{Labels, Selector, check_labels},
};
use crate::store::people::PeopleRows;

/// The people of now.
#[derive(Debug)]
pub(crate) struct Registry {
    current: RwLock<Arc<People>>,
    generation: AtomicU64,
}

impl Registry {
    /// The people of the store.
    pub(crate) fn new(rows: PeopleRows) -> Self {
        let people = People::new(rows, 1);
        Self {
            generation: AtomicU64::new(people.generation),
            current: RwLock::new(Arc::new(people)),
        }
    }

    /// Everything, as it is now.
    pub(crate) fn current(&self) -> Arc<People> {
        Arc::clone(&self.current.read())
    }

    /// Tells whether what was worked out before still holds, without a lock.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// Puts the next generation in place.
    pub(crate) fn replace(&self, next: Arc<People>) {
        let mut current = self.current.write();
        self.generation.store(next.generation, SeqCst);
        *current = next;
    }
}
