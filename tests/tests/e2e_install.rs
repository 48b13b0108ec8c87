//! Installing, upgrading and removing the agent with helm, in a cluster that nothing can connect to; what people see
//! when it fails; and, since all of it runs with logs at their most talkative level, that no log holds a secret.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use http::Method;
use kantaloupe_tests::{
    canary::Canaries,
    e2e::{NAMESPACE, Steps, World, eventually, say},
    processes::clock_off,
};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};

/// What `helm test` finds missing in a cluster without GPUs, HAMi and Prometheus.
const MISSING: [&str; 3] = ["GPU-001", "HAMI-001", "MON-001"];
const AGAIN: &str = "the same command line can be run again";
/// What must show at each failure within this time of the installation.
const SHOWN: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn helm() -> anyhow::Result<()> {
    let mut world = World::start("install", "trace").await?;
    // Made two hours ago as far as the gateway knows.
    world.gateway.process.kill().await?;
    world.gateway.environment = clock_off(-7200)?;
    world.gateway.restart().await?;
    let expired = world.create("expired", "observe").await?;
    world.gateway.process.kill().await?;
    world.gateway.environment.clear();
    world.gateway.restart().await?;

    let test = Test {
        world,
        logs: Mutex::default(),
        canaries: Mutex::default(),
    };
    let mut steps = Steps::default();
    steps
        .run("nothing outside can connect to the cluster", test.closed())
        .await;
    steps.run("ten installations", test.ten()).await;
    steps
        .run("the literal command, with --wait", test.literal())
        .await;
    steps.run("kubectl works", test.works()).await;
    steps.run("helm test runs preflight", test.preflight()).await;
    steps
        .run("helm upgrade keeps the identity and the service", test.upgrade())
        .await;
    steps
        .run("a token that does not serve", test.bad_tokens(&expired.1))
        .await;
    steps
        .run("a Secret that cannot be written", test.unwritable())
        .await;
    steps.run("helm uninstall leaves nothing", test.uninstall()).await;
    steps.run("no log holds a secret", test.no_secrets()).await;
    steps.finish()
}

struct Test {
    world: World,
    /// Logs of agents that are gone.
    logs: Mutex<String>,
    canaries: Mutex<Canaries>,
}

impl Test {
    async fn closed(&self) -> anyhow::Result<()> {
        let node = self.world.cluster.inside();
        // From inside both answer.
        for port in [6443, 10250] {
            self.world
                .direct
                .ok(&format!("curl -sk https://{node}:{port}/healthz"))
                .await?;
            let attempt = timeout(Duration::from_secs(3), TcpStream::connect((node, port))).await;
            ensure!(
                !matches!(attempt, Ok(Ok(_))),
                "{node}:{port} accepts connections from outside"
            );
        }
        Ok(())
    }

    /// Installs ten times without --wait, so that helm's return is not what is waited for.
    async fn ten(&self) -> anyhow::Result<()> {
        let mut times = vec![];
        let (id, mut command) = self.world.create("main", "admin").await?;
        for _ in 0..10 {
            let quick = command.replace(" --wait --timeout 3m", "");
            ensure!(quick != command, "the command does not wait: {}", command.len());
            times.push(
                self.world
                    .install(&id, &quick, "--set logging.level=trace")
                    .await?,
            );
            self.remove(&id).await?;
            command = self.world.renew(&id).await?.1;
        }
        times.sort();
        let p50 = (times[4] + times[5]) / 2;
        say(format_args!(
            "          from helm's return to connected: p50 {p50:.2?}, all {times:.2?}"
        ));
        ensure!(p50 <= Duration::from_secs(20), "p50 is {p50:?}");
        Ok(())
    }

