//! What vendors write beside the record of devices.

use std::collections::BTreeMap;

use super::Recorded;
use super::notes::Notes;
use crate::allocation::{Record, mig, quote, vendor_json};
use crate::inventory::{Allocation, FindingLevel, Mode};
use crate::object::{Pod, annotation};
use crate::vendor::{CoreUnit, Memory, Scheme};

/// Annotations that are kept as facts: row of the table of vendors, annotation, name of the fact. The first that is there counts.
const FACTS: &[(&str, &str, &str)] = &[
    // `<index of the card>_<cores>_<memory in 256 MiB>`
    ("cambricon", "CAMBRICON_DSMLU_PROFILE", "dsmluProfile"),
    ("cambricon", "CAMBRICON_DSMLU_ASSIGNED", "handedOut"),
    // As HAMi wrote it once.
    ("cambricon", "CAMBRICON_DSMLU_ASSIGHED", "handedOut"),
    ("mthreads", "mthreads.com/gpu-index", "deviceIndex"),
    ("enflame-drs", "enflame.com/gcu-assigned-index", "deviceIndex"),
    ("enflame-drs", "enflame.com/gcu-assigned-minor", "deviceMinor"),
    ("enflame-drs", "enflame.com/gcu-request-size", "slices"),
    ("enflame-drs", "enflame.com/gcu-assigned", "handedOut"),
    ("kunlun", "BAIDU_COM_DEVICE_IDX", "deviceIndex"),
    ("aws-neuron", "AWS_NEURON_IDS", "deviceIndex"),
    ("aws-neuron", "aws.amazon.com/neuron-index", "deviceIndex"),
    ("aws-neuron", "NEURON_RESOURCE_TYPE", "resourceType"),
    ("aws-neuron", "NEURON_ALLOCATED", "handedOut"),
    ("amd", "amd.com/gpu-index", "deviceIndex"),
];

/// `huawei.com/<chip>`: templates and amounts of Ascend.
const ASCEND: &str = "huawei.com/";
const METAX: &str = "metax-tech.com/gpu-devices-allocated";
const ENFLAME: &str = "assigned-containers";

/// More about the shares of a record.
#[derive(Debug, Default)]
pub(super) struct Extras {
    by_share: BTreeMap<(usize, usize), Extra>,
    by_container: BTreeMap<String, Extra>,
    common: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Extra {
    profile: Option<String>,
    memory_mib: Option<u64>,
    cores: Option<u32>,
    facts: BTreeMap<String, String>,
    unknown: Option<&'static str>,
}

impl Extras {
    /// Reads what belongs to a record.
    pub(super) fn read(
        pod: &Pod,
        recorded: &Recorded<'_>,
        word: Option<&str>,
        record: &Record<'_>,
        notes: &mut Notes,
    ) -> Self {
        let mut extras = Self::default();
        let vendor = recorded.vendor;
        for (_, key, fact) in FACTS.iter().filter(|(id, ..)| *id == vendor.id) {
            if let Some(value) = annotation(&pod.metadata, key) {
                let kept = extras.common.entry((*fact).to_owned());
                kept.or_insert_with(|| quote(value));
            }
        }
        match vendor.id {
            "nvidia" | "volcano-vgpu" => extras.mig(pod, recorded, record, notes),
            "ascend" => extras.ascend(pod, word, record, notes),
            "metax-sgpu" => extras.metax(pod, record, notes),
            "enflame-drs" => extras.enflame(pod, notes),
            _ => {}
        }
        if recorded.keys.scheme == Scheme::FourPd {
            extras.common.insert("scheme".to_owned(), "4pd".to_owned());
        }
        extras
    }

