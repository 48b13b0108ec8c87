//! `kantaloupe-agent inventory --from`: the inventory out of files, without a cluster.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::ValueEnum;
use jiff::Timestamp;
use kantaloupe_checks::Verdict;
use kantaloupe_gpu::{
    dump::{Dump, Problem},
    inventory::{InstalledBy, Kind, Record},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cli::{USAGE, fail, say};

/// Larger than a dump of 100,000 pods; what is larger still was named by mistake.
const MAX_FILE: u64 = 1 << 30;
/// Folders in folders.
const MAX_DEPTH: usize = 16;

/// How the inventory is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: docs/api/inventory.md describes it.
    Json,
}

/// Prints the inventory. Status 1 says that something could not be read; the rest is printed.
pub fn print(from: &[PathBuf], format: Format) -> ExitCode {
    let mut dump = Dump::default();
    let mut files = 0;
    for path in from {
        files += add(&mut dump, path, 0);
    }
    if files == 0 {
        return fail("there is no file to read", USAGE);
    }
    let now = Timestamp::now();
    let (mut index, problems) = dump.index(now);
    let records = index.records(now);
    let text = match format {
        Format::Json => json_text(&records, &problems),
        Format::Table => table(&records),
    };
    let printed = say(text.trim_end());
    if problems.is_empty() {
        return printed;
    }
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    fail(
        &format!("not everything could be read:\n  {}", list.join("\n  ")),
        1,
    )
}

/// Adds a file, or the files of a folder in the order of their names; how many.
fn add(dump: &mut Dump, path: &Path, depth: usize) -> usize {
    let name = path.display().to_string();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            dump.problem(&name, error.to_string());
            return 1;
        }
    };
    if metadata.is_dir() {
        let entries =
            fs::read_dir(path).map(|entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>());
        let mut entries = entries.unwrap_or_default();
        entries.sort();
        if depth == MAX_DEPTH {
            dump.problem(&name, "too many folders in folders");
            return 1;
        }
        return entries.iter().map(|entry| add(dump, entry, depth + 1)).sum();
    }
    if metadata.len() > MAX_FILE {
        dump.problem(
            &name,
            format!(
                "{} bytes are more than the {MAX_FILE} that are read",
                metadata.len()
            ),
        );
        return 1;
    }
    match fs::read_to_string(path) {
        Ok(text) => dump.add(&name, &text),
        Err(error) => dump.problem(&name, error.to_string()),
    }
    1
}

fn json_text(records: &[Record], problems: &[Problem]) -> String {
    const LISTS: [(Kind, &str); 8] = [
        (Kind::Node, "nodes"),
        (Kind::Gpu, "gpus"),
        (Kind::Allocation, "allocations"),
        (Kind::Workload, "workloads"),
        (Kind::Finding, "findings"),
        (Kind::GpuUsage, "gpuUsage"),
        (Kind::ContainerUsage, "containerUsage"),
        (Kind::Check, "checks"),
    ];
    let value = |record: &Record| json!(record);
    let mut all = Map::new();
    let cluster = records.iter().find(|record| record.kind() == Kind::Cluster);
    all.insert("cluster".to_owned(), cluster.map(value).unwrap_or_default());
    for (kind, name) in LISTS {
        let list = records.iter().filter(|record| record.kind() == kind).map(value);
        all.insert(name.to_owned(), list.collect());
    }
    let problems = problems
        .iter()
        .map(|problem| json!({"file": problem.file, "what": problem.what}));
    all.insert("problems".to_owned(), problems.collect());
    serde_json::to_string_pretty(&Value::Object(all)).expect("records are JSON")
}

