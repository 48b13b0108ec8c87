use proptest::prelude::*;
use serde::Deserialize;

use super::mapping::{Seat, place};
use super::mig::{Suffix, split};
use super::*;
use crate::inventory::Mapping;

fn cases<T: for<'a> Deserialize<'a>>(name: &str) -> Vec<T> {
    let path = format!("{}/../tests/fixtures/cases/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn records_of_the_case_file() {
    #[derive(Deserialize)]
    struct Case {
        value: String,
        segments: Option<Vec<Vec<Expected>>>,
        error: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Expected {
        uuid: String,
        r#type: String,
        mem_mi_b: u64,
        cores: u32,
    }
    let cases: Vec<Case> = cases("pod-allocated.json");
    assert!(cases.len() >= 9);
    for case in cases {
        let read = parse(&case.value);
        let Some(segments) = case.segments else {
            let told = match case.error.as_deref().unwrap() {
                "fewer than 4 fields" => Reason::Fields(3),
                "memory field empty" => Reason::Memory,
                other => panic!("the case file has a new error {other}"),
            };
            assert_eq!(read.faults.len(), 1, "{}: {:?}", case.value, read.faults);
            assert_eq!(read.faults[0].reason, told, "{}", case.value);
            assert!(read.slots[0].filled);
            continue;
        };
        assert_eq!(read.faults, [], "{}", case.value);
        let slots: Vec<Vec<Share<'_>>> = segments
            .iter()
            .map(|segment| {
                let share = |share: &Expected| Share {
                    device: Box::leak(share.uuid.clone().into_boxed_str()),
                    keyword: Box::leak(share.r#type.clone().into_boxed_str()),
                    memory_mib: Some(share.mem_mi_b),
                    cores: Some(share.cores),
                };
                segment.iter().map(share).collect()
            })
            .collect();
        let read: Vec<_> = read.slots.into_iter().map(|slot| slot.shares).collect();
        assert_eq!(read, slots, "{}", case.value);
    }
}

#[test]
fn containers_of_the_case_file() {
    #[derive(Deserialize)]
    struct Case {
        hami: String,
        containers: Vec<String>,
        inits: Vec<String>,
        value: String,
        map: Option<std::collections::BTreeMap<String, Vec<String>>>,
    }
    let cases: Vec<Case> = cases("segment-to-container.json");
    assert!(cases.len() >= 6);
    for case in cases {
        let names: Vec<&String> = case.inits.iter().chain(&case.containers).collect();
        let seats: Vec<Seat> = names
            .iter()
            .enumerate()
            .map(|(index, name)| Seat {
                init: index < case.inits.len(),
                asks: name.ends_with('*'),
            })
            .collect();
        let record = parse(&case.value);
        let filled: Vec<bool> = record.slots.iter().map(|slot| slot.filled).collect();
        let placement = place(&filled, &seats, false);
        let mut map = std::collections::BTreeMap::<String, Vec<String>>::new();
        for (slot, _, share) in record.shares() {
            if let Some(seat) = placement.seats[slot] {
                let name = names[seat].trim_end_matches('*').to_owned();
                map.entry(name).or_default().push(share.device.to_owned());
            }
        }
        let unknown = placement.mapping == Mapping::Unknown;
        assert_eq!((!unknown).then_some(map), case.map, "{}", case.hami);
    }
}

#[test]
fn mig_suffixes_of_the_case_file() {
    #[derive(Deserialize)]
    struct Case {
        value: String,
        gpu: Option<String>,
        template: Option<u32>,
        position: Option<u32>,
        #[serde(default)]
        error: bool,
    }
    let cases: Vec<Case> = cases("mig-uuid-legacy.json");
    assert!(cases.len() >= 8);
    for case in cases {
        let (gpu, suffix) = split(&case.value);
        assert_eq!(suffix.is_err(), case.error, "{}", case.value);
        if let Ok(suffix) = suffix {
            assert_eq!(Some(gpu), case.gpu.as_deref());
            let expected = case.template.zip(case.position);
            assert_eq!(
                suffix,
                expected.map(|(template, position)| Suffix { template, position })
            );
        }
    }
}

#[test]
fn a_bad_entry_takes_nothing_with_it() {
    let read = parse(
        "GPU-a,NVIDIA,500,5:GPU-b,NVIDIA,x,7:junk:;GPU-c,NVIDIA,1,-1,more:;,NVIDIA,5,5:;GPU-d,NVIDIA,9:;",
    );
    let reasons: Vec<_> = read
        .faults
        .iter()
        .map(|fault| (fault.slot, fault.entry, fault.reason))
        .collect();
    assert_eq!(
        reasons,
        [
            (0, 1, Reason::Memory),
            (0, 2, Reason::NoShare),
            (1, 0, Reason::Cores),
            (2, 0, Reason::Device),
            (3, 0, Reason::Fields(3)),
        ]
    );
    let shares: Vec<_> = read
        .shares()
        .map(|(slot, index, share)| (slot, index, share.device, share.memory_mib, share.cores))
        .collect();
    assert_eq!(
        shares,
        [
            (0, 0, "GPU-a", Some(500), Some(5)),
            (0, 1, "GPU-b", None, Some(7)),
            (1, 0, "GPU-c", Some(1), None),
            (3, 0, "GPU-d", None, None),
        ]
    );
    assert_eq!(
        read.faults[0].to_string(),
        "entry 1 of container 0, \"GPU-b,NVIDIA,x,7\", has a memory field that is not a number of MiB"
    );
}

#[test]
fn what_counts_as_empty() {
    for (text, slots) in [
        ("", 0),
        (";", 1),
        (":;", 1),
        (",,0,0:;;", 2),
        (",,0,0", 1),
        (":;:;", 2),
    ] {
        let read = parse(text);
        assert_eq!(read.slots.len(), slots, "{text}");
        assert!(read.is_empty(), "{text}");
    }
    assert!(!parse("x;").is_empty());
    assert!(!parse(",,0,1:;").is_empty());
    // HAMi keeps both numbers in 32 bits with a sign.
    assert_eq!(parse("a,b,2147483647,0:;").faults, []);
    assert_eq!(parse("a,b,2147483648,0:;").faults[0].reason, Reason::Memory);
}

#[test]
fn long_records_are_cut_and_told() {
    let many = ";".repeat(MAX_SLOTS * 3);
    let read = parse(&many);
    assert_eq!(read.slots.len(), MAX_SLOTS);
    assert_eq!(read.faults.last().unwrap().reason, Reason::TooMany);
    let wide = "G,N,1,1:".repeat(MAX_SHARES + 10);
    let read = parse(&wide);
    assert_eq!(read.shares().count(), MAX_SHARES);
    assert_eq!(read.faults.last().unwrap().reason, Reason::TooMany);
}

fn seats(inits: &str, apps: &str) -> Vec<Seat> {
    let group = |text: &str, init| {
        text.chars()
            .map(move |c| Seat { init, asks: c == '*' })
            .collect::<Vec<_>>()
    };
    [group(inits, true), group(apps, false)].concat()
}

#[test]
fn placements() {
    let filled = |text: &str| text.chars().map(|c| c == 'x').collect::<Vec<_>>();
    for (slots, inits, apps, open, mapping, at) in [
        // As many filled slots as containers that ask.
        (
            "..x",
            "--",
            "*",
            false,
            Mapping::Requests,
            vec![None, None, Some(2)],
        ),
        ("x", "--", "*", false, Mapping::Requests, vec![Some(2)]),
        ("xx", "*", "-*", false, Mapping::Requests, vec![Some(0), Some(2)]),
        ("..", "-", "-", false, Mapping::Requests, vec![None, None]),
        // Not as many: the number of slots says what they count.
        (
            "x..",
            "-",
            "--",
            false,
            Mapping::Position,
            vec![Some(0), None, None],
        ),
        (".x", "-", "--", false, Mapping::Position, vec![None, Some(2)]),
        ("x.", "", "**", false, Mapping::Position, vec![Some(0), None]),
        // A last empty slot cannot be seen where `;` only stands between.
        ("x", "", "**", true, Mapping::Position, vec![Some(0)]),
        ("x", "", "**", false, Mapping::Unknown, vec![None]),
        ("xxx", "", "*", false, Mapping::Unknown, vec![None; 3]),
        // The position names a container that does not ask while others do.
        (".x.", "", "*-*", false, Mapping::Unknown, vec![None; 3]),
    ] {
        let placement = place(&filled(slots), &seats(inits, apps), open);
        assert_eq!(
            (placement.mapping, placement.seats),
            (mapping, at),
            "{slots} {inits} {apps}"
        );
    }
}

#[test]
fn reservations_are_kept_one_by_one() {
    let whole = r#"{"containerIndex":0,"deviceIndex":0,"gpuUUID":"GPU-a","profile":"2g.10gb","placement":{"start":2,"size":2}}"#;
    let made = r#"{"containerIndex":1,"deviceIndex":0,"gpuUUID":"GPU-a","profile":"1g.5gb","placement":{"size":1},"migUUID":"MIG-1","gpuInstanceID":0,"computeInstanceID":3,"new":true}"#;
    let partial = made
        .replace(r#","computeInstanceID":3"#, "")
        .replace(r#"Index":1"#, r#"Index":2"#);
    let other = whole.replace("2g.10gb", "1g.5gb");
    let no_size = r#"{"containerIndex":7,"deviceIndex":0,"gpuUUID":"GPU-a","profile":"p","placement":{"start":0,"size":0}}"#;
    let read = mig::reservations(&format!("[{whole},{made},{partial},{no_size},{{}},7]"));
    assert_eq!(read.faults.len(), 4, "{:?}", read.faults);
    assert_eq!(read.by_share.len(), 3);
    assert_eq!(read.by_share[&(0, 0)].instance, None);
    assert_eq!(
        (read.by_share[&(0, 0)].start, read.by_share[&(0, 0)].size),
        (2, 2)
    );
    let instance = read.by_share[&(1, 0)].instance.as_ref().unwrap();
    assert_eq!(
        (
            instance.uuid.as_str(),
            instance.gpu_instance,
            instance.compute_instance
        ),
        ("MIG-1", 0, 3)
    );
    assert_eq!(read.by_share[&(2, 0)].instance, None);
    assert_eq!(read.by_share[&(2, 0)].profile, "1g.5gb");

    // The same twice is harmless; two that differ say nothing.
    assert_eq!(mig::reservations(&format!("[{whole},{whole}]")).by_share.len(), 1);
    let differ = mig::reservations(&format!("[{whole},{other},{made}]"));
    assert_eq!(differ.by_share.keys().collect::<Vec<_>>(), [&(1, 0)]);
    assert_eq!(differ.faults.len(), 1);

    for (text, faults) in [("", 0), ("null", 0), ("[]", 0), ("{}", 1), ("[", 1), ("nope", 1)] {
        let read = mig::reservations(text);
        assert_eq!((read.by_share.len(), read.faults.len()), (0, faults), "{text}");
    }
}

#[test]
fn vendors_json_is_kept_entry_by_entry() {
    let (shares, faults) = vendor_json::ascend(
        r#"[{"UUID":"a","temp":"vir05_1c_8g"},{"UUID":"b","core":"x"},{"UUID":"c","core":40,"memory":8192}]"#,
    );
    assert_eq!(faults.len(), 1);
    assert_eq!(
        shares[0].as_ref().unwrap().template.as_deref(),
        Some("vir05_1c_8g")
    );
    assert_eq!(shares[1], None);
    assert_eq!(shares[2].as_ref().unwrap().cores, Some(40));

    let (slots, faults) = vendor_json::metax(r#"[null,[{"uuid":"m","compute":30,"vRam":8192},{}],5,[]]"#);
    assert_eq!((slots.len(), faults.len()), (4, 2));
    assert_eq!(slots[1][0].as_ref().unwrap().memory_mib, 8192);
    assert_eq!(slots[1][1], None);

    let (containers, faults) = vendor_json::enflame(
        r#"{"a":{"allocated":true,"request":3,"profileID":"1","profileName":"3g.20gb"},"b":5}"#,
    );
    assert_eq!(faults.len(), 1);
    assert_eq!(containers["a"].profile_name.as_deref(), Some("3g.20gb"));
}

fn share() -> impl Strategy<Value = (String, String, u32, u32)> {
    (
        "[A-Za-z0-9._\\[\\]-]{1,40}",
        "[A-Za-z0-9 ._-]{0,20}",
        0..=i32::MAX.unsigned_abs(),
        0..=i32::MAX.unsigned_abs(),
    )
        .prop_map(|(device, keyword, memory, cores)| (device, keyword.trim().to_owned(), memory, cores))
}

proptest! {
    /// What HAMi writes is read back as it was, with every kind of empty slot.
    #[test]
    fn round_trip(slots in prop::collection::vec(prop::collection::vec(share(), 0..4), 0..8), old_empty in any::<bool>(), ended in any::<bool>()) {
        let mut written: Vec<String> = Vec::new();
        for slot in &slots {
            let text = slot.iter().map(|(device, keyword, memory, cores)| format!("{device},{keyword},{memory},{cores}:")).collect::<Vec<_>>().concat();
            written.push(if text.is_empty() && old_empty { ",,0,0:".into() } else { text });
        }
        let mut text = written.join(";");
        let lost_end = !ended && written.last().is_some_and(String::is_empty);
        if ended && !written.is_empty() {
            text.push(';');
        }
        let read = parse(&text);
        prop_assert_eq!(&read.faults, &vec![]);
        prop_assert_eq!(read.slots.len(), slots.len() - usize::from(lost_end));
        for (read, slot) in read.slots.iter().zip(&slots) {
            prop_assert_eq!(read.filled, !slot.is_empty());
            let again: Vec<_> = read.shares.iter().map(|share| (share.device.to_owned(), share.keyword.to_owned(), share.memory_mib, share.cores)).collect();
            let wrote: Vec<_> = slot.iter().map(|(device, keyword, memory, cores)| (device.clone(), keyword.clone(), Some(u64::from(*memory)), Some(*cores))).collect();
            prop_assert_eq!(again, wrote);
        }
    }

    /// Whatever stands beside a good share, the share is read.
    #[test]
    fn salvage(before in "[^;:]{0,30}", after in "[^;:]{0,30}") {
        let text = format!("{before};{before}:GPU-good,NVIDIA,77,7:{after}:;{after};");
        let read = parse(&text);
        let good = read.shares().filter(|(slot, _, share)| *slot == 1 && share.device == "GPU-good").count();
        prop_assert_eq!(good, 1);
        prop_assert_eq!(read.slots.len(), 3);
    }

    #[test]
    fn never_panics(text in "\\PC*", other in "[GPU,;:0-9\\[\\]{}\"-]{0,200}") {
        for text in [text, other] {
            let read = parse(&text);
            for (_, _, share) in read.shares() {
                let (gpu, _) = split(share.device);
                prop_assert!(share.device.starts_with(gpu));
            }
            mig::reservations(&text);
            vendor_json::ascend(&text);
            vendor_json::metax(&text);
            vendor_json::enflame(&text);
        }
    }

    #[test]
    fn mig_suffix_round_trip(gpu in "GPU-[a-f0-9-]{1,36}", template in any::<u32>(), position in any::<u32>()) {
        let text = format!("{gpu}[{template}-{position}]");
        prop_assert_eq!(split(&text), (gpu.as_str(), Ok(Some(Suffix { template, position }))));
    }

    #[test]
    fn reservation_round_trip(entries in prop::collection::btree_map((0usize..8, 0usize..8), ("[a-zA-Z0-9-]{1,20}", "[1-7]g\\.[0-9]{1,3}gb", 0u32..8, 1u32..8), 0..12)) {
        let text = entries.iter().map(|((slot, device), (gpu, profile, start, size))| serde_json::json!({
            "containerIndex": slot, "deviceIndex": device, "gpuUUID": gpu, "profile": profile, "placement": {"start": start, "size": size}
        })).collect::<serde_json::Value>().to_string();
        let read = mig::reservations(&text);
        prop_assert_eq!(&read.faults, &Vec::<String>::new());
        prop_assert_eq!(read.by_share.keys().collect::<Vec<_>>(), entries.keys().collect::<Vec<_>>());
        for (key, (gpu, profile, start, size)) in &entries {
            let reservation = &read.by_share[key];
            prop_assert_eq!((&reservation.gpu, &reservation.profile, reservation.start, reservation.size), (gpu, profile, *start, *size));
        }
    }

    /// A filled slot is never placed on two containers, nor two slots on one, and never on one that does not exist.
    #[test]
    fn places_are_distinct(filled in prop::collection::vec(any::<bool>(), 0..8), inits in prop::collection::vec(any::<bool>(), 0..4), apps in prop::collection::vec(any::<bool>(), 0..5), open in any::<bool>()) {
        let seats: Vec<Seat> = inits.iter().map(|asks| Seat { init: true, asks: *asks }).chain(apps.iter().map(|asks| Seat { init: false, asks: *asks })).collect();
        let placement = place(&filled, &seats, open);
        prop_assert_eq!(placement.seats.len(), filled.len());
        let mut used: Vec<usize> = placement.seats.iter().flatten().copied().collect();
        prop_assert!(used.is_sorted() && used.iter().all(|seat| *seat < seats.len()));
        used.dedup();
        let expected = if placement.mapping == Mapping::Unknown { 0 } else { filled.iter().filter(|filled| **filled).count() };
        prop_assert_eq!(used.len(), expected);
    }
}
