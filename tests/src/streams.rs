//! Streams through the gateway that check every byte, line or event while something happens to the connection.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout},
    sync::{Barrier, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    kubectl::Shell,
    service::{Checker, Pattern},
};

/// Silence on a stream that should go on, after which it counts as dead: some times what a broken link may take.
pub const SILENCE: Duration = Duration::from_secs(30);
/// A gigabyte at once, on a loaded machine.
const TRANSFER: Duration = Duration::from_mins(2);

/// Writes `n` bytes of the pattern, or until `stop`; how many.
pub async fn write(
    mut w: impl AsyncWrite + Unpin,
    n: u64,
    pause: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<u64> {
    let (mut body, mut sent) = (Pattern::new(n, 64 << 10), 0);
    while let Some(frame) = body.frame().await {
        if stop.is_cancelled() {
            break;
        }
        if let Ok(bytes) = frame?.into_data() {
            w.write_all(&bytes).await?;
            sent += bytes.len() as u64;
        }
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
    w.flush().await?;
    Ok(sent)
}

/// Checks bytes of the pattern until there are `n` or they end; how many.
pub async fn receive(mut r: impl AsyncRead + Unpin, n: u64) -> anyhow::Result<u64> {
    let (mut checker, mut buffer) = (Checker::new(), vec![0; 64 << 10]);
    while checker.count < n {
        let got = timeout(SILENCE, r.read(&mut buffer)).await;
        match got.with_context(|| format!("silence after {} bytes", checker.count))?? {
            0 => break,
            got => checker.feed(&buffer[..got]),
        }
    }
    Ok(checker.count)
}

/// What `nc -ll -p 7000 -e sh /tmp/serve` in a pod does for [`there_and_back`], for each connection: takes as many bytes
/// as `/tmp/blob` has and compares, then sends the file.
const SERVE: &str = "echo ready; head -c $(stat -c %s /tmp/blob) | cmp -s - /tmp/blob && echo same; head -c 1 >/dev/null; exec cat /tmp/blob";

/// Makes a pod ready for [`there_and_back`] of `n` bytes.
pub async fn blob(shell: &Shell, pod: &str, n: u64) -> anyhow::Result<()> {
    shell
        .ok(&format!(
            "kubectl exec {pod} -- sh -c 'echo \"$0\" >/tmp/serve' '{SERVE}'"
        ))
        .await?;
    // The output stays open: containerd 1.6 ends an exec whose program has closed it.
    let line = format!("exec kubectl exec -i {pod} -- sh -c 'cat >/tmp/blob; echo kept'");
    let mut child = shell.start(&line)?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    write(&mut stdin, n, Duration::ZERO, &CancellationToken::new()).await?;
    drop(stdin);
    let output = timeout(SILENCE, child.wait_with_output()).await??;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let size = shell
        .ok(&format!("kubectl exec {pod} -- stat -c %s /tmp/blob"))
        .await?;
    ensure!(
        size.trim() == n.to_string(),
        "{} of {n} bytes arrived",
        size.trim()
    );
    Ok(())
}

/// A connection to such a pod. One after another: nc's backlog is two.
pub async fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    expect(&mut stream, b"ready\n").await?;
    Ok(stream)
}

/// Sends `n` bytes, which the pod compares, and checks the `n` that it sends then. The
/// connections that share `together` go from one phase to the next at once: the SPDY streams between kubelet and
/// containerd have no flow control of their own, and lock up under twenty that do different things, without us too.
pub async fn there_and_back(stream: TcpStream, n: u64, together: &Barrier) -> anyhow::Result<()> {
    let (mut r, mut w) = stream.into_split();
    together.wait().await;
    let never = CancellationToken::new();
    let sent = write(&mut w, n, Duration::ZERO, &never);
    timeout(TRANSFER, sent).await.context("the pod takes no more")??;
    timeout(TRANSFER, expect(&mut r, b"same\n"))
        .await
        .context("the pod got less")??;
    together.wait().await;
    w.write_all(b"\n").await?;
    let received = receive(r, n).await?;
    ensure!(received == n, "{received} of {n} bytes came back");
    Ok(())
}

async fn expect(mut r: impl AsyncRead + Unpin, word: &[u8]) -> anyhow::Result<()> {
    let mut got = vec![0; word.len()];
    let read = timeout(TRANSFER, r.read_exact(&mut got)).await;
    read.context("the pod says nothing")?
        .with_context(|| format!("instead of {word:?}"))?;
    ensure!(got == word, "{got:?} instead of {word:?}");
    Ok(())
}

/// A running `kubectl` whose lines are read one by one.
pub struct Stream {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    what: String,
}

/// How a stream ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub err: String,
}

