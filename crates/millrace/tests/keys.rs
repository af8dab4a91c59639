//! API keys, made and revoked as an operator does it, on both databases.

mod support;

use std::path::Path;
use std::process::Output;

use millrace_proto::runtime::v1::ResolveKeyRequest;
use millrace_proto::runtime::v1::access_service_client::AccessServiceClient;
use millrace_service::transport::remote;
use millrace_testkit::{TestDatabase, eventually};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{Millrace, PATIENCE, command};

/// `millrace keys …` in `directory`: its exit code and what it printed.
async fn run(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output: Output = command(arguments, &[])
        .current_dir(directory)
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// The same on one database, where it has to succeed.
async fn keys(directory: &Path, database: [&str; 2], arguments: &[&str]) -> String {
    let arguments = [&["keys"], arguments, &database].concat();
    let (code, out, err) = run(directory, &arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    out
}

async fn create(directory: &Path, database: [&str; 2], name: &str, more: &[&str]) -> Value {
    let arguments = [&["create", "--json", "--name", name], more].concat();
    let out = keys(directory, database, &arguments).await;
    serde_json::from_str(&out).unwrap()
}

async fn list(directory: &Path, database: [&str; 2]) -> Vec<Value> {
    let out = keys(directory, database, &["list", "--json"]).await;
    let page: Value = serde_json::from_str(&out).unwrap();
    page["items"].as_array().unwrap().clone()
}

async fn one(directory: &Path, database: [&str; 2], id: &Value) -> Value {
    let listed = list(directory, database).await;
    listed.into_iter().find(|key| key["id"] == *id).unwrap()
}

/// From the first to the last of a key on the database of `url`.
async fn life_of_keys(url: &str) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let database = ["--database-url", url];

    let early = ["keys", "list", "--database-url", url];
    let (code, _, err) = run(directory, &early).await;
    assert_eq!(code, 1);
    assert!(err.contains("`millrace migrate`"), "{err}");
    let (code, _, err) = run(directory, &["migrate", "--database-url", url]).await;
    assert_eq!(code, 0, "{err}");

    let made = create(
        directory,
        database,
        "ci",
        &["--role", "deployer", "--expires", "90d"],
    )
    .await;
    let key = made["key"].as_str().unwrap();
    let id = made["id"].as_str().unwrap();
    assert!(key.starts_with("mlr_") && id.starts_with("key_"), "{made}");
    assert_eq!(
        (&made["name"], &made["role"]),
        (&"ci".into(), &"deployer".into())
    );

    let shown = one(directory, database, &made["id"]).await;
    assert_eq!(shown["state"], "valid");
    assert_eq!(shown["expiresAt"], made["expiresAt"]);
    let time =
        |member: &str| -> jiff::Timestamp { shown[member].as_str().unwrap().parse().unwrap() };
    let term = time("expiresAt").duration_since(time("createdAt"));
    assert_eq!(term, jiff::SignedDuration::from_hours(90 * 24));

    // The key alone goes to standard output, as scripts want it.
    let arguments = ["keys", "create", "--name", "laptop", "--role", "admin"];
    let (code, out, err) = run(directory, &[&arguments[..], &database].concat()).await;
    assert_eq!(code, 0, "{err}");
    let laptop = out.trim_end();
    assert!(
        laptop.starts_with("mlr_") && !laptop.contains(['\n', ' ']),
        "{out}"
    );
    assert!(
        err.contains("`laptop`, admin") && !err.contains(laptop),
        "{err}"
    );

    // Neither in a list nor anywhere else is it shown again.
    let table = keys(directory, database, &["list"]).await;
    let json = keys(directory, database, &["list", "--json"]).await;
    for secret in [key, laptop] {
        // `mlr_{id}_{secret}`, and the secret may hold `_` itself.
        let secret = secret.splitn(3, '_').nth(2).unwrap();
        assert!(!table.contains(secret) && !json.contains(secret));
    }
    assert!(
        table.contains("ci") && table.contains(id) && table.contains("laptop"),
        "{table}"
    );

    // Its name is its own for as long as it is valid.
    let again = ["keys", "create", "--name", "ci", "--role", "viewer"];
    let again = [&again[..], &database].concat();
    let (code, out, err) = run(directory, &again).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(id) && err.contains("revoke it"), "{err}");

    let revoked = keys(directory, database, &["revoke", id]).await;
    assert!(revoked.contains(id), "{revoked}");
    let shown = one(directory, database, &made["id"]).await;
    assert_eq!(shown["state"], "revoked");
    assert_eq!(keys(directory, database, &["revoke", id]).await, revoked);
    create(directory, database, "ci", &["--role", "viewer"]).await;

    let brief = create(
        directory,
        database,
        "brief",
        &["--role", "viewer", "--expires", "1ms"],
    )
    .await;
    eventually(PATIENCE, || async {
        let key = one(directory, database, &brief["id"]).await;
        if key["state"] == "expired" {
            Ok(())
        } else {
            Err(key)
        }
    })
    .await;

    let unknown = "key_01hzy3w5rge2x9jqmt6a8v4bkn";
    let unknown = ["keys", "revoke", unknown, "--database-url", url];
    let (code, _, err) = run(directory, &unknown).await;
    assert_eq!(code, 1);
    assert!(err.contains("there is no key key_01hzy3"), "{err}");
}

