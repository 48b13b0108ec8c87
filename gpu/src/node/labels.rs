//! Labels of NVIDIA's GPU Feature Discovery. They describe one model for the whole node, and so are believed only for devices of that model.

use crate::inventory::Mode;
use crate::object::{Node, label};
use crate::quantity;
use crate::register::{Device, MAX_DEVICES};
use crate::version::Version;

/// What the labels say of the node's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Discovered {
    /// The model, with dashes for spaces.
    product: String,
    /// Memory of each device, MiB.
    memory_mib: Option<u64>,
    /// Devices.
    count: Option<u64>,
    /// How NVIDIA's own plugin shares them.
    mode: Option<Mode>,
    /// Profile of MIG devices, where each is a device of its own.
    mig_profile: Option<String>,
}

const PRODUCT: &str = "nvidia.com/gpu.product";

/// Version of the driver.
pub(super) fn driver_version(node: &Node) -> Option<String> {
    let text = |key: &str| label(&node.metadata, key).filter(|value| value.parse::<Version>().is_ok());
    let parts = |keys: [&str; 3]| {
        let [major, minor, revision] = keys.map(|key| label(&node.metadata, key).unwrap_or_default());
        major.parse::<u32>().ok()?;
        let parts: Vec<&str> = [major, minor, revision]
            .into_iter()
            .take_while(|part| !part.is_empty())
            .collect();
        Some(parts.join("."))
    };
    text("nvidia.com/cuda.driver-version.full")
        .map(str::to_owned)
        .or_else(|| {
            parts([
                "nvidia.com/cuda.driver-version.major",
                "nvidia.com/cuda.driver-version.minor",
                "nvidia.com/cuda.driver-version.revision",
            ])
        })
        .or_else(|| {
            parts([
                "nvidia.com/cuda.driver.major",
                "nvidia.com/cuda.driver.minor",
                "nvidia.com/cuda.driver.rev",
            ])
        })
        .or_else(|| text("nvidia.com/vgpu.host-driver-version").map(str::to_owned))
}

/// What the labels say; `None` without a product.
pub(super) fn discovered(node: &Node) -> Option<Discovered> {
    let number = |key: &str| label(&node.metadata, key)?.parse::<u64>().ok();
    let product = label(&node.metadata, PRODUCT)?;
    // Written by the plugin when devices are shared without a name of their own.
    let product = product.strip_suffix("-SHARED").unwrap_or(product);
    let (product, mig_profile) = match product.split_once("-MIG-") {
        Some((product, profile)) => (product, Some(profile.to_owned())),
        None => (product, None),
    };
    let replicas = number("nvidia.com/gpu.replicas").unwrap_or(1);
    let mode = match label(&node.metadata, "nvidia.com/gpu.sharing-strategy") {
        _ if mig_profile.is_some() => Some(Mode::Mig),
        Some("time-slicing") => Some(Mode::TimeSlicing),
        Some("mps") => Some(Mode::Mps),
        // Before there was a choice, replicas were time slices.
        None if replicas > 1 => Some(Mode::TimeSlicing),
        _ => None,
    };
    Some(Discovered {
        product: product.to_owned(),
        memory_mib: number("nvidia.com/gpu.memory").filter(|&memory| memory > 0),
        count: number("nvidia.com/gpu.count"),
        mode,
        mig_profile,
    })
}

impl Discovered {
    /// Memory that is built into devices of a model; `None` if the labels are about another.
    pub(super) fn memory_of(&self, model: &str) -> Option<u64> {
        (self.mig_profile.is_none() && plain(&self.product) == plain(model))
            .then_some(self.memory_mib)
            .flatten()
    }

    /// The devices of a node that registers none: how many and of which model is all that is known.
    pub(super) fn devices(&self, node: &Node, node_name: &str) -> Vec<Device> {
        let offered = node
            .status
            .capacity
            .get("nvidia.com/gpu")
            .and_then(|count| quantity::units(count));
        let count = self.count.or(offered).unwrap_or(0);
        // Replicas, or what HAMi's plugin offers for each before it has registered.
        let slots = offered
            .filter(|offered| count > 0 && *offered > 0 && offered.is_multiple_of(count))
            .and_then(|offered| u32::try_from(offered / count).ok());
        let profiles = match &self.mig_profile {
            Some(profile) => vec![profile.clone()],
            None => mig_resources(node),
        };
        let mode = match self.mode {
            None if !profiles.is_empty() => Some(Mode::Mig),
            mode => mode,
        };
        (0..count.min(MAX_DEVICES as u64))
            .map(|n| Device {
                id: format!("{node_name}-nvidia-{n}"),
                index: u32::try_from(n).ok(),
                count: slots,
                memory_mib: self.memory_mib,
                kind: self.product.clone(),
                mode: mode.map(name).unwrap_or_default().to_owned(),
                mig_profiles: profiles.clone(),
                ..Device::default()
            })
            .collect()
    }
}

/// Profiles that NVIDIA's plugin offers as resources: `nvidia.com/mig-1g.5gb`.
fn mig_resources(node: &Node) -> Vec<String> {
    node.status
        .capacity
        .iter()
        .filter(|(_, count)| quantity::units(count).is_some_and(|count| count > 0))
        .filter_map(|(name, _)| name.strip_prefix("nvidia.com/mig-"))
        .map(str::to_owned)
        .collect()
}

/// The word that a registration has for a mode.
const fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::HamiCore => "hami-core",
        Mode::Mig => "mig",
        Mode::Mps => "mps",
        Mode::TimeSlicing => "time-slicing",
        Mode::Slice | Mode::Whole => "",
    }
}

/// A name of a model as NVML, HAMi and the labels have in common: `NVIDIA A100-SXM4-40GB` is `NVIDIA-A100-SXM4-40GB`.
fn plain(model: &str) -> String {
    let dashed = model.trim().replace(' ', "-").to_ascii_lowercase();
    dashed
        .strip_prefix("nvidia-")
        .map_or_else(|| dashed.clone(), str::to_owned)
}