impl Stream {
    pub fn start(shell: &Shell, line: &str) -> anyhow::Result<Self> {
        let mut child = shell.command(line).stdin(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self {
            child,
            lines,
            what: line.to_owned(),
        })
    }

    /// The input, once.
    pub fn input(&mut self) -> anyhow::Result<tokio::process::ChildStdin> {
        self.child.stdin.take().context("no stdin")
    }

    /// The next line; an error at the end or in silence.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        let line = timeout(SILENCE, self.lines.next_line()).await;
        if let Some(line) = line.with_context(|| format!("silence: {}", self.what))?? {
            return Ok(line);
        }
        let ended = self.ended(SILENCE).await?;
        bail!("{} ended: {ended:?}", self.what)
    }

    /// Reads on until it ends by itself, at most for so long.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<Ended> {
        let end = async {
            while let Ok(Some(_)) = self.lines.next_line().await {}
            let status = self.child.wait().await?;
            let mut err = String::new();
            if let Some(stderr) = &mut self.child.stderr {
                stderr.read_to_string(&mut err).await?;
            }
            anyhow::Ok(Ended {
                code: status.code().unwrap_or(-1),
                err,
            })
        };
        timeout(within, end)
            .await
            .with_context(|| format!("{} goes on after {within:?}", self.what))?
    }

    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// `kubectl exec -i` of cat: everything comes back until `stop`, then it ends with 0. How many bytes.
pub async fn exec_echo(shell: Shell, pod: &str, stop: CancellationToken) -> anyhow::Result<u64> {
    let mut child = shell.start(&format!("exec kubectl exec -i {pod} -- cat"))?;
    let mut w = child.stdin.take().context("no stdin")?;
    let mut r = child.stdout.take().context("no stdout")?;
    let total = watch::Sender::new(None);
    let send = async {
        // 6 MiB/s at most: what is under test is the stream's life, not the machine.
        let sent = write(&mut w, u64::MAX, Duration::from_millis(10), &stop).await?;
        total.send_replace(Some(sent));
        anyhow::Ok(sent)
    };
    let receive = async {
        let (mut checker, mut buffer, mut total) = (Checker::new(), vec![0; 64 << 10], total.subscribe());
        while *total.borrow() != Some(checker.count) {
            let got = tokio::select! {
                got = timeout(SILENCE, r.read(&mut buffer)) => got,
                _ = total.changed() => continue,
            };
            let got = got.with_context(|| format!("silence after {} bytes", checker.count))??;
            ensure!(got > 0, "the end after {} bytes", checker.count);
            checker.feed(&buffer[..got]);
        }
        Ok(())
    };
    let (sent, ()) = tokio::try_join!(send, receive)?;
    drop(w);
    let output = timeout(SILENCE, child.wait_with_output()).await??;
    ensure!(
        output.status.success(),
        "exec ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(sent)
}

/// `kubectl logs -f` of a pod that counts: each number once and in order, until `stop`. How many.
pub async fn counting_log(shell: Shell, pod: &str, stop: CancellationToken) -> anyhow::Result<u64> {
    let mut stream = Stream::start(&shell, &format!("exec kubectl logs -f {pod}"))?;
    let mut next = 0;
    while !stop.is_cancelled() {
        let line = stream.line().await?;
        ensure!(line == next.to_string(), "{line} instead of {next}");
        next += 1;
    }
    stream.kill().await?;
    Ok(next)
}

/// A watch of a ConfigMap whose `n` counts: each number once and in order, until `last` is known and seen. How many.
pub async fn counting_watch(
    shell: Shell,
    path: String,
    mut last: watch::Receiver<Option<u64>>,
) -> anyhow::Result<u64> {
    let mut stream = Stream::start(&shell, &format!("exec kubectl get --raw \"$RAW{path}\""))?;
    let mut seen = 0;
    loop {
        let over = last.wait_for(|last| last.is_some_and(|last| last == seen));
        let line = tokio::select! {
            Ok(_) = over => break,
            line = stream.line() => line?,
        };
        let event: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        ensure!(event["type"] == "MODIFIED", "{line}");
        let n = event["object"]["data"]["n"].as_str().context("no number")?;
        ensure!(n == (seen + 1).to_string(), "event {n} after {seen}");
        seen += 1;
    }
    stream.kill().await?;
    Ok(seen)
}
