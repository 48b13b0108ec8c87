use std::collections::HashSet;

use super::*;
use crate::metrics::text;

fn rows(text: &str) -> Vec<(String, Option<&'static Metric>)> {
    let read = text::parse(text.as_bytes());
    assert_eq!(read.malformed, []);
    let samples = read.samples.iter();
    samples
        .map(|sample| (sample.name.to_string(), find(sample)))
        .collect()
}

#[test]
fn a_name_is_there_once_for_each_exporter_and_twice_only_with_dra() {
    let mut seen = HashSet::new();
    for metric in METRICS {
        assert!(seen.insert((metric.name, metric.exporter)), "{}", metric.name);
    }
    for metric in METRICS {
        let same = METRICS.iter().filter(|other| other.name == metric.name);
        let exporters: Vec<_> = same.map(|metric| metric.exporter).collect();
        assert!(
            exporters.len() == 1 || exporters == [Exporter::SchedulerLegacy, Exporter::Dra],
            "{}",
            metric.name
        );
    }
}

#[test]
fn units_fit_quantities() {
    for metric in METRICS {
        let fits = match metric.quantity {
            Quantity::Utilization
            | Quantity::EngineActive
            | Quantity::CoreUtilization
            | Quantity::ContainerUtilization => matches!(metric.unit, Unit::Percent | Unit::Ratio),
            Quantity::MemoryUsed
            | Quantity::SecondMemoryUsed
            | Quantity::ContainerMemoryUsed
            | Quantity::ContainerMemoryLimit
            | Quantity::MemoryAllocated => matches!(metric.unit, Unit::Bytes | Unit::KiB | Unit::MiB),
            Quantity::Temperature => metric.unit == Unit::Celsius,
            Quantity::Power => matches!(metric.unit, Unit::Watts | Unit::Milliwatts),
            Quantity::Xid | Quantity::ContainerMig => metric.unit == Unit::Number,
            Quantity::CoresAllocated => matches!(metric.unit, Unit::Number | Unit::Ratio),
        };
        assert!(fits, "{}", metric.name);
    }
}

#[test]
fn dra_and_the_scheduler_are_told_apart_by_labels() {
    let dra = include_str!("../../../../tests/fixtures/metrics/hami-dra-monitor.prom");
    for (name, row) in rows(dra) {
        if let Some(row) = row {
            assert_eq!(row.exporter, Exporter::Dra, "{name}");
        }
    }
    let scheduler = r#"GPUDeviceCoreAllocated{deviceidx="0",deviceuuid="GPU-1",nodeid="n",zone="vGPU"} 50"#;
    assert_eq!(rows(scheduler)[0].1.unwrap().exporter, Exporter::SchedulerLegacy);
}

#[test]
fn only_the_memory_that_is_meant_counts() {
    let text =
        "mx_memory_used{uuid=\"a\",type=\"vram\"} 1024\nmx_memory_used{uuid=\"a\",type=\"xtt\"} 1024\n";
    let rows = rows(text);
    assert!(rows[0].1.is_some());
    assert!(rows[1].1.is_none());
}

#[test]
fn the_three_required_metrics_have_their_codes_under_both_names() {
    for code in [Code::MON_004, Code::MON_005, Code::MON_006] {
        let names: HashSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        let required = names.into_iter().filter(|name| required_by(name) == Some(code));
        assert_eq!(required.count(), 2, "{code}");
    }
}
