use proptest::prelude::*;

use super::*;
use crate::inventory::{Capacity, Used};

/// A card of 80 GiB and 100 cores that ten containers may share.
fn gpu(used: Used) -> Gpu {
    Gpu {
        id: "n1/GPU-1".to_owned(),
        uuid: "GPU-1".to_owned(),
        node: "n1".to_owned(),
        vendor: "nvidia".to_owned(),
        model: Some("NVIDIA H100 80GB HBM3".to_owned()),
        mode: Some(Mode::HamiCore),
        capacity: Capacity {
            slots: Some(10),
            memory_mib: Some(81920),
            cores: Some(100),
        },
        used,
        healthy: Some(true),
        ..Gpu::default()
    }
}

const fn used(slots: u32, memory_mib: u64, cores: u32) -> Used {
    Used {
        slots,
        memory_mib,
        cores,
    }
}

fn request(memory_mib: u64, cores: u32) -> Request {
    Request {
        memory: Some(Memory::Mib(memory_mib)),
        cores,
        ..Request::default()
    }
}

const READY: Option<NodeState> = Some(NodeState {
    ready: Some(true),
    schedulable: true,
});

fn reasons(request: &Request, gpu: &Gpu) -> Vec<Reason> {
    device(request, gpu).reasons
}

#[test]
fn a_share_fits_where_slots_memory_and_cores_are_free() {
    let request = request(20000, 30);
    assert_eq!(reasons(&request, &gpu(used(9, 61920, 70))), []);
    assert_eq!(
        reasons(&request, &gpu(used(10, 61921, 71))),
        [
            Reason::NoSlot { slots: 10, used: 10 },
            Reason::Memory {
                needed: 20000,
                free: 19999
            },
            Reason::Cores { needed: 30, free: 29 },
        ]
    );
}

#[test]
fn no_memory_said_is_all_of_it() {
    let all = Request::default();
    assert_eq!(reasons(&all, &gpu(Used::default())), []);
    let shared = reasons(&all, &gpu(used(1, 1, 0)));
    assert_eq!(
        shared,
        [Reason::Memory {
            needed: 81920,
            free: 81919
        }]
    );
    let half = Request {
        memory: Some(Memory::Percent(50)),
        ..Request::default()
    };
    assert_eq!(reasons(&half, &gpu(used(1, 40960, 0))), []);
}

#[test]
fn a_hundred_cores_are_the_card_alone() {
    assert_eq!(
        reasons(&request(1000, 100), &gpu(used(1, 1000, 0))),
        [Reason::Shared]
    );
    assert_eq!(
        reasons(&request(1000, 0), &gpu(used(1, 1000, 100))),
        [Reason::CoresExhausted]
    );
    let mut scaled = gpu(used(1, 1000, 0));
    scaled.capacity.cores = Some(200);
    assert_eq!(reasons(&request(1000, 100), &scaled), []);
}

#[test]
fn a_card_that_is_out_says_why() {
    let card = Gpu {
        healthy: Some(false),
        cordoned: true,
        stale: true,
        ..gpu(Used::default())
    };
    assert_eq!(
        reasons(&request(1, 1), &card),
        [Reason::Unhealthy, Reason::Cordoned, Reason::Stale]
    );
}

#[test]
fn unknown_is_neither_nothing_nor_plenty() {
    let mut card = gpu(Used::default());
    card.healthy = None;
    card.capacity = Capacity::default();
    card.unknown.insert("used".into(), "KTA-HAMI-004".into());
    let fit = device(&request(1, 1), &card);
    assert_eq!(fit.verdict, Verdict::Unknown);
    assert_eq!(
        fit.reasons,
        [
            Reason::HealthUnknown,
            Reason::SlotsUnknown,
            Reason::UsedUnknown,
            Reason::MemoryUnknown,
            Reason::CoresUnknown,
        ]
    );
    // What is known to stand against it decides.
    card.cordoned = true;
    assert_eq!(device(&request(1, 1), &card).verdict, Verdict::No);
}

