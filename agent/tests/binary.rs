//! The program as a user runs it: exit codes, what it prints, signals.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

const PIN: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kantaloupe-agent"));
    command
        .env_clear()
        .env("POD_NAME", "agent-0")
        .env("POD_NAMESPACE", "kantaloupe-system");
    command
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A configuration in `directory`, and a kubeconfig whose API server is a port where nobody listens.
fn write_files(directory: &Path, health: &str) {
    let config = format!(
        "controlPlane: {{url: 'https://127.0.0.1:1', caPin: '{PIN}'}}\nhealth: {{listen: '{health}'}}\n\
         enrollment: {{tokenFile: /nonexistent}}\n"
    );
    std::fs::write(directory.join("agent.yaml"), config).unwrap();
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
         clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}}]\n\
         contexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {token: t}}]\n";
    std::fs::write(directory.join("kubeconfig"), kubeconfig).unwrap();
}

fn run(directory: &Path) -> Command {
    let mut command = agent();
    command
        .env("KUBECONFIG", directory.join("kubeconfig"))
        .arg("run")
        .arg("--config")
        .arg(directory.join("agent.yaml"));
    command
}

#[test]
fn bad_configuration_is_reported_whole_and_exits_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("agent.yaml");
    std::fs::write(
        &file,
        "controlPlane: {url: 'http://gw'}\naccess: {profile: root}\nunknown: 1\n",
    )
    .unwrap();
    let output = agent().arg("run").arg("--config").arg(&file).output().unwrap();
    let (code, stdout, stderr) = text(&output);
    assert_eq!(code, Some(2));
    for part in [
        "controlPlane.url",
        "access.profile",
        "unknown",
        "KTA-CFG-002",
        "KTA-CFG-001",
    ] {
        assert!(stderr.contains(part), "{part} is missing in: {stderr}");
    }
    assert!(!stderr.contains("panicked") && stdout.is_empty());
}

#[test]
fn an_unreadable_configuration_exits_2() {
    let (code, _, stderr) = text(
        &agent()
            .args(["run", "--config", "/nonexistent.yaml"])
            .output()
            .unwrap(),
    );
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("/nonexistent.yaml") && stderr.contains("KTA-CFG-001"),
        "{stderr}"
    );
}

#[test]
fn codes_are_explained() {
    let (code, english, _) = text(&agent().args(["explain", "KTA-AUTH-003"]).output().unwrap());
    assert_eq!(code, Some(0));
    assert!(
        english.starts_with("KTA-AUTH-003 ") && english.contains("What to do"),
        "{english}"
    );
    let (_, chinese, _) = text(
        &agent()
            .args(["explain", "auth-003", "--lang", "zh"])
            .output()
            .unwrap(),
    );
    assert!(chinese.contains("处理办法"), "{chinese}");
    let (code, _, stderr) = text(&agent().args(["explain", "KTA-NONE-999"]).output().unwrap());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("KTA-NONE-999"), "{stderr}");
}

#[test]
fn the_version_is_told() {
    let (code, stdout, _) = text(&agent().arg("version").output().unwrap());
    assert_eq!(code, Some(0));
    assert_eq!(
        stdout.trim(),
        format!("kantaloupe-agent {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn without_a_way_to_the_api_server_it_exits_with_the_cause() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), "127.0.0.1:0");
    let output = run(directory.path())
        .env("KUBECONFIG", "/nonexistent/kubeconfig")
        .output()
        .unwrap();
    let (code, _, stderr) = text(&output);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("KTA-K8S-001"), "{stderr}");
}

#[test]
fn an_occupied_port_exits_with_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &address);
    let (code, _, stderr) = text(&run(directory.path()).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("KTA-SRV-007") && stderr.contains(&address),
        "{stderr}"
    );
}

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn it_logs_what_it_runs_with_and_ends_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), "127.0.0.1:0");
    let mut running = Running(
        run(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut log = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&log.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert!(first["config"].as_str().unwrap().contains(PIN), "{first}");
    // The API server is away: the agent says so and goes on trying.
    let lines = log.by_ref().map(Result::unwrap).take(20);
    let warning = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    let mut warning = warning.filter(|line| line["level"] == "WARN");
    assert_eq!(warning.next().unwrap()["code"], "KTA-K8S-001");

    let pid = running.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut status = None;
    for _ in 0..2000 {
        status = running.0.try_wait().unwrap();
        if status.is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(status.expect("it ended within 20 s").code(), Some(0));
    let mut stderr = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(stderr, "");
}