fn table(records: &[Record]) -> String {
    fn number<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "?".to_owned(), |value| value.to_string())
    }
    let mut nodes = vec![["NODE", "READY", "GPUS", "DRIVER", "RUNTIME", "PODS"].map(str::to_owned)];
    let mut gpus = vec![["GPU", "MODEL", "HEALTHY", "SLOTS", "MEMORY MIB", "CORES"].map(str::to_owned)];
    let mut held = vec![["POD", "CONTAINER", "DEVICE", "MEMORY MIB", "CORES", "STATE"].map(str::to_owned)];
    let mut components =
        vec![["COMPONENT", "NAMESPACE", "NAME", "VERSION", "HEALTHY", "BY"].map(str::to_owned)];
    let mut checks = vec![["CHECK", "VERDICT", "", "", "", "MESSAGE"].map(str::to_owned)];
    let mut findings = vec![["LEVEL", "CODE", "REASON", "OBJECT", "", "MESSAGE"].map(str::to_owned)];
    for record in records {
        match record {
            Record::Node(node) => nodes.push([
                node.name.clone(),
                number(node.ready),
                node.gpus.to_string(),
                number(node.driver_version.as_ref()),
                number(
                    node.runtime
                        .as_ref()
                        .map(|runtime| format!("{} {}", runtime.name, runtime.version)),
                ),
                node.pods.to_string(),
            ]),
            Record::Gpu(gpu) => gpus.push([
                gpu.id.clone(),
                number(gpu.model.as_ref()),
                number(gpu.healthy),
                format!("{}/{}", gpu.used.slots, number(gpu.capacity.slots)),
                format!("{}/{}", gpu.used.memory_mib, number(gpu.capacity.memory_mib)),
                format!("{}/{}", gpu.used.cores, number(gpu.capacity.cores)),
            ]),
            Record::Allocation(allocation) => held.push([
                format!("{}/{}", allocation.namespace, allocation.pod),
                number(allocation.container.as_ref()),
                number(allocation.gpu.as_ref().or(allocation.uuid.as_ref())),
                number(allocation.memory_mib),
                number(allocation.cores),
                number(allocation.state.map(|state| format!("{state:?}"))),
            ]),
            Record::Cluster(cluster) => components.extend(cluster.components.iter().map(|component| {
                [
                    word(&component.kind),
                    component.namespace.clone().unwrap_or_default(),
                    component.name.clone(),
                    number(component.version.as_ref()),
                    number(component.healthy),
                    number(component.installed_by.as_ref().map(installed)),
                ]
            })),
            // What passed, or cannot be told from files, is in the JSON.
            Record::Check(check) if matches!(check.verdict, Verdict::Fail | Verdict::Warn) => checks.push([
                check.code.to_string(),
                word(&check.verdict),
                String::new(),
                String::new(),
                String::new(),
                check.message.clone(),
            ]),
            Record::Finding(finding) => findings.push([
                format!("{:?}", finding.level),
                finding.code.to_string(),
                finding.reason.to_string(),
                format!("{} {}", finding.object.kind, finding.object.name),
                String::new(),
                finding.message.clone(),
            ]),
            _ => {}
        }
    }
    let mut text = String::new();
    for rows in [components, nodes, gpus, held, checks, findings] {
        if rows.len() > 1 {
            columns(&mut text, &rows);
        }
    }
    text
}

fn installed(by: &InstalledBy) -> String {
    match by {
        InstalledBy::Helm { release, .. } => format!("Helm release {release}"),
        InstalledBy::Operator { name } => name.clone(),
        InstalledBy::Manifest => "manifests".to_owned(),
    }
}

/// The word that stands for a value in JSON.
fn word(value: &impl Serialize) -> String {
    match json!(value) {
        Value::String(word) => word,
        other => other.to_string(),
    }
}

/// Rows in columns as wide as they need to be, and an empty line.
fn columns<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let widths: [usize; N] =
        std::array::from_fn(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0));
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            if width > 0 {
                // Writing to a String does not fail.
                let _infallible = write!(line, "{cell:width$}  ");
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_printed_in_both_forms() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
        let mut dump = Dump::default();
        assert!(add(&mut dump, &fixtures.join("nodes"), 0) > 20);
        assert!(add(&mut dump, &fixtures.join("pods"), 0) > 20);
        assert!(add(&mut dump, &fixtures.join("platform"), 0) > 10);
        assert_eq!(add(&mut dump, &fixtures.join("not-there"), 0), 1);
        let now = Timestamp::now();
        let (mut index, problems) = dump.index(now);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let records = index.records(now);
        let json: Value = serde_json::from_str(&json_text(&records, &problems)).unwrap();
        assert_eq!(
            json["nodes"].as_array().map(Vec::len),
            json["cluster"]["counts"]["nodes"]
                .as_u64()
                .map(|n| usize::try_from(n).unwrap())
        );
        assert!(json["gpus"][0]["id"].is_string() && json["problems"][0]["file"].is_string());
        let table = table(&records);
        assert!(
            table.starts_with("COMPONENT")
                && table.contains("\nNODE ")
                && table.contains("\nGPU ")
                && table.contains("\nPOD "),
            "{table}"
        );
        let kinds = json["cluster"]["components"].as_array().unwrap().iter();
        assert!(
            kinds
                .map(|component| &component["kind"])
                .any(|kind| kind == "hami")
        );
        assert!(json["checks"].as_array().unwrap().len() > 20);
    }
}