#[test]
fn whole_cards_and_time_slices_have_their_own_rules() {
    let mut card = gpu(Used::default());
    card.mode = Some(Mode::Whole);
    card.capacity = Capacity {
        slots: Some(1),
        ..Capacity::default()
    };
    card.physical_memory_mib = Some(65536);
    assert_eq!(reasons(&Request::default(), &card), []);
    assert_eq!(reasons(&request(65536, 50), &card), []);
    let large = reasons(&request(65537, 0), &card);
    assert_eq!(
        large,
        [Reason::Memory {
            needed: 65537,
            free: 65536
        }]
    );
    card.mode = Some(Mode::TimeSlicing);
    assert_eq!(reasons(&Request::default(), &card), []);
    assert_eq!(reasons(&request(1, 0), &card), [Reason::NoLimits]);
}

#[test]
fn a_mig_card_takes_the_next_larger_profile() {
    let mut card = gpu(Used::default());
    card.mode = Some(Mode::Mig);
    card.capacity.slots = Some(7);
    assert_eq!(reasons(&request(1, 0), &card), [Reason::ProfileUnknown]);
    card.mig_profiles = ["1g.10gb", "2g.20gb", "1g.10gb+me", "7g.80gb", "odd"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(reasons(&request(12000, 0), &card), []);
    assert_eq!(reasons(&Request::default(), &card), []);
    card.used = used(3, 65000, 0);
    assert_eq!(
        reasons(&request(12000, 0), &card),
        [Reason::Memory {
            needed: 20480,
            free: 16920
        }]
    );
    // A place may be missing although there is memory.
    assert_eq!(reasons(&request(10000, 0), &card), [Reason::ProfileUnknown]);
    card.mig_profiles.truncate(2);
    assert_eq!(reasons(&request(30000, 0), &card), [Reason::NoProfile]);
}

#[test]
fn pieces_of_a_vendor_are_rounded_up_with_care() {
    let mut card = gpu(used(3, 24576, 0));
    card.mode = Some(Mode::Slice);
    card.capacity = Capacity {
        slots: Some(4),
        memory_mib: Some(32768),
        cores: Some(20),
    };
    assert_eq!(reasons(&request(8192, 0), &card), []);
    card.used.memory_mib = 25000;
    assert_eq!(reasons(&request(7000, 0), &card), [Reason::PieceUnknown]);
}

#[test]
fn all_devices_are_on_one_node_that_takes_pods() {
    let two = Request {
        count: 2,
        ..request(40000, 0)
    };
    let cards = [gpu(Used::default()), gpu(used(1, 60000, 0)), gpu(Used::default())];
    let fit = node(&two, READY, &cards).unwrap();
    assert_eq!(
        (fit.verdict, fit.fitting, fit.reasons.len()),
        (Verdict::Fits, 2, 0)
    );
    let fit = node(&two, READY, &cards[..2]).unwrap();
    assert_eq!(fit.verdict, Verdict::No);
    assert_eq!(
        fit.reasons,
        [Reason::TooFewDevices {
            needed: 2,
            fitting: 1,
            unknown: 0
        }]
    );
    let mut unsure = cards.clone();
    unsure[1].healthy = None;
    unsure[1].used = Used::default();
    assert_eq!(node(&two, READY, &unsure[..2]).unwrap().verdict, Verdict::Unknown);

    let states = [
        (None, Verdict::Unknown, Reason::NodeUnknown),
        (
            Some(NodeState {
                ready: Some(false),
                schedulable: true,
            }),
            Verdict::No,
            Reason::NodeNotReady,
        ),
        (
            Some(NodeState {
                ready: Some(true),
                schedulable: false,
            }),
            Verdict::No,
            Reason::NodeUnschedulable,
        ),
    ];
    for (state, verdict, reason) in states {
        let fit = node(&two, state, &cards).unwrap();
        assert_eq!(
            (fit.verdict, fit.reasons.as_slice()),
            (verdict, [reason].as_slice())
        );
    }
}

#[test]
fn other_vendors_models_and_modes_are_no_near_misses() {
    let card = gpu(Used::default());
    let with = |model: Option<&str>, vendor: Option<&str>, mode| Request {
        model: model.map(str::to_owned),
        vendor: vendor.map(str::to_owned),
        mode,
        ..Request::default()
    };
    assert!(with(Some("h100"), Some("nvidia"), Some(Mode::HamiCore)).wants(&card));
    assert!(!with(Some("A100"), None, None).wants(&card));
    assert!(!with(None, Some("ascend"), None).wants(&card));
    assert!(!with(None, None, Some(Mode::Mig)).wants(&card));
    assert_eq!(node(&with(Some("A100"), None, None), READY, [&card]), None);
}

prop_compose! {
    fn cards()(
        slots in proptest::option::of(0_u32..12),
        memory_mib in proptest::option::of(0_u64..100_000),
        cores in proptest::option::of(0_u32..220),
        held in (0_u32..12, 0_u64..100_000, 0_u32..220),
        healthy in proptest::option::of(any::<bool>()),
        flags in (any::<bool>(), any::<bool>()),
        mode in proptest::option::of(proptest::sample::select(vec![
            Mode::HamiCore, Mode::Mig, Mode::Mps, Mode::Slice, Mode::TimeSlicing, Mode::Whole,
        ])),
        profiles in proptest::collection::vec("[1-7]g\\.[0-9]{1,2}gb", 0..4),
    ) -> Gpu {
        Gpu {
            capacity: Capacity { slots, memory_mib, cores },
            used: used(held.0, held.1, held.2),
            healthy,
            cordoned: flags.0,
            stale: flags.1,
            mode,
            mig_profiles: profiles,
            ..gpu(Used::default())
        }
    }
}

prop_compose! {
    /// Cards that work and have room for some requests.
    fn sound_cards()(
        card in cards(),
        slots in 1_u32..12,
        memory_mib in 20_000_u64..100_000,
        cores in 100_u32..220,
        held in (0_u32..12, 0_u64..40_000, 0_u32..60),
        unknown in 0_u8..8,
    ) -> Gpu {
        Gpu {
            capacity: Capacity {
                slots: (unknown != 0).then_some(slots),
                memory_mib: (unknown != 1).then_some(memory_mib),
                cores: (unknown != 2).then_some(cores),
            },
            used: used(held.0 % slots, held.1, held.2),
            healthy: Some(true),
            cordoned: false,
            stale: false,
            ..card
        }
    }
}

prop_compose! {
    fn requests()(
        memory in proptest::option::of(prop_oneof![
            (1_u64..100_000).prop_map(Memory::Mib),
            (1_u32..=100).prop_map(Memory::Percent),
        ]),
        cores in 0_u32..120,
        count in 1_u32..4,
    ) -> Request {
        Request { count, memory, cores, ..Request::default() }
    }
}

proptest! {
    #[test]
    fn what_fits_is_never_more_than_there_is(
        request in requests(),
        card in prop_oneof![cards(), sound_cards(), sound_cards(), sound_cards()],
    ) {
        if device(&request, &card).verdict != Verdict::Fits {
            return Ok(());
        }
        prop_assert!(card.healthy == Some(true) && !card.cordoned && !card.stale);
        prop_assert!(card.used.slots < card.capacity.slots.unwrap_or(0), "unknown slots are not free");
        if matches!(card.mode, Some(Mode::HamiCore | Mode::Mps | Mode::Slice) | None) {
            let total = card.capacity.memory_mib.expect("unknown memory does not fit");
            let memory = match request.memory {
                Some(Memory::Mib(mib)) => mib,
                Some(Memory::Percent(percent)) => total * u64::from(percent) / 100,
                None => total,
            };
            prop_assert!(card.used.memory_mib.min(total) + memory <= total);
            if request.cores > 0 {
                prop_assert!(card.used.cores + request.cores <= card.capacity.cores.unwrap_or(0));
            }
        }
    }

    #[test]
    fn holding_more_never_makes_room(request in requests(), card in cards(), more in (0_u32..3, 0_u64..5000, 0_u32..50)) {
        let before = device(&request, &card).verdict;
        let mut fuller = card;
        fuller.used.slots += more.0;
        fuller.used.memory_mib += more.1;
        fuller.used.cores += more.2;
        prop_assert!(device(&request, &fuller).verdict >= before);
    }

    #[test]
    fn a_node_fits_as_many_as_its_cards_do(request in requests(), cards in proptest::collection::vec(cards(), 0..5)) {
        let fits = cards.iter().filter(|card| device(&request, card).verdict == Verdict::Fits).count();
        match node(&request, READY, &cards) {
            None => prop_assert!(cards.is_empty()),
            Some(fit) => {
                prop_assert_eq!(fit.fitting as usize, fits);
                prop_assert_eq!(fit.verdict == Verdict::Fits, fits >= request.count as usize);
            }
        }
    }
}