    /// Writes what is known of a share into its allocation. `container` is the name, if it is known.
    pub(super) fn apply(
        &self,
        slot: usize,
        index: usize,
        container: Option<&str>,
        allocation: &mut Allocation,
    ) {
        for (name, value) in &self.common {
            allocation
                .facts
                .entry(name.clone())
                .or_insert_with(|| value.clone());
        }
        let of_share = self.by_share.get(&(slot, index));
        let of_container = container.and_then(|container| self.by_container.get(container));
        for extra in of_share.into_iter().chain(of_container) {
            if extra.profile.is_some() {
                allocation.profile.clone_from(&extra.profile);
            }
            if let Some(memory) = extra.memory_mib.filter(|_| allocation.memory_mib.is_none()) {
                allocation.memory_mib = Some(memory);
                allocation.unknown.remove("memoryMib");
            }
            // 0 in the record is a share whose limit is written here, if it has one.
            if let Some(cores) = extra.cores.filter(|_| matches!(allocation.cores, None | Some(0))) {
                allocation.cores = Some(cores);
                allocation.unknown.remove("cores");
            }
            allocation.facts.extend(extra.facts.clone());
            if let Some(field) = extra.unknown {
                allocation.unknown.insert(field.into(), super::CODE.into());
            }
        }
    }

    fn mig(&mut self, pod: &Pod, recorded: &Recorded<'_>, record: &Record<'_>, notes: &mut Notes) {
        let written =
            annotation(&pod.metadata, mig::RESERVATIONS).filter(|_| recorded.keys.scheme == Scheme::Hami);
        let mut reservations = mig::reservations(written.unwrap_or_default());
        let mode = ["nvidia.com/vgpu-mode", "volcano.sh/vgpu-mode"]
            .iter()
            .find_map(|key| annotation(&pod.metadata, key));
        let mut wrong = std::mem::take(&mut reservations.faults);
        for (slot, index, share) in record.shares() {
            let (gpu, suffix) = mig::split(share.device);
            let reserved = reservations.by_share.remove(&(slot, index));
            let mut extra = Extra::default();
            match (suffix, reserved) {
                (_, Some(reserved)) if reserved.gpu == gpu => {
                    extra
                        .facts
                        .insert("migStart".to_owned(), reserved.start.to_string());
                    extra
                        .facts
                        .insert("migSize".to_owned(), reserved.size.to_string());
                    if let Some(instance) = reserved.instance {
                        extra.facts.insert("migUuid".to_owned(), instance.uuid);
                        extra
                            .facts
                            .insert("gpuInstanceId".to_owned(), instance.gpu_instance.to_string());
                        extra.facts.insert(
                            "computeInstanceId".to_owned(),
                            instance.compute_instance.to_string(),
                        );
                    }
                    extra.profile = Some(reserved.profile);
                }
                (_, Some(reserved)) => {
                    wrong.push(format!(
                        "the reservation for device {index} of container {slot} is of {}, the record names {gpu}",
                        quote(&reserved.gpu)
                    ));
                    extra.unknown = Some("profile");
                }
                (Ok(Some(suffix)), None) => {
                    extra
                        .facts
                        .insert("migTemplate".to_owned(), suffix.template.to_string());
                    extra
                        .facts
                        .insert("migPosition".to_owned(), suffix.position.to_string());
                    // The profile is at this place in the node's list of geometries, which no object shows.
                    extra.unknown = Some("profile");
                }
                (Err(error), None) => {
                    wrong.push(format!("the device {:?} {error}", quote(share.device)));
                    extra.unknown = Some("profile");
                }
                (Ok(None), None) if mode == Some("mig") => extra.unknown = Some("profile"),
                (Ok(None), None) => {}
            }
            self.by_share.insert((slot, index), extra);
        }
        for (slot, index) in reservations.by_share.keys() {
            wrong.push(format!(
                "the record has no device {index} of container {slot}, for which a MIG device is reserved"
            ));
        }
        let evidence = written.unwrap_or(recorded.value);
        let key = if written.is_some() {
            mig::RESERVATIONS
        } else {
            recorded.key
        };
        for sentence in wrong {
            notes.add(
                "unreadable-mig",
                FindingLevel::Warning,
                sentence,
                [(key, evidence)],
            );
        }
    }

