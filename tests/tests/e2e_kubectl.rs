//! What people do with kubectl, through the gateway against a real API server: with a kubectl that speaks WebSocket
//! first, and with one that knows only SPDY. Where it makes sense, the answer is compared with the same command line
//! run inside the cluster against the API server itself.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use http::Method;
use kantaloupe_tests::{
    canary::Canaries,
    e2e::{Steps, World, eventually, say},
    kubectl::Shell,
    processes::binary,
    streams::{blob, connect, there_and_back},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::Barrier,
    task::JoinSet,
    time::{Instant, timeout},
};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_through_the_gateway() -> anyhow::Result<()> {
    let mut world = World::start("kubectl", "trace").await?;
    let (id, command) = world.create("kubectl", "admin").await?;
    let connected = world.install(&id, &command, "--set logging.level=trace").await?;
    say(format_args!("connected {connected:?} after helm's return"));
    world.cluster.aggregate().await?;
    let mut steps = Steps::default();
    let mut people = Vec::new();
    for version in ["-1.32", "-1.20"] {
        let person = Person::new(&world, &id, version).await?;
        person.all(&mut steps).await;
        people.push(person);
    }
    steps
        .run("recordings are switched on", recording(&mut world, &id))
        .await;
    for person in &people {
        let name = format!("kubectl{}: a terminal is recorded", person.version);
        steps.run(&name, person.recorded(&world)).await;
    }
    steps
        .run("audit verify and a changed recording", verified(&world))
        .await;
    steps
        .run("no log holds a secret", Canaries::no_secrets(&world, "TRACE"))
        .await;
    steps.finish()
}

/// Starts the gateway anew, which now records terminals.
async fn recording(world: &mut World, id: &str) -> anyhow::Result<()> {
    let gateway = &mut world.gateway;
    gateway
        .environment
        .push(("KANTALOUPE_GATEWAY_RECORD_TERMINALS", "on".to_owned()));
    gateway.process.terminate().await?;
    gateway.restart().await?;
    gateway
        .wait_state(id, "connected", Duration::from_mins(1))
        .await?;
    Ok(())
}

/// Checks audit and recordings beside the running gateway: as they are, with one byte changed, and changed back.
async fn verified(world: &World) -> anyhow::Result<()> {
    let verify = async || {
        let mut command = tokio::process::Command::new(binary("kantaloupe-gateway")?);
        command
            .args(["audit", "verify", "--data-dir"])
            .arg(&world.gateway.data);
        let output = command.output().await?;
        let said = [output.stdout, output.stderr].concat();
        anyhow::Ok((
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        ))
    };
    let (sound, said) = verify().await?;
    ensure!(
        sound && said.contains("recordings: 2 are sound, 0 were removed"),
        "{said}"
    );
    let list = world
        .gateway
        .json(Method::GET, "/api/v1/recordings", None)
        .await?;
    let id = list["items"][0]["id"].as_str().context("no recording")?;
    let entries = world
        .gateway
        .json(Method::GET, &format!("/api/v1/audit?id={id}&phase=end"), None)
        .await?;
    let file = entries["items"][0]["recording"]["file"]
        .as_str()
        .context("no file")?;
    let path = world.gateway.data.join("recordings").join(file);
    let content = std::fs::read(&path)?;
    let mut changed = content.clone();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    std::fs::write(&path, &changed)?;
    let (sound, said) = verify().await?;
    ensure!(
        !sound && said.contains("KTA-AUDIT-006") && said.contains(&format!("{id}.cast was changed")),
        "{said}"
    );
    std::fs::write(&path, &content)?;
    let (sound, said) = verify().await?;
    ensure!(sound, "{said}");
    Ok(())
}

struct Person {
    k: Shell,
    direct: Shell,
    version: &'static str,
}

impl Person {
    async fn new(world: &World, id: &str, version: &'static str) -> anyhow::Result<Self> {
        let k = world.shell(id, version).await?;
        let direct = k.direct(&world.cluster);
        let new = version == "-1.32";
        let person = Self { k, direct, version };
        person
            .k
            .ok(&format!(
                "kubectl config set-context --current --namespace=e2e{}",
                if new { "new" } else { "old" }
            ))
            .await?;
        Ok(person)
    }

