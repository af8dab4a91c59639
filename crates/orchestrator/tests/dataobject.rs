//! The dataobject server, run by a real Node. What it does is tested in its
//! own language, beside this file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use millrace_orchestrator::dataobject::{self, CheckError};
use millrace_orchestrator::node::{Node, NodeFinder};

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
    let server = dataobject::install(&dir.path().join("cache")).unwrap();
    let entry = dir.path().join("index.ts");
    let check = async |text: &str| {
        std::fs::write(&entry, text).unwrap();
        dataobject::check(&node, &server, &entry, "note").await
    };

    let right = "const a: number = 1; console.log('hello');
        export default { schema: { properties: { a: { type: 'string' } } } };";
    check(right).await.unwrap();

    let wrong = "export default { schema: { properties: { a: { type: 'text' } } }, colour: 1 };";
    let Err(CheckError::Definition(findings)) = check(wrong).await else {
        panic!("it was taken");
    };
    let pointers: Vec<&str> = findings
        .iter()
        .map(|(pointer, _)| pointer.as_str())
        .collect();
    assert_eq!(pointers, ["/colour", "/schema/properties/a/type"]);

    let broken = check("export default {").await.unwrap_err();
    assert!(broken.to_string().contains("SyntaxError"), "{broken}");

    let ends = check("process.exit(3)").await.unwrap_err();
    assert!(matches!(ends, CheckError::Crashed { .. }), "{ends}");
}

#[tokio::test]
async fn the_examples_definitions_are_right_and_their_types_are_these() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/todo-app");
    let types = std::fs::read_to_string(example.join("dataobject.d.ts")).unwrap();
    assert_eq!(types, dataobject::TYPES);
    let dir = tempfile::tempdir().unwrap();
    let server = dataobject::install(dir.path()).unwrap();
    let node = node().await;
    for service in ["project-dataobject", "task-dataobject"] {
        let entry = example.join("src/services").join(service).join("index.ts");
        let checked = dataobject::check(&node, &server, &entry, service).await;
        checked.unwrap_or_else(|error| panic!("{service}: {error}"));
    }
}
