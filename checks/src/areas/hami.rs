//! HAMI: the scheduler and the device plugins that share devices, and what they record.

rows! {
    HAMI_001 = "KTA-HAMI-001", Required,
        check: { en: "HAMi scheduler", zh: "HAMi 调度器" },
        title: { en: "HAMi's scheduler is missing or not healthy", zh: "HAMi 调度器缺失或异常" },
        cause: {
            en: "HAMi is not installed, its scheduler has no ready replica or holds no fresh lease, or its admission webhook is missing or has no CA, so that pods pass it by.",
            zh: "HAMi 未安装，调度器没有就绪的副本或租约已过期，或者准入 Webhook 缺失或没有 CA，导致 Pod 绕过 HAMi。"
        },
        remedy: {
            en: "Look at kubectl get pods -A -l app.kubernetes.io/component=hami-scheduler and their logs; running helm upgrade of HAMi again renews the webhook's certificate.",
            zh: "用 kubectl get pods -A -l app.kubernetes.io/component=hami-scheduler 查看 Pod 及日志；重新执行 HAMi 的 helm upgrade 会更新 Webhook 证书。"
        };
    HAMI_002 = "KTA-HAMI-002", Required,
        check: { en: "HAMi device plugin", zh: "HAMi 设备插件" },
        title: { en: "HAMi's device plugin does not run on all of its nodes", zh: "HAMi 设备插件未在所有目标节点上就绪" },
        cause: {
            en: "Its pods do not start or are not ready, mostly because the driver or the container runtime of the node is not set up, or no node carries the label that it asks for.",
            zh: "设备插件的 Pod 无法启动或未就绪（通常是节点的驱动或容器运行时未配置好），或者没有节点带有它要求的标签。"
        },
        remedy: {
            en: "Look at kubectl get pods -A -l app.kubernetes.io/component=hami-device-plugin -o wide and at the logs of those that are not ready.",
            zh: "用 kubectl get pods -A -l app.kubernetes.io/component=hami-device-plugin -o wide 查看 Pod，并检查未就绪 Pod 的日志。"
        };
    HAMI_003 = "KTA-HAMI-003", Required,
        check: { en: "Registration of devices", zh: "设备注册信息" },
        title: { en: "The devices of a node are not registered as they should be", zh: "节点的设备注册信息缺失或异常" },
        cause: {
            en: "The annotation with the node's devices is missing, cannot be read, or is left over from devices that are gone: the device plugin has not reported, or its version writes a form that is not known.",
            zh: "节点上的设备注册注解缺失、无法解析，或是已移除设备的残留：设备插件没有上报，或其版本使用了未知的格式。"
        },
        remedy: {
            en: "Delete the device plugin's pod on that node, so that it registers again, and read its log if the annotation does not come.",
            zh: "删除该节点上的设备插件 Pod 使其重新注册；若注解仍未出现，请查看其日志。"
        };
    HAMI_004 = "KTA-HAMI-004", Recommended,
        check: { en: "Records of allocations", zh: "设备分配记录" },
        title: { en: "Records of allocations do not fit the pods or devices", zh: "设备分配记录与 Pod 或设备不一致" },
        cause: {
            en: "A pod's record cannot be read, names a device that is not registered, or is left over; a pod uses a device past HAMi's scheduler; or more is allocated on a device than it has.",
            zh: "Pod 的分配记录无法解析、指向未注册的设备或已失效；有 Pod 绕过 HAMi 调度器使用设备；或者某设备的分配量超过了其容量。"
        },
        remedy: {
            en: "Look at the pods that are named. Deleting and creating a pod again makes HAMi allocate anew; if the scheduler counts pods that are gone, restart it.",
            zh: "检查列出的 Pod。删除并重建 Pod 会使 HAMi 重新分配；若调度器仍统计已不存在的 Pod，请重启调度器。"
        };
    HAMI_005 = "KTA-HAMI-005", Recommended,
        check: { en: "Version of HAMi", zh: "HAMi 版本" },
        title: { en: "The version of HAMi is not known or its parts differ", zh: "HAMi 版本未知或各组件版本不一致" },
        cause: {
            en: "Neither image nor labels tell a version that is known, or scheduler and device plugin are of different releases, which may write records that the other cannot read.",
            zh: "镜像和标签都没有给出可识别的版本，或者调度器与设备插件来自不同版本，可能写出对方无法解析的记录。"
        },
        remedy: {
            en: "Install scheduler and device plugin from one release of the chart. Metric names changed in 2.9; both families are read here, dashboards of your own may need legacyMetrics=true.",
            zh: "使用同一版本的 chart 安装调度器和设备插件。HAMi 2.9 更改了指标名称，本平台两种都支持，自建仪表盘可能需要设置 legacyMetrics=true。"
        };
    HAMI_006 = "KTA-HAMI-006", Recommended,
        check: { en: "Labels of DCGM metrics", zh: "DCGM 指标标签" },
        title: { en: "DCGM metrics do not name the node", zh: "DCGM 指标未标明节点" },
        cause: {
            en: "The label Hostname (hostname in newer exporters) is missing or holds the exporter's pod name, because NODE_NAME is not set in the exporter. Devices are joined by UUID here; dashboards that join by node break.",
            zh: "缺少 Hostname（新版为 hostname）标签，或其值是 Exporter 的 Pod 名（未设置 NODE_NAME）。本平台按 UUID 关联设备，按节点关联的仪表盘会失效。"
        },
        remedy: {
            en: "Give the exporter the environment variable NODE_NAME from spec.nodeName, as the GPU Operator does, or run one version of the exporter everywhere.",
            zh: "像 GPU Operator 那样，将 spec.nodeName 作为环境变量 NODE_NAME 传给 Exporter，或在所有节点使用同一版本的 Exporter。"
        };
}