    /// Removes the agent and waits until gateway and cluster see it gone.
    async fn remove(&self, id: &str) -> anyhow::Result<()> {
        self.logs.lock().await.push_str(&self.world.agent_log().await?);
        self.canaries.lock().await.collect(&self.world).await?;
        self.world
            .direct
            .ok(&format!("helm uninstall kantaloupe-agent -n {NAMESPACE} --wait"))
            .await?;
        eventually(Duration::from_mins(1), async || {
            let pods = self
                .world
                .direct
                .ok(&format!("kubectl -n {NAMESPACE} get pods -o name"))
                .await?;
            ensure!(pods.is_empty(), "still there: {pods}");
            let state = self.world.gateway.state(id).await?;
            ensure!(state != "connected", "the gateway says {state}");
            Ok(())
        })
        .await
    }

    async fn literal(&self) -> anyhow::Result<()> {
        let (id, command) = self.world.renew("main").await?;
        let more = "--set logging.level=trace";
        let after = self.world.install(&id, &command, more).await?;
        say(format_args!(
            "          with --wait: connected {after:.2?} after helm's return"
        ));
        // Helm waits for readiness, which is the tunnel's.
        ensure!(
            after < Duration::from_secs(2),
            "ready {after:?} before it was connected"
        );
        let again = self.world.install(&id, &command, more).await.context(AGAIN)?;
        ensure!(again < Duration::from_secs(2), "{again:?}");
        Ok(())
    }

