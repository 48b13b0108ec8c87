//! A real Kubernetes in a network namespace of its own (`testbed/cluster.sh`), taken down with its handle.

use std::{
    ffi::OsStr,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::{process::Command, time::timeout};

/// Cold start on a loaded machine.
const START: Duration = Duration::from_mins(3);

/// Where `prepare.sh` put programs and images.
pub fn testbed() -> PathBuf {
    let cache = std::env::var_os("KANTALOUPE_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/kantaloupe");
    cache.unwrap_or_else(home).join("testbed")
}

/// A script beside the cluster's.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed").join(name)
}

/// Runs a script of the testbed to its end; what it printed.
pub async fn run<I: IntoIterator<Item = A>, A: AsRef<OsStr>>(name: &str, args: I) -> anyhow::Result<String> {
    let mut command = Command::new(script(name));
    command
        .args(args)
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null());
    let output = timeout(START, command.output())
        .await
        .with_context(|| format!("{name} takes too long"))??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    Ok(text(&output.stdout))
}

/// A running cluster.
pub struct Cluster {
    pub name: String,
    pub dir: PathBuf,
    index: u8,
}

impl Cluster {
    /// Starts one. What an earlier run of the same purpose left behind is taken down first.
    pub async fn start(purpose: &str, dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(purpose, dir, "*").await
    }

    /// As [`Cluster::start`], with only some controllers (as `kube-controller-manager --controllers`).
    pub async fn start_with(purpose: &str, dir: &Path, controllers: &str) -> anyhow::Result<Self> {
        run("prepare.sh", [""; 0]).await?;
        run("cluster.sh", ["sweep", &format!("e2e-{purpose}-")]).await?;
        let name = format!("e2e-{purpose}-{}", std::process::id());
        // From here on a failure takes down what is there.
        let mut cluster = Self {
            name,
            dir: dir.to_owned(),
            index: 0,
        };
        let bin = testbed().join("bin");
        let args = [
            OsStr::new("up"),
            cluster.name.as_ref(),
            "auto".as_ref(),
            bin.as_ref(),
            dir.as_ref(),
            controllers.as_ref(),
        ];
        run("cluster.sh", args).await?;
        let entry = std::fs::read_to_string(Path::new("/run/kantaloupe-testbed").join(&cluster.name))?;
        cluster.index = entry
            .lines()
            .next()
            .context("the registry has no index")?
            .parse()?;
        Ok(cluster)
    }

    /// This machine's address on the cluster's only line: what plays the internet.
    pub fn outside(&self) -> IpAddr {
        IpAddr::from([10, 77, self.index, 1])
    }

    /// The node's address on it.
    pub fn inside(&self) -> IpAddr {
        IpAddr::from([10, 77, self.index, 2])
    }

    /// The cluster administrator's kubeconfig, of use inside only.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// Loads an image from an archive.
    pub async fn import(&self, archive: &Path) -> anyhow::Result<()> {
        let args = [
            "import".as_ref(),
            self.name.as_ref(),
            self.dir.as_os_str(),
            archive.as_ref(),
        ];
        run("cluster.sh", args).await.map(drop)
    }

    /// Adds an aggregated API.
    pub async fn aggregate(&self) -> anyhow::Result<()> {
        run("cluster.sh", ["aggregate", &self.name]).await.map(drop)
    }

    /// Forgets the history of all objects and restarts the API server: a watch that goes on from before gets 410.
    pub async fn compact(&self) -> anyhow::Result<()> {
        run("cluster.sh", ["compact", &self.name]).await.map(drop)
    }

    /// The API server's audit log so far, one JSON object a line.
    pub fn audit(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.dir.join("log/audit.jsonl"))?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = std::process::Command::new(script("cluster.sh"))
            .args(["down", &self.name])
            .arg(&self.dir)
            .stdout(std::process::Stdio::null())
            .status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!(
                "the cluster {} could not be taken down: testbed/cluster.sh down {}",
                self.name, self.name
            );
        }
    }
}
