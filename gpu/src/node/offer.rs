//! What the kubelet offers of a vendor's devices.

use std::collections::BTreeMap;

use super::source::Source;
use crate::inventory::GpuSource;
use crate::object::Node;
use crate::quantity;
use crate::vendor::{Cards, Register, VENDORS};

/// An extended resource of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// Its name; the one it should have, if there is none.
    pub(super) resource: String,
    /// `status.allocatable`: devices, or shares, that work.
    pub(super) allocatable: u64,
    /// `status.capacity`: all of them.
    pub(super) capacity: u64,
}

impl Offer {
    /// The resource that counts a source's devices.
    pub(super) fn of(source: &Source<'_>, node: &Node) -> Self {
        let resource = name(source, node);
        let amount = |resources: &BTreeMap<String, String>| {
            resources
                .get(&resource)
                .and_then(|amount| quantity::units(amount))
                .unwrap_or(0)
        };
        Self {
            allocatable: amount(&node.status.allocatable),
            capacity: amount(&node.status.capacity),
            resource,
        }
    }
}

fn name(source: &Source<'_>, node: &Node) -> String {
    let names = &source.names;
    // Cut into MIG devices that have resources of their own: then there are no whole ones.
    if source.kind == GpuSource::Labels
        && let Some((mig, _)) = node
            .status
            .allocatable
            .iter()
            .find(|(name, count)| name.starts_with("nvidia.com/mig-") && quantity::units(count) > Some(0))
    {
        return mig.clone();
    }
    let lists = [&node.status.allocatable, &node.status.capacity];
    if let Some((known, _)) = lists.iter().find_map(|list| names.find_count(list)) {
        return known.to_owned();
    }
    // Counted by their cores where the vendor has no resource for the devices.
    let counted = source.vendor.register.iter().find_map(|register| match register {
        Register::Capacity(rule) if source.kind == GpuSource::Capacity => match rule.cards {
            Cards::Count => None,
            Cards::CoresPerCard(_) => names.cores.clone(),
            Cards::Resource(name) => Some(name.to_owned()),
        },
        _ => None,
    });
    if let Some(counted) = counted {
        return counted;
    }
    renamed(source, node).unwrap_or_else(|| names.count.clone())
}

/// A resource of the same vendor that offers just as much as is registered: the installation has renamed it, and could not be asked.
fn renamed(source: &Source<'_>, node: &Node) -> Option<String> {
    let names = &source.names;
    if names.configured {
        return None;
    }
    let (domain, _) = names.count.split_once('/')?;
    let devices = &source.registration.devices;
    let sum = |healthy_only: bool| -> u64 {
        devices
            .iter()
            .filter(|device| !healthy_only || device.health == Some(true))
            .filter_map(|device| device.count)
            .map(u64::from)
            .sum()
    };
    let others = |name: &str| VENDORS.iter().any(|vendor| vendor.resources.count == name);
    let known = [
        &names.memory,
        &names.memory_percent,
        &names.cores,
        &names.priority,
    ];
    node.status
        .allocatable
        .iter()
        .filter(|(name, _)| name.split_once('/').is_some_and(|(prefix, _)| prefix == domain))
        .filter(|(name, _)| known.iter().all(|known| known.as_ref() != Some(*name)))
        .filter(|(name, _)| !others(name))
        .find(|(_, amount)| {
            quantity::units(amount)
                .is_some_and(|amount| amount > 0 && (amount == sum(true) || amount == sum(false)))
        })
        .map(|(name, _)| name.clone())
}