    async fn works(&self) -> anyhow::Result<()> {
        let k = self.world.shell("main", "").await?;
        ensure!(
            k.ok("kubectl get nodes -o name").await? == "node/node1\n",
            "nodes"
        );
        k.apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: box}, spec: {terminationGracePeriodSeconds: 1, containers: \
             [{name: main, image: 'localhost/busybox:1', imagePullPolicy: Never}]}}",
        )
        .await?;
        k.ok("kubectl wait --for=condition=Ready pod/box --timeout=60s")
            .await?;
        ensure!(
            k.ok("printf x | kubectl exec -i box -- cat").await? == "x",
            "exec"
        );
        // A token that is not ours must not get into a log either.
        let wrong = "kta_abcdefghijkl_0123456789abcdefghijklmnopqrstuv_00000000";
        self.canaries.lock().await.add("somebody's token", wrong);
        let said = k.run(&format!("kubectl get nodes --token={wrong}")).await?;
        ensure!(said.code != 0, "{said:?}");
        let said = k.run("kubectl exec box --as=system:admin -- true").await?;
        ensure!(said.code != 0 && said.err.contains("impersonation"), "{said:?}");
        Ok(())
    }

    /// `helm test` runs preflight with the chart's account and configuration. A cluster without GPUs fails it, by the codes of what is
    /// missing and no others.
    async fn preflight(&self) -> anyhow::Result<()> {
        const POD: &str = "kantaloupe-agent-preflight";
        let direct = &self.world.direct;
        let said = direct
            .run(&format!("helm test kantaloupe-agent -n {NAMESPACE} --timeout 2m"))
            .await?;
        let table = direct.ok(&format!("kubectl -n {NAMESPACE} logs {POD}")).await?;
        let line = format!(
            "kubectl -n {NAMESPACE} get pod {POD} -o jsonpath='{{.status.containerStatuses[0].state.terminated.exitCode}}'"
        );
        let status = direct.ok(&line).await?;
        // Helm leaves the pods of tests behind.
        direct
            .ok(&format!("kubectl -n {NAMESPACE} delete pod {POD}"))
            .await?;
        self.logs.lock().await.push_str(&table);
        ensure!(said.code != 0 && said.err.contains(POD), "{said:?}\n{table}");
        ensure!(status == "3", "exit status {status}\n{table}");
        ensure!(
            table.starts_with("kantaloupe-agent preflight ") && table.contains("\nSUMMARY "),
            "{table}"
        );
        let codes = |mark: &str| -> Vec<&str> {
            let lines = table
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix(mark));
            lines.filter_map(|line| line.split_whitespace().next()).collect()
        };
        let failed = codes("✗ ");
        ensure!(failed == MISSING, "{failed:?}\n{table}");
        let passed = codes("✓ ");
        for code in [
            "CFG-001", "NET-003", "TLS-001", "K8S-001", "K8S-004", "K8S-007", "RT-001",
        ] {
            ensure!(passed.contains(&code), "{code} has not passed\n{table}");
        }
        say(format_args!(
            "          {} passed, {} failed",
            passed.len(),
            failed.len()
        ));
        Ok(())
    }

    async fn key_id(&self) -> anyhow::Result<String> {
        let line = format!(
            "kubectl -n {NAMESPACE} get secret kantaloupe-agent-identity -o jsonpath='{{.data.identity\\.json}}' | base64 -d | jq -er .keyId"
        );
        self.world.direct.ok(&line).await
    }

    async fn upgrade(&self) -> anyhow::Result<()> {
        let world = &self.world;
        let path = "/api/v1/clusters/main";
        let before = world.gateway.json(Method::GET, path, None).await?;
        let key = self.key_id().await?;
        let enrolled = world.gateway.process.said().matches("agent enrolled").count();
        self.logs.lock().await.push_str(&world.agent_log().await?);
        let chart = format!("{}/../helm/kantaloupe-agent", env!("CARGO_MANIFEST_DIR"));
        // Without the token: it has done its work.
        let line = format!(
            "helm upgrade kantaloupe-agent {chart} -n {NAMESPACE} --reuse-values --set enrollment.token= \
             --set podAnnotations.upgraded=yes --wait --timeout 3m"
        );
        let (done, k) = (AtomicBool::new(false), world.shell("main", "-1.32").await?);
        let upgrade = async {
            let result = world.direct.ok(&line).await;
            let gone = format!("kubectl -n {NAMESPACE} get pods --no-headers | wc -l | grep -qx 1");
            let old = eventually(Duration::from_mins(1), || world.direct.ok(&gone)).await;
            done.store(true, Relaxed);
            result.and(old)
        };
        let serve = async {
            let mut requests = 0;
            while !done.load(Relaxed) {
                k.ok("kubectl get --raw $RAW/version")
                    .await
                    .context("during the upgrade")?;
                requests += 1;
            }
            anyhow::Ok(requests)
        };
        let (_, requests) = tokio::try_join!(upgrade, serve)?;
        let after = world.gateway.json(Method::GET, path, None).await?;
        ensure!(after["state"] == "connected", "{after}");
        ensure!(
            before["agent"]["podName"] != after["agent"]["podName"],
            "the pod is the same: {after}"
        );
        ensure!(self.key_id().await? == key, "the identity has changed");
        let now = world.gateway.process.said().matches("agent enrolled").count();
        ensure!(
            now == enrolled && now > 0,
            "{enrolled} enrolments before the upgrade, {now} after"
        );
        say(format_args!(
            "          {requests} requests during the upgrade, none failed"
        ));
        Ok(())
    }

    /// Each in a namespace of its own, all at once.
    async fn bad_tokens(&self, expired: &str) -> anyhow::Result<()> {
        let world = &self.world;
        let wrong = world.create("wrong", "observe").await?.1;
        world
            .gateway
            .json(Method::DELETE, "/api/v1/clusters/wrong", None)
            .await?;
        let truncated = world.create("truncated", "observe").await?.1;
        let token = world.tokens().pop().context("no token")?;
        let truncated = truncated.replace(&token, &token[..token.len() - 9]);
        // The first of all, which the ten installations used.
        let first = world.tokens().get(1).context("no token")?.clone();
        let used = world.renew("main").await?.1;
        let used = used.replace(&world.tokens().pop().context("no token")?, &first);
        let cases = [
            ("wrong", wrong, "KTA-AUTH-002"),
            ("truncated", truncated, "KTA-AUTH-001"),
            ("expired", expired.to_owned(), "KTA-AUTH-003"),
            ("used", used, "KTA-AUTH-004"),
        ];
        try_join_all(
            cases
                .iter()
                .map(|(what, command, code)| self.refused(what, command, code)),
        )
        .await?;
        Ok(())
    }

    async fn refused(&self, what: &str, command: &str, code: &str) -> anyhow::Result<()> {
        let direct = &self.world.direct;
        let space = format!("token-{what}");
        let command = command.replace(" --wait --timeout 3m", "").replace(
            &format!("--namespace {NAMESPACE}"),
            &format!("--namespace {space}"),
        );
        direct
            .ok(&format!(
                "{command} --set access.profile=observe --set logging.level=trace"
            ))
            .await?;
        self.fault_shows(&space, code)
            .await
            .with_context(|| format!("token {what}"))?;
        direct
            .ok(&format!("helm uninstall kantaloupe-agent -n {space}"))
            .await?;
        Ok(())
    }

    /// Log and readiness name the code, the cause and what to do.
    async fn fault_shows(&self, space: &str, code: &str) -> anyhow::Result<()> {
        let direct = &self.world.direct;
        let check = async || {
            let log = direct
                .ok(&format!("kubectl -n {space} logs deployment/kantaloupe-agent"))
                .await?;
            let line = log
                .lines()
                .find(|line| line.contains(code))
                .with_context(|| format!("no {code} in {log}"))?;
            let line: serde_json::Value = serde_json::from_str(line)?;
            ensure!(
                line.to_string().len() > 100 && (line["level"] == "ERROR" || line["level"] == "WARN"),
                "{line}"
            );
            let ip = direct
                .ok(&format!(
                    "kubectl -n {space} get pods -o jsonpath='{{.items[0].status.podIP}}'"
                ))
                .await?;
            let ready = direct
                .ok(&format!("curl -sS -w '%{{http_code}}' http://{ip}:9090/readyz"))
                .await?;
            ensure!(ready.ends_with("503") && ready.contains(code), "{ready}");
            ensure!(!log.contains("panicked"), "{log}");
            Ok(log)
        };
        let log = eventually(SHOWN, check).await?;
        self.logs.lock().await.push_str(&log);
        Ok(())
    }

    async fn unwritable(&self) -> anyhow::Result<()> {
        let direct = &self.world.direct;
        let (_, command) = self.world.create("unwritable", "observe").await?;
        let space = "unwritable";
        let command = command.replace(" --wait --timeout 3m", "").replace(
            &format!("--namespace {NAMESPACE}"),
            &format!("--namespace {space}"),
        );
        direct.ok(&format!("{command} --set replicas=0")).await?;
        let patch = r#"[{"op":"replace","path":"/rules","value":[{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}]}]"#;
        direct
            .ok(&format!(
                "kubectl -n {space} patch role kantaloupe-agent --type=json -p '{patch}'"
            ))
            .await?;
        direct
            .ok(&format!(
                "kubectl -n {space} scale deployment kantaloupe-agent --replicas=1"
            ))
            .await?;
        self.fault_shows(space, "KTA-AUTH-008").await?;
        // The remedy that the message names.
        direct.ok(&format!("{command} --force --set replicas=1")).await?;
        self.world
            .gateway
            .wait_state("unwritable", "connected", SHOWN)
            .await?;
        direct
            .ok(&format!("helm uninstall kantaloupe-agent -n {space} --wait"))
            .await?;
        Ok(())
    }

    async fn uninstall(&self) -> anyhow::Result<()> {
        self.remove("main").await?;
        let kinds = "deployments,replicasets,pods,secrets,configmaps,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings";
        let line = format!("kubectl get {kinds} -A -o name | grep -i kantaloupe || true");
        // Pods that were told to end may take a moment.
        eventually(Duration::from_mins(1), async || {
            let left = self.world.direct.ok(&line).await?;
            ensure!(left.is_empty(), "left behind: {left}");
            Ok(())
        })
        .await
    }

    async fn no_secrets(&self) -> anyhow::Result<()> {
        let canaries = self.canaries.lock().await;
        let gateway = self.world.gateway.process.said();
        canaries.search(
            "DEBUG",
            &gateway,
            &self.logs.lock().await,
            &self.world.cluster.audit()?,
        )
    }
}
