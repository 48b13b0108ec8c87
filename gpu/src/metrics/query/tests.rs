use super::*;

#[test]
fn only_names_of_the_table_are_asked_for() {
    assert_eq!(values("up"), None);
    assert_eq!(scraped("a or vector(1)"), None);
    for name in names() {
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{name} needs no escape"
        );
        assert!(values(name).is_some() && scraped(name).is_some(), "{name}");
    }
    assert!(
        present().len() < 8_000,
        "fits a form of any proxy: {}",
        present().len()
    );
}

#[test]
fn a_card_is_asked_for_without_pods_and_a_share_with_them() {
    assert_eq!(
        values("DCGM_FI_DEV_GPU_UTIL").unwrap(),
        "max by (GPU_I_ID,GPU_I_PROFILE,Hostname,UUID,device_uuid,deviceuuid,exported_node,gpu,gpu_uuid,hostname,instance,\
         kubernetes_node,nmodename,node,nodeid,nodename,uuid,vdie_id) (DCGM_FI_DEV_GPU_UTIL and \
         (timestamp(DCGM_FI_DEV_GPU_UTIL) > time() - 120))"
    );
    let share = values("hami_vgpu_memory_used_bytes").unwrap();
    for label in [
        "exported_namespace",
        "namespace",
        "exported_pod",
        "pod",
        "exported_container",
        "container",
        "device_uuid",
    ] {
        assert!(share.contains(&format!(",{label},")), "{label}: {share}");
    }
    assert!(values("MigInfo").unwrap().contains(",instanceid,"));
    assert!(
        values("mx_memory_used")
            .unwrap()
            .contains(r#"(mx_memory_used{type="vram"} and"#)
    );
    let shared = values("GPUDeviceCoreAllocated").unwrap();
    assert!(
        shared.contains("devicebrand") && shared.contains("deviceproductname"),
        "{shared}"
    );
}

#[test]
fn one_clock_for_each_exporter_that_is_there() {
    let present = [
        "DCGM_FI_DEV_FB_USED",
        "DCGM_FI_DEV_GPU_TEMP",
        "hami_vgpu_memory_used_bytes",
        "up",
    ];
    let clocks: Vec<_> = clocks(present).into_iter().collect();
    assert_eq!(clocks, ["DCGM_FI_DEV_FB_USED", "hami_vgpu_memory_used_bytes"]);
    assert_eq!(
        scraped("DCGM_FI_DEV_FB_USED").unwrap(),
        "min by (instance) (timestamp(DCGM_FI_DEV_FB_USED) > time() - 120)"
    );
}