    fn ascend(&mut self, pod: &Pod, word: Option<&str>, record: &Record<'_>, notes: &mut Notes) {
        let key = format!("{ASCEND}{}", word.unwrap_or_default());
        let Some(text) = annotation(&pod.metadata, &key) else {
            return;
        };
        let (written, mut wrong) = vendor_json::ascend(text);
        let mut written = written.into_iter();
        for (slot, index, share) in record.shares() {
            let Some(Some(own)) = written.next() else { continue };
            if own.device != share.device {
                wrong.push(format!(
                    "it names {} where the record has {}",
                    quote(&own.device),
                    quote(share.device)
                ));
                continue;
            }
            let extra = Extra {
                profile: own.template.filter(|template| !template.is_empty()),
                memory_mib: own.memory_mib,
                cores: own.cores,
                ..Extra::default()
            };
            self.by_share.insert((slot, index), extra);
        }
        tell(wrong, &key, text, notes);
    }

    fn metax(&mut self, pod: &Pod, record: &Record<'_>, notes: &mut Notes) {
        let Some(text) = annotation(&pod.metadata, METAX) else {
            return;
        };
        let (slots, mut wrong) = vendor_json::metax(text);
        for (slot, index, share) in record.shares() {
            let Some(Some(own)) = slots.get(slot).and_then(|slot| slot.get(index)) else {
                continue;
            };
            if own.uuid != share.device {
                wrong.push(format!(
                    "it names {} where the record has {}",
                    quote(&own.uuid),
                    quote(share.device)
                ));
                continue;
            }
            let extra = Extra {
                memory_mib: Some(own.memory_mib),
                cores: Some(own.compute),
                ..Extra::default()
            };
            self.by_share.insert((slot, index), extra);
        }
        tell(wrong, METAX, text, notes);
    }

    fn enflame(&mut self, pod: &Pod, notes: &mut Notes) {
        let Some(text) = annotation(&pod.metadata, ENFLAME) else {
            return;
        };
        let (containers, wrong) = vendor_json::enflame(text);
        for (container, own) in containers {
            let mut extra = Extra {
                profile: own.profile_name.filter(|profile| !profile.is_empty()),
                ..Extra::default()
            };
            extra
                .facts
                .insert("handedOut".to_owned(), own.allocated.to_string());
            if own.request > 0 {
                extra.facts.insert("slices".to_owned(), own.request.to_string());
            }
            if let Some(uuid) = own.instance_uuid.filter(|uuid| !uuid.is_empty()) {
                extra.facts.insert("instanceUuid".to_owned(), quote(&uuid));
            }
            self.by_container.insert(container, extra);
        }
        tell(wrong, ENFLAME, text, notes);
    }
}

fn tell(wrong: Vec<String>, key: &str, text: &str, notes: &mut Notes) {
    for sentence in wrong {
        notes.add(
            "unreadable-vendor-record",
            FindingLevel::Warning,
            format!("annotation {key}: {sentence}"),
            [(key, text)],
        );
    }
}

/// Turns the two numbers of a share into what they mean for the vendor.
pub(super) fn convert(recorded: &Recorded<'_>, allocation: &mut Allocation) {
    let vendor = recorded.vendor;
    match vendor.memory {
        Memory::Mib => {
            // A record of a whole card counts no memory where it says 0.
            if vendor.mode == Some(Mode::Whole) && allocation.memory_mib == Some(0) {
                allocation.memory_mib = None;
            }
        }
        Memory::Percent => {
            if let Some(percent) = allocation.memory_mib.take() {
                allocation
                    .facts
                    .insert("memoryPercent".to_owned(), percent.to_string());
            }
            allocation.unknown.remove("memoryMib");
        }
        Memory::None => {
            allocation.memory_mib = None;
            allocation.unknown.remove("memoryMib");
        }
    }
    match (vendor.cores, allocation.cores) {
        (CoreUnit::None, Some(0)) => allocation.cores = None,
        (CoreUnit::Bitmask, Some(mask)) => {
            allocation.facts.insert("coreMask".to_owned(), mask.to_string());
            allocation.cores = Some(vendor.cores.count(mask));
        }
        _ => {}
    }
}
