//! The connection between agent and gateway is cut two hundred times under streams that check every byte; the gateway
//! is killed; the cluster is revoked.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::Method;
use kantaloupe_tests::{
    canary::Canaries,
    e2e::{NAMESPACE, Steps, World, eventually, say},
    kubectl::Shell,
    relay::Cut,
    streams::{Ended, Stream, blob, connect, counting_log, counting_watch, exec_echo, there_and_back},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{
    sync::{Barrier, watch},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

const CUTS: usize = 200;
/// Cuts that nobody is told of: every twelfth.
const BLACKHOLE_EVERY: usize = 12;
const MIB: u64 = 1 << 20;
const WATCHED: &str = "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Dnumber";

#[tokio::test(flavor = "multi_thread")]
async fn breaks() -> anyhow::Result<()> {
    let mut world = World::start("breaks", "debug").await?;
    let (id, command) = world.create("breaks", "admin").await?;
    world.install(&id, &command, "--set logging.level=debug").await?;
    let k = world.shell(&id, "-1.32").await?;
    let mut steps = Steps::default();
    steps.run("pods", pods(&k)).await;
    steps.run("200 cuts", cuts(&world, &k)).await;
    steps.run("the gateway is killed", killed(&mut world, &k)).await;
    steps.run("the cluster is revoked", revoked(&world, &k)).await;
    steps
        .run("no log holds a secret", Canaries::no_secrets(&world, "DEBUG"))
        .await;
    steps.finish()
}

async fn pods(k: &Shell) -> anyhow::Result<()> {
    eventually(Duration::from_secs(30), || {
        k.ok("kubectl get serviceaccount default")
    })
    .await?;
    for (name, script) in [
        ("box", "exec nc -ll -p 7000 -e sh /tmp/serve"),
        (
            "counter",
            "i=0; while :; do echo $i; i=$((i+1)); usleep 10000; done",
        ),
    ] {
        k.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, containers: \
             [{{name: main, image: 'localhost/busybox:1', imagePullPolicy: Never, command: [sh, -c, '{script}']}}]}}}}"
        ))
        .await?;
    }
    k.ok("kubectl create configmap number --from-literal=n=0").await?;
    k.ok("kubectl wait --for=condition=Ready pod/box pod/counter --timeout=120s")
        .await?;
    blob(k, "box", 10 * MIB).await
}

async fn cuts(world: &World, k: &Shell) -> anyhow::Result<()> {
    let connected_at = connected_at(world).await?;
    let stop = CancellationToken::new();
    let mut streams = JoinSet::new();
    let labelled = |what: &'static str, result: anyhow::Result<u64>| (what, result);

    let (exec, shell) = (stop.clone(), k.clone());
    streams.spawn(async move { labelled("bytes through exec", exec_echo(shell, "box", exec).await) });
    let (log, shell) = (stop.clone(), k.clone());
    streams.spawn(async move { labelled("lines of logs -f", counting_log(shell, "counter", log).await) });
    let version = k
        .ok("kubectl get configmap number -o jsonpath='{.metadata.resourceVersion}'")
        .await?;
    let (last, seen) = (watch::Sender::new(None), watch::Receiver::clone);
    let (path, shell, last_seen) = (
        format!("{WATCHED}&resourceVersion={version}"),
        k.clone(),
        seen(&last.subscribe()),
    );
    streams.spawn(async move { labelled("events of a watch", counting_watch(shell, path, last_seen).await) });
    let (update, shell) = (stop.clone(), k.direct(&world.cluster));
    streams.spawn(async move { labelled("updates for it", count_up(shell, last, update).await) });
    let (copy, shell) = (stop.clone(), world.shell("breaks", "-1.20").await?);
    streams.spawn(async move { labelled("copies of 200 MiB", copies(shell, copy).await) });
    let (forward, shell) = (stop.clone(), k.clone());
    streams.spawn(async move { labelled("MiB through port-forward", forwards(shell, forward).await) });

    let start = Instant::now();
    let broke = tokio::select! {
        result = cut_at_random(world) => result.err(),
        Some(ended) = streams.join_next() => {
            let (what, result) = ended?;
            let error = result.err().unwrap_or_else(|| anyhow::anyhow!("it ended by itself"));
            Some(error.context(format!("{what}, after {:?}", start.elapsed())))
        }
    };
    if let Some(error) = broke {
        let log = world.gateway.process.said();
        let tail: Vec<&str> = log.lines().rev().take(30).collect();
        say(format_args!("the gateway, newest first:\n{}", tail.join("\n")));
        world.explain().await;
        say(format_args!(
            "{} connections at the relay",
            world.relay.connections()
        ));
        let again = tokio::time::timeout(Duration::from_secs(10), k.run("kubectl get nodes")).await;
        say(format_args!("a new request: {again:?}"));
        stop.cancel();
        while let Some(ended) = streams.join_next().await {
            say(format_args!("{ended:?}"));
        }
        return Err(error);
    }
    say(format_args!(
        "          {CUTS} cuts in {:.0?}, one in {BLACKHOLE_EVERY} silent",
        start.elapsed()
    ));
    stop.cancel();
    while let Some(ended) = streams.join_next().await {
        let (what, result) = ended?;
        let count = result.context(what)?;
        ensure!(count > 0, "no {what}");
        say(format_args!("          {count} {what}, each once and in order"));
    }
    ensure!(
        self::connected_at(world).await? == connected_at,
        "the tunnel is another one"
    );
    one_watch(world)
}