    fn is_new(&self) -> bool {
        self.version == "-1.32"
    }

    /// Its namespace.
    fn space(&self) -> &'static str {
        if self.is_new() { "e2enew" } else { "e2eold" }
    }

    async fn all(&self, steps: &mut Steps) {
        let v = self.version;
        let name = |what: &str| format!("kubectl{v}: {what}");
        steps.run(&name("setup"), self.setup()).await;
        steps.run(&name("discovery"), self.discovery()).await;
        steps.run(&name("get, describe"), self.reads()).await;
        steps
            .run(&name("apply, diff, patch, rollout, wait, delete"), self.writes())
            .await;
        steps.run(&name("server-side apply"), self.server_side()).await;
        steps
            .run(&name("custom resources"), self.custom_resources())
            .await;
        steps.run(&name("aggregated API"), self.aggregated()).await;
        steps.run(&name("get -w"), self.watch()).await;
        steps.run(&name("logs"), self.logs()).await;
        steps.run(&name("exec"), self.exec()).await;
        steps.run(&name("exec -t"), self.terminal()).await;
        steps.run(&name("attach, run"), self.attach()).await;
        steps.run(&name("debug"), self.debug()).await;
        steps.run(&name("proxy"), self.proxy()).await;
        steps.run(&name("who am I"), self.who()).await;
        steps.run(&name("refusals"), self.refusals()).await;
        steps.run(&name("cp"), self.copy()).await;
        steps.run(&name("port-forward"), self.port_forward()).await;
    }

    /// The same command line on both ways: same words, same exit code.
    async fn same(&self, line: &str) -> anyhow::Result<String> {
        let (ours, theirs) = tokio::try_join!(self.k.run(line), self.direct.run(line))?;
        ensure!(
            ours == theirs,
            "{line}\nthrough the gateway: {ours:?}\ndirect: {theirs:?}"
        );
        Ok(ours.out)
    }

    async fn setup(&self) -> anyhow::Result<()> {
        self.k
            .ok(&format!("kubectl create namespace {}", self.space()))
            .await?;
        eventually(Duration::from_secs(30), || {
            self.k.ok("kubectl get serviceaccount default")
        })
        .await?;
        let pods = [
            (
                "box",
                "nc -ll -p 7000 -e sh /tmp/serve & mkdir /tmp/www; echo hello >/tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www",
                "",
            ),
            (
                "reader",
                "while read line; do echo got $line; done; echo the end; sleep 1000",
                "stdin: true, ",
            ),
        ];
        for (name, script, more) in pods {
            self.k.apply(&pod(name, script, more)).await?;
        }
        self.k
            .ok("kubectl wait --for=condition=Ready pod/box pod/reader --timeout=120s")
            .await?;
        Ok(())
    }

    async fn discovery(&self) -> anyhow::Result<()> {
        let resources = self.same("kubectl api-resources --no-headers | sort").await?;
        ensure!(
            resources.contains("deployments") && resources.contains("flunders"),
            "{resources}"
        );
        self.same("kubectl api-versions").await?;
        self.same("kubectl explain pod.spec.containers").await?;
        self.same("kubectl version -o json | grep -A10 serverVersion")
            .await?;
        self.same("kubectl get --raw $RAW/openapi/v3 | sed 's/hash=[0-9A-F]*//g'")
            .await?;
        let sum = self.same("kubectl get --raw $RAW/openapi/v2 | sha256sum").await?;
        ensure!(sum.len() > 64, "{sum}");
        Ok(())
    }

    async fn reads(&self) -> anyhow::Result<()> {
        let nodes = self.same("kubectl get nodes -o name").await?;
        ensure!(nodes == "node/node1\n", "{nodes}");
        let pods = self.same("kubectl get pods -A -o custom-columns=NS:.metadata.namespace,NAME:.metadata.name,IP:.status.podIP").await?;
        ensure!(
            pods.contains("box") && pods.contains("kantaloupe-agent"),
            "{pods}"
        );
        self.same(&format!("kubectl -n {} get pod box -o yaml", self.space()))
            .await?;
        self.same("kubectl get namespaces -o json").await?;
        self.same("kubectl get clusterroles --chunk-size=5 -o name")
            .await?;
        let described = self
            .same(&format!(
                "kubectl -n {} describe pod box | grep -v ' ago\\|[0-9]s ' ",
                self.space()
            ))
            .await?;
        ensure!(
            described.contains("Node:") && described.contains("node1"),
            "{described}"
        );
        self.same("kubectl describe service kubernetes -n default")
            .await?;
        let missing = self.k.run("kubectl get pod nobody").await?;
        ensure!(
            missing.code == 1 && missing.err.contains("pods \"nobody\" not found"),
            "{missing:?}"
        );
        // No metrics server here: the answer is the API server's own.
        self.same("kubectl top nodes").await?;
        self.same(&format!("kubectl top pods -n {}", self.space()))
            .await?;
        Ok(())
    }

    async fn writes(&self) -> anyhow::Result<()> {
        let k = &self.k;
        k.apply(&deployment(2, "first")).await?;
        let out = k
            .ok("kubectl rollout status deployment/web --timeout=120s")
            .await?;
        ensure!(out.contains("successfully rolled out"), "{out}");
        let file = k.dir.join("web.yaml");
        std::fs::write(&file, deployment(2, "first"))?;
        let none = k.run("kubectl diff -f web.yaml").await?;
        ensure!(none.code == 0 && none.out.is_empty(), "{none:?}");
        std::fs::write(&file, deployment(3, "second"))?;
        let some = k.run("kubectl diff -f web.yaml").await?;
        ensure!(
            some.code == 1 && some.out.contains("+    note: second"),
            "{some:?}"
        );
        k.ok("kubectl apply -f web.yaml && kubectl rollout status deployment/web --timeout=120s")
            .await?;
        k.ok("kubectl wait --for=condition=Available deployment/web --timeout=60s")
            .await?;
        for (kind, patch) in [
            ("strategic", r#"{"metadata":{"labels":{"strategic":"yes"}}}"#),
            ("merge", r#"{"metadata":{"labels":{"merge":"yes"}}}"#),
            (
                "json",
                r#"[{"op":"add","path":"/metadata/labels/json","value":"yes"}]"#,
            ),
        ] {
            k.ok(&format!(
                "kubectl patch deployment web --type={kind} -p '{patch}'"
            ))
            .await?;
        }
        let labels = k
            .ok("kubectl get deployment web -o jsonpath='{.metadata.labels}'")
            .await?;
        ensure!(
            ["strategic", "merge", "json"].iter().all(|l| labels.contains(l)),
            "{labels}"
        );
        k.ok("kubectl scale deployment web --replicas=1 && kubectl label deployment web also=this")
            .await?;
        k.ok("KUBE_EDITOR='sed -i s/also:.this/also:\\ that/' kubectl edit deployment web")
            .await?;
        let edited = k
            .ok("kubectl get deployment web -o jsonpath='{.metadata.labels.also}'")
            .await?;
        ensure!(edited == "that", "{edited}");
        k.ok(
            "kubectl rollout restart deployment/web && kubectl rollout status deployment/web --timeout=120s",
        )
        .await?;
        k.ok("kubectl create configmap conf --from-literal=a=b && kubectl delete configmap conf")
            .await?;
        k.ok("kubectl delete -f web.yaml --wait && ! kubectl get deployment web")
            .await?;
        Ok(())
    }

    async fn server_side(&self) -> anyhow::Result<()> {
        let k = &self.k;
        let map = |value| {
            format!(
                "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: owned}}, data: {{key: {value}}}}}"
            )
        };
        std::fs::write(k.dir.join("map.yaml"), map("one"))?;
        k.ok("kubectl apply --server-side --field-manager=one -f map.yaml")
            .await?;
        std::fs::write(k.dir.join("map.yaml"), map("two"))?;
        let conflict = k
            .run("kubectl apply --server-side --field-manager=two -f map.yaml")
            .await?;
        ensure!(
            conflict.code != 0 && conflict.err.contains("conflict"),
            "{conflict:?}"
        );
        k.ok("kubectl apply --server-side --field-manager=two --force-conflicts -f map.yaml")
            .await?;
        let value = k
            .ok("kubectl get configmap owned -o jsonpath='{.data.key}'")
            .await?;
        ensure!(value == "two", "{value}");
        Ok(())
    }

    async fn custom_resources(&self) -> anyhow::Result<()> {
        let k = &self.k;
        let (plural, kind) = if self.is_new() {
            ("melons", "Melon")
        } else {
            ("plums", "Plum")
        };
        k.apply(&format!(
            "{{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {{name: {plural}.e2e.test}}, \
             spec: {{group: e2e.test, scope: Namespaced, names: {{plural: {plural}, kind: {kind}}}, versions: [{{name: v1, served: true, \
             storage: true, schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, properties: {{weight: {{type: integer}}}}}}}}}}}}}}]}}}}"
        ))
        .await?;
        k.ok(&format!(
            "kubectl wait --for=condition=Established crd/{plural}.e2e.test --timeout=60s"
        ))
        .await?;
        let object = format!(
            "{{apiVersion: e2e.test/v1, kind: {kind}, metadata: {{name: one}}, spec: {{weight: 3}}}}"
        );
        eventually(Duration::from_secs(30), || k.apply(&object)).await?;
        let weight = k
            .ok(&format!(
                "kubectl get {plural}.e2e.test one -o jsonpath='{{.spec.weight}}'"
            ))
            .await?;
        ensure!(weight == "3", "{weight}");
        k.ok(&format!("kubectl delete crd {plural}.e2e.test --wait"))
            .await?;
        Ok(())
    }

    async fn aggregated(&self) -> anyhow::Result<()> {
        let k = &self.k;
        k.apply("{apiVersion: wardle.example.com/v1alpha1, kind: Flunder, metadata: {name: mine}}")
            .await?;
        let name = k.ok("kubectl get flunders.wardle.example.com -o name").await?;
        ensure!(name == "flunder.wardle.example.com/mine\n", "{name}");
        self.same(&format!("kubectl -n {} get flunder mine -o yaml", self.space()))
            .await?;
        k.ok("kubectl delete flunder mine").await?;
        Ok(())
    }

    async fn watch(&self) -> anyhow::Result<()> {
        let mut child = self.k.start(
            "exec kubectl get configmaps -w --no-headers -o custom-columns=N:.metadata.name,V:.data.v",
        )?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        for i in 0..20 {
            self.k
                .ok(&format!(
                    "kubectl create configmap watched-{i} --from-literal=v={i}"
                ))
                .await?;
            // Each is there before the next is made: nothing on the way collects them.
            loop {
                let line = timeout(Duration::from_secs(20), lines.next_line())
                    .await
                    .context("nothing came")??;
                let line = line.context("the watch ended")?;
                if line.starts_with(&format!("watched-{i} ")) {
                    break;
                }
                ensure!(!line.starts_with("watched-"), "{line} instead of {i}");
            }
        }
        child.kill().await?;
        self.k
            .ok("kubectl delete configmap $(seq -f watched-%g 0 19)")
            .await?;
        Ok(())
    }

    async fn logs(&self) -> anyhow::Result<()> {
        let k = &self.k;
        // 3,000 lines at once, then slowly, then the end.
        let script = "seq 3000; for i in $(seq 3001 3020); do echo $i; sleep 0.1; done";
        k.apply(&pod("talker", script, "")).await?;
        eventually(Duration::from_mins(1), || {
            k.ok("kubectl logs talker | grep -qx 3000")
        })
        .await?;
        let all = k.ok("kubectl logs -f talker").await?;
        let expected = (1..=3020).fold(String::new(), |all, i| all + &format!("{i}\n"));
        ensure!(all == expected, "{} bytes of {}", all.len(), expected.len());
        ensure!(
            k.ok("kubectl logs talker --tail=2").await? == "3019\n3020\n",
            "tail"
        );
        self.same(&format!(
            "kubectl -n {} logs talker --since=1h --timestamps | tail -5",
            self.space()
        ))
        .await?;
        let none = k.run("kubectl logs nobody").await?;
        ensure!(none.code == 1 && none.err.contains("not found"), "{none:?}");
        Ok(())
    }

    async fn exec(&self) -> anyhow::Result<()> {
        let k = &self.k;
        ensure!(
            k.ok("kubectl exec box -- echo hello").await? == "hello\n",
            "plain"
        );
        ensure!(
            k.ok("printf x | kubectl exec -i box -- cat").await? == "x",
            "the end of the input has to arrive"
        );
        ensure!(
            k.ok("seq 100000 | kubectl exec -i box -- sha256sum").await?
                == k.ok("seq 100000 | sha256sum").await?,
            "input"
        );
        ensure!(
            k.ok("kubectl exec box -- seq 300000 | sha256sum").await?
                == k.ok("seq 300000 | sha256sum").await?,
            "output"
        );
        let both = k
            .run("kubectl exec box -- sh -c 'echo out; echo err >&2; exit 42'")
            .await?;
        ensure!(
            both.code == 42 && both.out == "out\n" && both.err.contains("err\n"),
            "{both:?}"
        );
        for code in [0, 1, 137] {
            let said = k.run(&format!("kubectl exec box -- sh -c 'exit {code}'")).await?;
            ensure!(said.code == code, "{said:?}");
        }
        let space = self.space();
        self.same(&format!("kubectl -n {space} exec box -- no-such-program 2>&1 | sed 's/exec id: [0-9a-f]*//; s/task [0-9a-f]*//; s/\"[0-9a-f]\\{{64\\}}\"//g'")).await?;
        self.same(&format!("kubectl -n {space} exec box -c nobody -- true"))
            .await?;
        self.same(&format!("kubectl -n {space} exec nobody -- true"))
            .await?;
        Ok(())
    }

    async fn terminal(&self) -> anyhow::Result<()> {
        let k = &self.k;
        // script makes the terminal that -t wants. stty sees its size, so the resize channel works.
        let said = k.run("script -qec 'stty rows 33 cols 77; kubectl exec -it box -- sh -c \"tty; stty size; sleep 0.5; stty size; exit 7\"' /dev/null").await?;
        ensure!(
            said.code == 7 && said.out.contains("/dev/pts/") && said.out.contains("33 77"),
            "{said:?}"
        );
        let said = k.run("(sleep 1; echo 'echo $((20 + 22))'; echo exit) | script -qec 'kubectl exec -it box -- sh' /dev/null").await?;
        ensure!(said.code == 0 && said.out.contains("\n42\r\n"), "{said:?}");
        Ok(())
    }

    /// What was shown is in the recording, what was typed without an echo is not; who reads the audit can read it.
    async fn recorded(&self, world: &World) -> anyhow::Result<()> {
        let newest = async || {
            let list = world
                .gateway
                .json(Method::GET, "/api/v1/recordings?user=admin", None)
                .await?;
            let items = list["items"].as_array().context("no list")?;
            anyhow::Ok((items.len(), items.first().cloned().unwrap_or_default()))
        };
        let (before, _) = newest().await?;
        let typed = [
            "read -s x; echo got ${#x} shown-$((20 + 22))",
            "hidden-word",
            "exit 5",
        ];
        let typing = typed
            .map(|line| format!("sleep 1.5; printf '%s\\r' '{line}'"))
            .join("; ");
        let line = format!(
            "(sleep 1; {typing}) | script -qec 'stty rows 33 cols 77; exec kubectl exec -it box -- sh' /dev/null"
        );
        let said = self.k.run(&line).await?;
        ensure!(said.code == 5 && said.out.contains("got 11 shown-42"), "{said:?}");
        ensure!(
            self.k.ok("kubectl exec box -- echo plain").await? == "plain\n",
            "without a terminal"
        );
        let item = eventually(Duration::from_secs(10), async || {
            let (count, item) = newest().await?;
            ensure!(
                count == before + 1,
                "{count} recordings instead of {}",
                before + 1
            );
            Ok(item)
        })
        .await?;
        ensure!(
            item["pod"] == "box" && item["namespace"] == self.space() && item["subresource"] == "exec",
            "{item}"
        );
        let id = item["id"].as_str().context("no id")?;
        let (status, cast) = world
            .gateway
            .request(Method::GET, &format!("/api/v1/recordings/{id}"), None)
            .await?;
        ensure!(status.is_success(), "{status}");
        let sha256 = digest(&SHA256, &cast);
        let digits = sha256.as_ref().iter();
        let sha256 = digits.fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        ensure!(item["sha256"] == sha256.as_str(), "{item}: {sha256}");
        let audit = world
            .gateway
            .json(Method::GET, &format!("/api/v1/audit?id={id}"), None)
            .await?;
        let (end, begin) = (&audit["items"][0], &audit["items"][1]);
        ensure!(
            end["recording"]["sha256"] == sha256.as_str()
                && begin["recording"]["file"] == end["recording"]["file"]
                && begin["phase"] == "begin",
            "{audit}"
        );
        let cast = std::str::from_utf8(&cast)?;
        let mut lines = cast.lines().map(serde_json::from_str::<Value>);
        let head = lines.next().context("no head")??;
        ensure!(head["version"] == 2, "{head}");
        let events = lines.collect::<Result<Vec<_>, _>>()?;
        let of = |code: &'static str| {
            events
                .iter()
                .filter(move |event| event[1] == code)
                .filter_map(|event| event[2].as_str())
        };
        ensure!(of("r").any(|size| size == "77x33"), "{cast}");
        let shown: String = of("o").collect();
        ensure!(shown.contains("got 11 shown-42\r\n"), "{shown:?}");
        ensure!(
            !cast.contains("hidden-word") && of("i").next().is_none(),
            "{cast}"
        );
        Ok(())
    }

    async fn attach(&self) -> anyhow::Result<()> {
        let k = &self.k;
        let mut child = k.start("exec kubectl attach -i reader")?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        for i in 0..5 {
            stdin.write_all(format!("line {i}\n").as_bytes()).await?;
            let line = timeout(Duration::from_secs(30), lines.next_line())
                .await
                .context("nothing came")??;
            ensure!(line.as_deref() == Some(&format!("got line {i}")), "{line:?}");
        }
        child.kill().await?;
        let run = "printf 'a b c' | kubectl run once --rm -i --restart=Never --image=localhost/busybox:1 --image-pull-policy=Never --quiet -- cat";
        let said = k.ok(run).await?;
        ensure!(said.starts_with("a b c"), "{said}");
        Ok(())
    }

    async fn debug(&self) -> anyhow::Result<()> {
        let line = "kubectl debug box --image=localhost/busybox:1 --image-pull-policy=Never -c help -- sh -c 'echo helping; sleep 1000'";
        if !self.is_new() {
            // Its alpha command asks for an API that Kubernetes 1.34 has no more: the answer is the API server's.
            let line = format!(
                "kubectl alpha debug -n {} box --image=localhost/busybox:1 -c help -- true",
                self.space()
            );
            self.same(&line).await?;
            return Ok(());
        }
        self.k.ok(line).await?;
        let log = eventually(Duration::from_mins(1), || self.k.ok("kubectl logs box -c help")).await?;
        ensure!(log == "helping\n", "{log}");
        ensure!(
            self.k.ok("kubectl exec box -c help -- echo yes").await? == "yes\n",
            "exec"
        );
        Ok(())
    }

    async fn proxy(&self) -> anyhow::Result<()> {
        let mut child = self.k.start("exec kubectl proxy --port=0")?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let line = lines.next_line().await?.context("it ended")?;
        let port = line.rsplit(':').next().context("no port")?.to_owned();
        // kubectl proxy puts the server's path before a request's only if told to, and the old one cannot be told.
        let raw = self.k.ok("echo $RAW").await?;
        let base = format!("http://127.0.0.1:{port}{}", raw.trim());
        let out = self
            .k
            .ok(&format!("curl -sSf {base}/api/v1/namespaces/{}", self.space()))
            .await?;
        ensure!(out.contains(self.space()), "{out}");
        let pod = format!("{base}/api/v1/namespaces/{}/pods/box:8080/proxy/", self.space());
        ensure!(
            self.k.ok(&format!("curl -sSf {pod}")).await? == "hello\n",
            "a pod's own page"
        );
        child.kill().await?;
        Ok(())
    }

    async fn who(&self) -> anyhow::Result<()> {
        if self.is_new() {
            let who = self.k.ok("kubectl auth whoami").await?;
            ensure!(
                who.contains("kantaloupe:user:admin") && who.contains("kantaloupe:role:admin"),
                "{who}"
            );
        }
        ensure!(
            self.k.ok("kubectl auth can-i delete nodes").await? == "yes\n",
            "an administrator may"
        );
        Ok(())
    }

    async fn refusals(&self) -> anyhow::Result<()> {
        let said = self.k.run("kubectl get nodes --as=system:admin").await?;
        ensure!(
            said.code == 1
                && said
                    .err
                    .contains("impersonation is for users of the gateway only"),
            "{said:?}"
        );
        let said = self.k.run("kubectl get --raw $RAW/api/v1/%2e%2e/healthz").await?;
        ensure!(said.code == 1, "{said:?}");
        let said = self.k.run("kubectl get nodes --token=kta_wrong").await?;
        ensure!(
            said.code == 1 && said.err.contains("Unauthorized") || said.err.contains("must be logged in"),
            "{said:?}"
        );
        Ok(())
    }

    async fn copy(&self) -> anyhow::Result<()> {
        let k = &self.k;
        k.ok("mkdir -p up && head -c 200M /dev/urandom >up/big && seq 1000 >up/small")
            .await?;
        let start = Instant::now();
        k.ok("kubectl cp up box:/tmp/up").await?;
        let sent = start.elapsed();
        let start = Instant::now();
        k.ok("kubectl cp box:/tmp/up down 2>&1").await?;
        let fetched = start.elapsed();
        let here = k.ok("cd up && sha256sum big small").await?;
        ensure!(
            k.ok("kubectl exec box -- sh -c 'cd /tmp/up; sha256sum big small; rm -r /tmp/up'")
                .await?
                == here,
            "up"
        );
        ensure!(
            k.ok("cd down && sha256sum big small && rm -r ../up ../down")
                .await?
                == here,
            "down"
        );
        say(format_args!(
            "          cp of 200 MiB: there in {sent:.1?}, back in {fetched:.1?}"
        ));
        Ok(())
    }

    async fn port_forward(&self) -> anyhow::Result<()> {
        blob(&self.k, "box", 50 * MIB).await?;
        let forward = "exec kubectl port-forward pod/box :7000 2>forward.log";
        let mut child = self.k.start(forward)?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let line = timeout(Duration::from_secs(30), lines.next_line())
            .await??
            .context("it ended")?;
        let port: u16 = line
            .split(' ')
            .nth(2)
            .and_then(|at| at.rsplit(':').next())
            .context(line.clone())?
            .parse()?;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let start = Instant::now();
        let (mut echoes, together) = (JoinSet::new(), Arc::new(Barrier::new(20)));
        for _ in 0..20 {
            let (stream, together) = (connect(port).await?, together.clone());
            echoes.spawn(async move { there_and_back(stream, 50 * MIB, &together).await });
        }
        while let Some(done) = echoes.join_next().await {
            if let Err(error) = done? {
                let said = self.k.ok("tail -5 forward.log").await?;
                return Err(error.context(said));
            }
        }
        say(format_args!(
            "          20 connections, 50 MiB each way: {:.1?}",
            start.elapsed()
        ));
        child.kill().await?;
        Ok(())
    }
}

fn pod(name: &str, script: &str, more: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{restartPolicy: Never, terminationGracePeriodSeconds: 1, \
         containers: [{{name: main, image: 'localhost/busybox:1', imagePullPolicy: Never, {more}command: [sh, -c, '{script}']}}]}}}}"
    )
}

fn deployment(replicas: u32, note: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  annotations:\n    note: {note}\n  labels:\n    app: web\n\
         spec:\n  replicas: {replicas}\n  selector:\n    matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    \
         spec:\n      terminationGracePeriodSeconds: 1\n      containers: [{{name: main, image: 'localhost/busybox:1', imagePullPolicy: Never}}]\n"
    )
}
