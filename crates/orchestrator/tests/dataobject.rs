//! The dataobject server, run by a real Node. What it does is tested in its
//! own language, beside this file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use millrace_orchestrator::dataobject::{self, CheckError};
use millrace_orchestrator::node::{Node, NodeFinder};
use millrace_orchestrator::prepare::{Jobs, LogWriter, PrepareRequest};
use millrace_orchestrator::spec;
use millrace_service::TaskGroup;
use millrace_types::WorkloadId;

/// A Node that is new enough; fetched when there is none.
async fn node() -> Node {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/tool");
    let found = Command::new(tool)
        .arg("node")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(found.status.success(), "there is no Node to test with");
    let program = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim_end());
    let finder = NodeFinder::of_process(Some(program));
    finder.find(Path::new("/")).await.unwrap()
}

/// Looks at the definition in `entry`, as a service of that name.
async fn check(node: &Node, folder: &Path, entry: &Path, name: &str) -> Result<(), CheckError> {
    let cache = folder.join("cache");
    let server = dataobject::install(&cache).unwrap();
    let tasks = TaskGroup::new();
    let (log, _lines) = LogWriter::channel();
    let dir = entry.parent().unwrap();
    let request = PrepareRequest {
        workload_id: WorkloadId::new(),
        spec: &spec::read(r#"{"type": "dataobject"}"#, name).unwrap(),
        dir,
        project_dir: dir,
        data_dir: dir,
        temporary_dir: None,
        cache_dir: &cache,
        log: &log,
        jobs: &Jobs::open(&folder.join("jobs"), &tasks).unwrap(),
    };
    let checked = dataobject::check(node, &server, entry, request).await;
    tasks.stop();
    assert!(tasks.drain(Duration::from_mins(1)).await.is_empty());
    checked
}

#[tokio::test]
async fn the_servers_own_tests_pass() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dataobject");
    let files = ["records.test.mjs", "life.test.mjs"].map(|name| tests.join(name));
    let run = Command::new(node().await.program)
        .args(["--test", "--test-timeout=120000", "--test-reporter=spec"])
        .args(files)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}

#[tokio::test]
async fn a_definition_is_checked_before_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let node = node().await;
    let entry = dir.path().join("index.ts");
    let look_at = async |text: &str| {
        std::fs::write(&entry, text).unwrap();
        check(&node, dir.path(), &entry, "note").await
    };

    let right = "const a: number = 1; console.log('hello');
        export default { schema: { properties: { a: { type: 'string' } } } };";
    look_at(right).await.unwrap();

    let wrong = "export default { schema: { properties: { a: { type: 'text' } } }, colour: 1 };";
    let Err(CheckError::Definition(findings)) = look_at(wrong).await else {
        panic!("it was taken");
    };
    let pointers: Vec<&str> = findings
        .iter()
        .map(|(pointer, _)| pointer.as_str())
        .collect();
    assert_eq!(pointers, ["/colour", "/schema/properties/a/type"]);

    let broken = look_at("export default {").await.unwrap_err();
    assert!(broken.to_string().contains("SyntaxError"), "{broken}");

    let ends = look_at("process.exit(3)").await.unwrap_err();
    assert!(matches!(ends, CheckError::Crashed { .. }), "{ends}");
}

#[tokio::test]
async fn the_examples_definitions_are_right_and_their_types_are_these() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/todo-app");
    let types = std::fs::read_to_string(example.join("dataobject.d.ts")).unwrap();
    assert_eq!(types, dataobject::TYPES);
    let dir = tempfile::tempdir().unwrap();
    let node = node().await;
    for service in ["project-dataobject", "task-dataobject"] {
        let entry = example.join("src/services").join(service).join("index.ts");
        let checked = check(&node, dir.path(), &entry, service).await;
        checked.unwrap_or_else(|error| panic!("{service}: {error}"));
    }
}
