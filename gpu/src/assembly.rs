//! From objects to changes of the index. A pod's claims, and the devices that claims name, are objects of their own: what is read of
//! one of them depends on the others, whichever comes first.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use crate::{
    claim,
    dra::{self, DeviceName, DeviceRef},
    index::{Change, PodSeen, Watched},
    node,
    object::{Node, ObjectMeta, Pod, ResourceClaim, ResourceSlice},
    pod,
    vendor::ResourceNames,
};

/// Namespace and name.
type Name = (String, String);

/// Slices of one pool of one driver.
type Pool = (String, String);

/// Keeps claims, slices and the pods that use claims; all other objects are read and forgotten.
#[derive(Debug, Default)]
pub struct Assembly {
    names: ResourceNames,
    /// Pods that use claims, by UID.
    claimants: HashMap<String, Pod>,
    claims: HashMap<Name, ResourceClaim>,
    /// By name of the slice.
    slices: BTreeMap<String, ResourceSlice>,
    devices: BTreeMap<DeviceName, DeviceRef>,
    /// What a list in progress has named.
    listed_claims: Option<HashSet<Name>>,
    listed_slices: Option<HashSet<String>>,
}

impl Assembly {
    /// For a cluster whose resources are called so.
    pub fn new(names: ResourceNames) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// A node was seen.
    pub fn node(&self, node: &Node, now: Timestamp) -> Change {
        Change::Node(Box::new(node::read(node, &self.names, now)))
    }

    /// A pod was seen.
    pub fn pod(&mut self, pod: Pod, now: Timestamp) -> Change {
        let change = self.read(&pod, now);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if claim::references(&pod).is_empty() {
            self.claimants.remove(&uid);
        } else {
            self.claimants.insert(uid, pod);
        }
        change
    }

    /// A pod went.
    pub fn pod_gone(&mut self, meta: &ObjectMeta) -> Change {
        let uid = meta.uid.clone().unwrap_or_default();
        self.claimants.remove(&uid);
        Change::PodGone(uid)
    }

    /// A claim was seen.
    pub fn claim(&mut self, claim: ResourceClaim, now: Timestamp) -> Vec<Change> {
        let name = name(&claim.metadata);
        if let Some(listed) = &mut self.listed_claims {
            listed.insert(name.clone());
        }
        self.claims.insert(name.clone(), claim);
        self.users(&name, now)
    }

    /// A claim went.
    pub fn claim_gone(&mut self, meta: &ObjectMeta, now: Timestamp) -> Vec<Change> {
        let name = name(meta);
        self.claims.remove(&name);
        self.users(&name, now)
    }

    /// A slice was seen.
    pub fn slice(&mut self, slice: ResourceSlice, now: Timestamp) -> Vec<Change> {
        let name = slice.metadata.name.clone().unwrap_or_default();
        let mut pools = vec![pool(&slice)];
        if let Some(listed) = &mut self.listed_slices {
            listed.insert(name.clone());
        }
        if let Some(before) = self.slices.insert(name, slice) {
            pools.push(pool(&before));
        }
        // A list is read as a whole when it is complete: a pool with some of its slices is not what it will be.
        if self.listed_slices.is_some() {
            return Vec::new();
        }
        self.pools(pools, now)
    }

    /// A slice went.
    pub fn slice_gone(&mut self, meta: &ObjectMeta, now: Timestamp) -> Vec<Change> {
        match meta.name.as_ref().and_then(|name| self.slices.remove(name)) {
            Some(slice) => self.pools(vec![pool(&slice)], now),
            None => Vec::new(),
        }
    }

    /// A list begins: what it does not name before [`Assembly::complete`] is gone.
    pub fn begin(&mut self, kind: Watched) {
        match kind {
            Watched::ResourceClaims => self.listed_claims = Some(HashSet::new()),
            Watched::ResourceSlices => self.listed_slices = Some(HashSet::new()),
            // The index sweeps what it has; a pod that it drops is no claimant any more either.
            Watched::Pods => self.claimants.clear(),
            _ => {}
        }
    }

