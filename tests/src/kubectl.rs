//! Command lines as a person types them: bash with a `kubectl` of some version and a kubeconfig.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::timeout,
};

use crate::cluster::{Cluster, testbed};

/// The longest that any one command line of the tests may take, transfers of 200 MiB among them.
const LIMIT: Duration = Duration::from_mins(4);

/// What a command line said.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A shell with `kubectl` and `helm`.
#[derive(Clone)]
pub struct Shell {
    /// Where command lines run; empty files of the test may lie here.
    pub dir: PathBuf,
    kubeconfig: PathBuf,
    namespace: Option<String>,
    /// Path of the API server behind the kubeconfig's server. `kubectl get --raw` leaves a path of the server out, so
    /// command lines say `$RAW/api/...`.
    raw: String,
}

impl Shell {
    /// `version` is the suffix of the kubectl program, "" for the newest; `dir` becomes its home; `raw` is the server's
    /// path.
    pub fn new(dir: &Path, version: &str, kubeconfig: &Path, raw: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("bin"))?;
        let program = testbed().join("bin").join(format!("kubectl{version}"));
        ensure!(
            program.is_file(),
            "{} is missing: run tests/testbed/prepare.sh",
            program.display()
        );
        symlink(program, dir.join("bin/kubectl"))?;
        Ok(Self {
            dir: dir.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            namespace: None,
            raw: raw.to_owned(),
        })
    }

    /// The same, inside the cluster and with its administrator's rights: past the gateway.
    #[must_use]
    pub fn direct(&self, cluster: &Cluster) -> Self {
        let namespace = Some(format!("--net=/run/netns/kt-{}", cluster.name));
        Self {
            kubeconfig: cluster.kubeconfig(),
            namespace,
            raw: String::new(),
            ..self.clone()
        }
    }

    /// A command line, not started yet. What it starts ends with it.
    pub fn command(&self, line: &str) -> Command {
        let mut command = match &self.namespace {
            None => Command::new("setpriv"),
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.args([namespace, "setpriv"]);
                command
            }
        };
        let programs = testbed().join("bin");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(["--pdeathsig", "KILL", "bash", "-o", "pipefail", "-c", line])
            .env(
                "PATH",
                format!("{}:{}:{path}", self.dir.join("bin").display(), programs.display()),
            )
            .env("KUBECONFIG", &self.kubeconfig)
            .env("RAW", &self.raw)
            .env("HOME", &self.dir)
            .current_dir(&self.dir)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a single program with its streams piped; `line` should begin with `exec`, so that it can be killed.
    pub fn start(&self, line: &str) -> anyhow::Result<Child> {
        self.command(line)
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| line.to_owned())
    }

    /// Runs a command line to its end.
    pub async fn run(&self, line: &str) -> anyhow::Result<Said> {
        let output = timeout(LIMIT, self.command(line).output())
            .await
            .with_context(|| format!("this takes too long: {line}"))??;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command line that has to succeed; what it printed.
    pub async fn ok(&self, line: &str) -> anyhow::Result<String> {
        let said = self.run(line).await?;
        ensure!(
            said.code == 0,
            "{line}\nended with {}: {}{}",
            said.code,
            said.out,
            said.err
        );
        Ok(said.out)
    }

    /// `kubectl apply -f -` of a manifest.
    pub async fn apply(&self, manifest: &str) -> anyhow::Result<()> {
        let mut child = self.start("exec kubectl apply -f -")?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        // What starts with a brace is JSON for kubectl, and YAML is shorter.
        stdin.write_all(format!("---\n{manifest}").as_bytes()).await?;
        drop(stdin);
        let output = timeout(LIMIT, child.wait_with_output()).await??;
        ensure!(
            output.status.success(),
            "apply: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}
