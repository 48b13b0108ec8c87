use super::*;
use crate::{inventory::Capacity, metrics::text};

fn gpu(node: &str, uuid: &str, index: u32, vendor: &str) -> Gpu {
    Gpu {
        id: format!("{node}/{uuid}"),
        uuid: uuid.to_owned(),
        node: node.to_owned(),
        index: Some(index),
        vendor: vendor.to_owned(),
        capacity: Capacity {
            slots: Some(2),
            ..Capacity::default()
        },
        ..Gpu::default()
    }
}

fn node(name: &str, address: &str) -> Node {
    Node {
        name: name.to_owned(),
        addresses: vec![address.to_owned()],
        ..Node::default()
    }
}

fn devices() -> Devices {
    let gpus = [
        gpu("a", "GPU-1", 0, "nvidia"),
        gpu("a", "C43DA66C-01", 0, "ascend"),
        gpu("b", "DCU-0", 0, "hygon"),
        gpu("c", "DCU-0", 0, "hygon"),
        gpu("c", "HCU-serial-1", 1, "hygon"),
        gpu("d", "d-AWSNeuron-0", 0, "aws-neuron"),
        gpu("d", "d-AWSNeuron-1", 1, "aws-neuron"),
        gpu("e", "e-metax-3", 3, "metax"),
    ];
    Devices::new(
        &gpus,
        &[
            node("b", "10.0.0.2"),
            node("d", "fd00::4"),
            node("cpu", "10.0.0.9"),
        ],
    )
}

fn found(series: &str, exporter: Exporter) -> Option<String> {
    let text = format!("m{{{series}}} 1");
    let read = text::parse(text.as_bytes());
    let devices = devices();
    let number = devices.find(&read.samples[0], exporter)?;
    Some(devices.get(number).id.to_string())
}

#[test]
fn by_identifier_under_every_label() {
    for label in labels::UUID {
        let series = format!(r#"{label}="GPU-1""#);
        assert_eq!(
            found(&series, Exporter::Hami).as_deref(),
            Some("a/GPU-1"),
            "{label}"
        );
    }
    assert_eq!(
        found(r#"deviceuuid="GPU-1[1-0]""#, Exporter::HamiLegacy).as_deref(),
        Some("a/GPU-1")
    );
    assert_eq!(
        found(r#"UUID="GPU-2",gpu="0",Hostname="a""#, Exporter::Dcgm),
        None,
        "another card"
    );
    assert_eq!(
        found(r#"vdie_id="c43da66c-01""#, Exporter::Npu).as_deref(),
        Some("a/C43DA66C-01")
    );
}

#[test]
fn the_exporters_pod_name_in_hostname_is_no_node() {
    let series = r#"UUID="GPU-1",Hostname="dcgm-exporter-cmhft""#;
    assert_eq!(found(series, Exporter::Dcgm).as_deref(), Some("a/GPU-1"));
}

#[test]
fn identifiers_that_repeat_need_the_node() {
    assert_eq!(
        found(r#"device_id="DCU-0",minor_number="0""#, Exporter::Dcu),
        None
    );
    assert_eq!(
        found(r#"device_id="DCU-0",node="c""#, Exporter::Dcu).as_deref(),
        Some("c/DCU-0")
    );
    assert_eq!(
        found(r#"device_id="0",node="b""#, Exporter::Dcu).as_deref(),
        Some("b/DCU-0")
    );
    assert_eq!(
        found(r#"device_id="0",instance="10.0.0.2:16081""#, Exporter::Dcu).as_deref(),
        Some("b/DCU-0")
    );
    assert_eq!(
        found(r#"device_id="serial-1",node="c""#, Exporter::Hcu).as_deref(),
        Some("c/HCU-serial-1")
    );
    assert_eq!(
        found(
            r#"exported_node="c",node="cpu",device_uuid="DCU-0""#,
            Exporter::Scheduler
        )
        .as_deref(),
        Some("c/DCU-0"),
        "the plain label is the exporter's own node"
    );
}

#[test]
fn by_position_where_no_identifier_is_registered() {
    assert_eq!(
        found(r#"id="0",vdie_id="other",node="a""#, Exporter::Npu).as_deref(),
        Some("a/C43DA66C-01")
    );
    assert_eq!(found(r#"id="0""#, Exporter::Npu), None, "on which node?");
    assert_eq!(
        found(r#"uuid="x",deviceId="3",Hostname="e""#, Exporter::Metax).as_deref(),
        Some("e/e-metax-3")
    );
    assert_eq!(
        found(r#"uuid="x",deviceId="4",Hostname="e""#, Exporter::Metax),
        None
    );
    assert_eq!(
        found(r#"neuroncore="3",instance="[fd00::4]:8000""#, Exporter::Neuron).as_deref(),
        Some("d/d-AWSNeuron-1"),
        "two cores a device"
    );
    assert_eq!(
        found(r#"device_index="0",node="a""#, Exporter::Hami),
        None,
        "of which vendor?"
    );
}