async fn connected_at(world: &World) -> anyhow::Result<Value> {
    let got = world
        .gateway
        .json(Method::GET, "/api/v1/clusters/breaks", None)
        .await?;
    let at = got["agent"]["connectedAt"].clone();
    ensure!(at.is_string(), "{got}");
    Ok(at)
}

async fn cut_at_random(world: &World) -> anyhow::Result<()> {
    let seed = rand::random();
    say(format_args!("          cuts at random moments, seed {seed}"));
    let mut random = StdRng::seed_from_u64(seed);
    for i in 0..CUTS {
        // A cut has to hit something; in which state it is, a handshake included, is left to chance. An idle session
        // takes longer to see a silent cut than a busy one, so not always both are there.
        eventually(Duration::from_secs(30), async || {
            ensure!(
                world.relay.connections() >= 1,
                "{} connections",
                world.relay.connections()
            );
            Ok(())
        })
        .await?;
        sleep(Duration::from_millis(random.random_range(0..800))).await;
        world.relay.cut(if i % BLACKHOLE_EVERY == 0 {
            Cut::Blackhole
        } else {
            Cut::Reset
        });
    }
    Ok(())
}

/// Counts up in the ConfigMap with the cluster administrator's rights; says in the end how far.
async fn count_up(
    direct: Shell,
    last: watch::Sender<Option<u64>>,
    stop: CancellationToken,
) -> anyhow::Result<u64> {
    let mut n = 0;
    while !stop.is_cancelled() {
        direct
            .ok(&format!(
                r#"kubectl patch configmap number -p '{{"data":{{"n":"{}"}}}}'"#,
                n + 1
            ))
            .await?;
        n += 1;
    }
    last.send_replace(Some(n));
    Ok(n)
}

/// There and back again, with the client of SPDY: the one of WebSocket sends pings, and one that meets an API server
/// that has just closed makes a reset, which takes what the server's kernel had not sent yet, up to 4 MiB. That needs no
/// gateway, only a reader that is behind: of 4.6 MiB that a server had written before it closed, a plain TCP client on
/// loopback got all if it was silent, and 2.0 MiB if it sent a ping before it read.
async fn copies(k: Shell, stop: CancellationToken) -> anyhow::Result<u64> {
    k.ok("head -c 200M /dev/urandom >big").await?;
    let sum = k.ok("sha256sum <big").await?;
    let mut n = 0;
    while n == 0 || !stop.is_cancelled() {
        k.ok("kubectl cp big box:/tmp/big && kubectl exec box -- sha256sum /tmp/big >sum && kubectl cp box:/tmp/big back").await?;
        let (there, back) = (k.ok("cut -d' ' -f1 sum").await?, k.ok("sha256sum <back").await?);
        ensure!(
            sum == back && sum.starts_with(there.trim()),
            "{sum} became {there} and {back}"
        );
        n += 2;
    }
    Ok(n)
}

/// One connection after another through one `port-forward`.
async fn forwards(k: Shell, stop: CancellationToken) -> anyhow::Result<u64> {
    let mut stream = Stream::start(&k, "exec kubectl port-forward pod/box :7000")?;
    let line = stream.line().await?;
    let port = line
        .split(' ')
        .nth(2)
        .and_then(|at| at.rsplit(':').next())
        .context(line.clone())?
        .parse()?;
    let mut mib = 0;
    while mib == 0 || !stop.is_cancelled() {
        there_and_back(connect(port).await?, 10 * MIB, &Barrier::new(1))
            .await
            .with_context(|| format!("after {mib} MiB"))?;
        mib += 20;
    }
    stream.kill().await?;
    Ok(mib)
}

/// The API server saw one watch, and no list for it.
fn one_watch(world: &World) -> anyhow::Result<()> {
    let audit = world.cluster.audit()?;
    let events = audit
        .lines()
        .map(serde_json::from_str::<Value>)
        .collect::<Result<Vec<_>, _>>()?;
    let watches = events.iter().filter(|event| {
        event["stage"] == "ResponseStarted"
            && event["impersonatedUser"]["username"] == "kantaloupe:user:admin"
            && event["requestURI"].as_str().is_some_and(|uri| {
                // kubectl sorts the query.
                let parts = ["/default/configmaps?", "watch=1", "metadata.name%3Dnumber"];
                parts.iter().all(|part| uri.contains(part))
            })
    });
    let count = watches.count();
    ensure!(count == 1, "the API server saw {count} watches");
    Ok(())
}