    /// A list is complete.
    pub fn complete(&mut self, kind: Watched, now: Timestamp) -> Vec<Change> {
        match kind {
            Watched::ResourceClaims => {
                let Some(listed) = self.listed_claims.take() else {
                    return Vec::new();
                };
                let gone: Vec<Name> = self
                    .claims
                    .keys()
                    .filter(|name| !listed.contains(*name))
                    .cloned()
                    .collect();
                gone.iter()
                    .flat_map(|name| {
                        self.claims.remove(name);
                        self.users(name, now)
                    })
                    .collect()
            }
            Watched::ResourceSlices => {
                let Some(listed) = self.listed_slices.take() else {
                    return Vec::new();
                };
                let mut pools: Vec<Pool> = self.slices.values().map(pool).collect();
                self.slices.retain(|name, _| listed.contains(name));
                pools.sort_unstable();
                pools.dedup();
                self.pools(pools, now)
            }
            _ => Vec::new(),
        }
    }

    fn read(&self, pod: &Pod, now: Timestamp) -> Change {
        let facts = pod::read(pod, &self.names, now);
        let mut seen = PodSeen::of(pod);
        seen.allocations = facts.allocations;
        seen.findings = facts.findings;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let claims: Vec<&ResourceClaim> = claim::references(pod)
            .into_iter()
            .filter_map(|reference| {
                self.claims
                    .get(&(namespace.to_owned(), reference.claim?.to_owned()))
            })
            .collect();
        if !claims.is_empty() {
            let facts = claim::allocations(pod, &claims);
            for mut allocation in facts.allocations {
                let device = claim::device(&allocation).and_then(|name| self.devices.get(&name));
                if let Some(device) = device {
                    claim::complete(&mut allocation, device);
                }
                seen.allocations.push(allocation);
            }
            seen.findings.extend(facts.findings);
        }
        Change::Pod(Box::new(seen))
    }

    /// Reads the pods that use a claim anew.
    fn users(&self, claim: &Name, now: Timestamp) -> Vec<Change> {
        let uses = |pod: &Pod| {
            pod.metadata.namespace.as_deref() == Some(&claim.0)
                && claim::references(pod)
                    .iter()
                    .any(|reference| reference.claim == Some(&claim.1))
        };
        let users = self.claimants.values().filter(|pod| uses(pod));
        users.map(|pod| self.read(pod, now)).collect()
    }

    /// Reads pools anew, and the pods whose claims name devices of them.
    fn pools(&mut self, pools: Vec<Pool>, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut touched = HashSet::new();
        for pool in pools {
            let of_pool = self.slices.values().filter(|slice| self::pool(slice) == pool);
            let slices: Vec<ResourceSlice> = of_pool.cloned().collect();
            let facts = dra::slices(&slices);
            let is_of = |name: &DeviceName| (&name.driver, &name.pool) == (&pool.0, &pool.1);
            self.devices.retain(|name, _| !is_of(name));
            self.devices.extend(facts.devices);
            let source = format!("{}/{}", pool.0, pool.1);
            changes.push(Change::Devices(source, facts.gpus, facts.findings));
            touched.insert(pool);
        }
        let names_one = |pod: &&Pod| {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            claim::references(pod).into_iter().any(|reference| {
                let name = reference.claim.map(|claim| (namespace.clone(), claim.to_owned()));
                let claim = name.and_then(|name| self.claims.get(&name));
                let allocation = claim.and_then(|claim| claim.status.allocation.as_ref());
                allocation.is_some_and(|allocation| {
                    let mut results = allocation.devices.results.iter();
                    results.any(|result| touched.contains(&(result.driver.clone(), result.pool.clone())))
                })
            })
        };
        let users = self.claimants.values().filter(names_one);
        changes.extend(users.map(|pod| self.read(pod, now)));
        changes
    }
}

fn name(meta: &ObjectMeta) -> Name {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (text(&meta.namespace), text(&meta.name))
}

fn pool(slice: &ResourceSlice) -> Pool {
    (slice.spec.driver.clone(), slice.spec.pool.name.clone())
}
