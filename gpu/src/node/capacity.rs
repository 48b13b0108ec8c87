//! Devices that no registration names: as many, and as large, as the node's capacity implies. HAMi makes them up in the same way.

use crate::object::Node;
use crate::quantity;
use crate::register::{Device, MAX_DEVICES, Problem, RegisterError, Registration};
use crate::vendor::{CapacityRule, CardMemory, Cards, MemoryUnit, Names, Slots};

/// The devices that a rule implies.
pub(super) fn devices(rule: &CapacityRule, names: &Names, node: &Node, node_name: &str) -> Registration {
    let capacity = &node.status.capacity;
    let units = |name: Option<&String>| quantity::units(capacity.get(name?)?);
    let count = names
        .find_count(capacity)
        .and_then(|(_, count)| quantity::units(count));
    let cores = units(names.cores.as_ref());
    let cards = match rule.cards {
        Cards::Count => count,
        Cards::CoresPerCard(each) => cores.map(|cores| cores.div_ceil(each)),
        Cards::Resource(name) => capacity.get(name).and_then(|count| quantity::units(count)),
    }
    .unwrap_or(0);
    let memory_mib = match rule.memory {
        CardMemory::Constant(mib) => Some(mib),
        CardMemory::Unknown => None,
        CardMemory::Shared => shared(rule.cards, names, units(names.memory.as_ref()), cores),
    };
    let (slots, cores_each) = match rule.slots {
        Slots::Fixed(slots, cores) => (Some(slots), Some(cores)),
        Slots::PerCore => {
            let each = cores
                .and_then(|cores| cores.checked_div(cards))
                .filter(|each| (1..=u64::from(u32::BITS)).contains(each))
                .and_then(|each| u32::try_from(each).ok());
            (each, each.map(|each| u32::MAX >> (u32::BITS - each)))
        }
    };
    let kind = names.vendor.keywords.first().copied().unwrap_or_default();
    let devices = (0..cards.min(MAX_DEVICES as u64))
        .map(|n| Device {
            id: format!("{node_name}{}{n}", rule.infix),
            index: u32::try_from(n).ok(),
            count: slots,
            memory_mib,
            cores: cores_each,
            kind: kind.to_owned(),
            numa: Some(i32::from(rule.numa_halves && n >= cards / 2)),
            ..Device::default()
        })
        .collect();
    let too_many = (cards > MAX_DEVICES as u64).then_some(Problem {
        entry: None,
        error: RegisterError::TooMany,
    });
    Registration {
        devices,
        problems: too_many.into_iter().collect(),
    }
}

/// The memory of one card: the node's is divided as its cores are.
fn shared(cards: Cards, names: &Names, memory: Option<u64>, cores: Option<u64>) -> Option<u64> {
    let MemoryUnit::Mib(unit) = names.memory_unit else {
        return None;
    };
    let Cards::CoresPerCard(each) = cards else {
        return None;
    };
    let all = u128::from(memory?) * u128::from(unit);
    let mib = (all * u128::from(each)).checked_div(cores?.into())?;
    u64::try_from(mib).ok().filter(|&mib| mib > 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::vendor::{Register, ResourceNames, by_name};

    fn read(vendor: &str, capacity: &[(&str, &str)]) -> Registration {
        let vendor = by_name(vendor).unwrap();
        let rule = vendor
            .register
            .iter()
            .find_map(|register| match register {
                Register::Capacity(rule) => Some(rule),
                Register::Annotation { .. } => None,
            })
            .unwrap();
        let mut node = Node::default();
        node.status.capacity = capacity
            .iter()
            .map(|(name, count)| ((*name).to_owned(), (*count).to_owned()))
            .collect::<BTreeMap<_, _>>();
        devices(rule, &ResourceNames::default().of(vendor, None), &node, "n")
    }

    #[test]
    fn cambricon() {
        let read = read(
            "cambricon",
            &[
                ("cambricon.com/mlu.smlu.vcore", "750"),
                ("cambricon.com/mlu.smlu.vmemory", "1440"),
            ],
        );
        assert_eq!(read.devices.len(), 8, "rounded up");
        assert_eq!(read.devices[7].id, "n-cambricon-mlu-7");
        // 1440 * 256 * 100 / 750
        assert_eq!(read.devices[0].memory_mib, Some(49152));
        assert_eq!(
            (read.devices[0].count, read.devices[0].cores),
            (Some(100), Some(100))
        );
    }

    #[test]
    fn moore_threads() {
        let read = read(
            "mthreads",
            &[
                ("mthreads.com/sgpu-core", "32"),
                ("mthreads.com/sgpu-memory", "192"),
            ],
        );
        assert_eq!(read.devices.len(), 2);
        assert_eq!(
            (read.devices[1].memory_mib, read.devices[1].cores),
            (Some(49152), Some(16))
        );
    }

    #[test]
    fn kunlun_is_on_two_numa_nodes() {
        let read = read("kunlun", &[("kunlunxin.com/xpu", "3")]);
        let numa: Vec<_> = read.devices.iter().map(|device| device.numa).collect();
        assert_eq!(numa, [Some(0), Some(1), Some(1)]);
    }

    #[test]
    fn neuron_counts_cores_in_bits() {
        let neuron = |cores| {
            read(
                "aws-neuron",
                &[
                    ("aws.amazon.com/neuron", "2"),
                    ("aws.amazon.com/neuroncore", cores),
                ],
            )
        };
        let two = neuron("4");
        assert_eq!(
            (two.devices[0].count, two.devices[0].cores),
            (Some(2), Some(0b11))
        );
        assert_eq!(two.devices[1].id, "n-AWSNeuron-1");
        assert_eq!(neuron("64").devices[0].cores, Some(u32::MAX));
        assert_eq!(neuron("1").devices[0].cores, None, "no core for each");
        assert_eq!(neuron("66").devices[0].cores, None, "more than bits");
        assert_eq!(
            read("aws-neuron", &[("aws.amazon.com/neuron", "2")]).devices[0].count,
            None
        );
    }

    #[test]
    fn nothing_and_nonsense() {
        assert!(read("kunlun", &[]).devices.is_empty());
        for count in ["0", "-1", "x", "1500m"] {
            assert!(
                read("kunlun", &[("kunlunxin.com/xpu", count)]).devices.is_empty(),
                "{count}"
            );
        }
        let many = read("kunlun", &[("kunlunxin.com/xpu", "1e12")]);
        assert_eq!((many.devices.len(), many.problems.len()), (MAX_DEVICES, 1));
        let huge = read(
            "cambricon",
            &[
                ("cambricon.com/mlu.smlu.vcore", "1"),
                ("cambricon.com/mlu.smlu.vmemory", "18446744073709551615"),
            ],
        );
        assert_eq!(huge.devices[0].memory_mib, None);
        let none = read("cambricon", &[("cambricon.com/mlu.smlu.vcore", "100")]);
        assert_eq!(none.devices[0].memory_mib, None, "unknown, not 0");
    }
}