/// Streams of each kind, each with proof that it runs.
async fn open(k: &Shell) -> anyhow::Result<Vec<Stream>> {
    let mut streams = vec![
        Stream::start(k, "exec kubectl exec -i box -- cat")?,
        Stream::start(k, "exec kubectl logs -f counter")?,
        Stream::start(
            k,
            "exec kubectl get --raw \"$RAW/api/v1/namespaces/default/configmaps?watch=1\"",
        )?,
    ];
    let mut input = streams[0].input()?;
    tokio::io::AsyncWriteExt::write_all(&mut input, b"hello\n").await?;
    for stream in &mut streams {
        stream.line().await?;
    }
    // Open until the process ends: the end of input would end the stream properly.
    tokio::spawn(async move {
        sleep(Duration::from_mins(1)).await;
        drop(input);
    });
    Ok(streams)
}

async fn killed(world: &mut World, k: &Shell) -> anyhow::Result<()> {
    let before = world.gateway.json(Method::GET, "/api/v1/clusters", None).await?;
    let mut streams = open(k).await?;
    // The last cut may have been a silent one, which an idle control session sees late.
    eventually(Duration::from_secs(30), async || {
        let there = world.relay.connections();
        ensure!(there >= 2, "{there} connections: control or data is missing");
        Ok(())
    })
    .await?;
    world.gateway.process.kill().await?;
    for (i, stream) in streams.iter_mut().enumerate() {
        let Ended { code, err } = stream.ended(Duration::from_secs(10)).await?;
        // A log and a raw watch that break off are an end of file for kubectl, an exec is not.
        ensure!(
            code != 0 && !err.trim().is_empty(),
            "stream {i} ended with {code} and {err:?}"
        );
        say(format_args!(
            "          stream {i} ended with {code}: {}",
            err.trim()
        ));
    }
    let said = k.run("kubectl get nodes").await?;
    ensure!(said.code != 0 && said.err.contains("refused"), "{said:?}");
    let start = Instant::now();
    world.gateway.restart().await?;
    world
        .gateway
        .wait_state("breaks", "connected", Duration::from_secs(5))
        .await?;
    let back = start.elapsed();
    say(format_args!(
        "          connected {back:.1?} after the gateway's start"
    ));
    ensure!(back < Duration::from_secs(5), "{back:?}");
    let after = world.gateway.json(Method::GET, "/api/v1/clusters", None).await?;
    for key in ["id", "name", "displayName", "profile", "state"] {
        ensure!(
            before["items"][0][key] == after["items"][0][key],
            "{key}: {before} became {after}"
        );
    }
    for key in ["clusterUid", "podName", "version", "kubernetesVersion"] {
        ensure!(
            before["items"][0]["agent"][key] == after["items"][0]["agent"][key],
            "{key}: {before} became {after}"
        );
    }
    // The same kubeconfig, so the same token and certificate.
    ensure!(
        k.ok("kubectl get nodes -o name").await? == "node/node1\n",
        "nodes"
    );
    Ok(())
}

async fn revoked(world: &World, k: &Shell) -> anyhow::Result<()> {
    let mut streams = open(k).await?;
    let start = Instant::now();
    world
        .gateway
        .json(Method::POST, "/api/v1/clusters/breaks/revoke", None)
        .await?;
    for (i, stream) in streams.iter_mut().enumerate() {
        let left = Duration::from_secs(2).saturating_sub(start.elapsed());
        let Ended { code, err } = stream.ended(left).await?;
        say(format_args!(
            "          stream {i} ended {:.1?} after, with {code}: {}",
            start.elapsed(),
            err.trim()
        ));
        ensure!(i != 0 || code != 0, "exec ended as if all were well");
    }
    let said = k.run("kubectl get nodes").await?;
    ensure!(said.code != 0 && said.err.contains("revoked"), "{said:?}");
    ensure!(
        world.gateway.state("breaks").await? == "revoked",
        "the gateway says so"
    );
    eventually(Duration::from_secs(30), async || {
        let log = world.agent_log().await?;
        ensure!(log.contains("KTA-AUTH-007"), "{log}");
        Ok(())
    })
    .await?;
    let pods = format!(
        "kubectl -n {NAMESPACE} get pods -o jsonpath='{{.items[0].status.containerStatuses[0].ready}}'"
    );
    eventually(Duration::from_secs(30), async || {
        let ready = world.direct.ok(&pods).await?;
        ensure!(ready == "false", "ready: {ready}");
        Ok(())
    })
    .await
}