#[tokio::test]
async fn a_key_is_shown_once_and_revoked_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.db");
    life_of_keys(&format!("sqlite://{}", file.display())).await;
}

#[tokio::test]
async fn a_key_is_shown_once_and_revoked_on_postgresql() {
    let database = TestDatabase::create().await;
    life_of_keys(&database.url).await;
}

#[tokio::test]
async fn keys_of_a_running_dev_are_known_to_its_runtime_until_they_are_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let dir = ["--data-dir", data.to_str().unwrap()];

    // No database of that name is made by looking for one.
    let early = [&["keys", "list"], &dir[..]].concat();
    let (code, _, err) = run(directory.path(), &early).await;
    assert_eq!(code, 1);
    assert!(err.contains("Start `millrace dev` once"), "{err}");
    assert!(!data.exists());

    let dev = Millrace::dev(&data).await;
    let made = create(directory.path(), dir, "ci", &["--role", "operator"]).await;
    let key = made["key"].as_str().unwrap();
    let asked = ResolveKeyRequest {
        key_id: made["id"].as_str().unwrap().to_owned(),
        digest: Sha256::digest(key).to_vec(),
    };
    let runtime = remote(&format!("http://{}", dev.address("runtime"))).unwrap();
    let mut runtime = AccessServiceClient::new(runtime);
    let found = runtime
        .resolve_key(asked.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(found.found);
    assert_eq!(
        (found.name.as_str(), found.role.as_str()),
        ("ci", "operator")
    );
    assert_eq!(found.expires_at, "");

    let forged = ResolveKeyRequest {
        digest: Sha256::digest(format!("{key}x")).to_vec(),
        ..asked.clone()
    };
    assert!(
        !runtime
            .resolve_key(forged)
            .await
            .unwrap()
            .into_inner()
            .found
    );
    let cut = ResolveKeyRequest {
        digest: asked.digest[..31].to_vec(),
        ..asked.clone()
    };
    let refused = runtime.resolve_key(cut).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);

    // By the key itself, as whoever finds one does.
    keys(directory.path(), dir, &["revoke", key]).await;
    assert!(!runtime.resolve_key(asked).await.unwrap().into_inner().found);
    dev.terminate().await;
    let shown = one(directory.path(), dir, &made["id"]).await;
    assert_eq!(shown["state"], "revoked", "without a server, too");
}

#[tokio::test]
async fn what_is_no_role_no_duration_and_no_name_is_refused_with_what_would_be() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (
            &["--name", "ci", "--role", "boss"][..],
            "viewer, operator, deployer, admin",
        ),
        (
            &["--name", "ci", "--role", "admin", "--expires", "soon"],
            "such as 90d, 12h",
        ),
        (
            &["--name", "ci", "--role", "admin", "--expires", "1y"],
            "such as 90d, 12h",
        ),
        (&["--name", "", "--role", "admin"], "1 to 100 characters"),
        (&["--role", "admin"], "--name"),
        (&["--name", "ci"], "--role"),
    ] {
        let arguments = [&["keys", "create"], arguments].concat();
        let (code, out, err) = run(directory.path(), &arguments).await;
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
    let (code, _, err) = run(directory.path(), &["keys", "revoke", "ci"]).await;
    assert_eq!(code, 2);
    assert!(err.contains("`ci` is not the id of a key"), "{err}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
