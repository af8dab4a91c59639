//! Keys of the API: valid until they expire or are revoked.

use std::time::Duration;

use millrace_types::{ApiKeyId, Role};

use super::Fixture;
use super::support::{HOUR, Shared};
use crate::{ApiKeyRecord, ApiKeyState, CreateApiKeyRefused, NewApiKey, PageRequest};

fn new(name: &str, role: Role, expires_in: Option<Duration>) -> NewApiKey {
    let id = ApiKeyId::new();
    let mut digest = [7; 32];
    digest[..16].copy_from_slice(&id.as_u128().to_be_bytes());
    NewApiKey {
        id,
        name: name.into(),
        role,
        digest,
        expires_in,
    }
}

async fn create(store: &Shared, key: &NewApiKey) -> ApiKeyRecord {
    store.create_api_key(key).await.unwrap()
}

fn page(limit: u32, cursor: Option<String>) -> PageRequest {
    PageRequest { cursor, limit }
}

pub async fn key_is_found_with_its_digest_and_validity(store: Shared, _: &dyn Fixture) {
    for role in Role::ALL {
        let key = new(role.as_str(), role, Some(HOUR));
        let made = create(&store, &key).await;
        assert_eq!((made.id, &made.name, made.role), (key.id, &key.name, role));
        assert_eq!(made.expires_at, Some(made.created_at.saturating_add(HOUR)));
        assert_eq!((made.revoked_at, made.state), (None, ApiKeyState::Valid));
        let stored = store.stored_api_key(key.id).await.unwrap().unwrap();
        assert_eq!(stored.digest, key.digest);
        assert_eq!(stored.record, made);
        let valid = stored.record.valid().unwrap();
        assert_eq!((valid.id, valid.role), (key.id, role));
    }
    let unknown = store.stored_api_key(ApiKeyId::new()).await.unwrap();
    assert_eq!(unknown, None);
}

pub async fn key_without_a_term_never_expires(store: Shared, _: &dyn Fixture) {
    for (name, term, expires) in [
        ("ever", None, false),
        // Beyond any calendar: for as long as there can be.
        ("longest", Some(Duration::MAX), true),
    ] {
        let made = create(&store, &new(name, Role::Viewer, term)).await;
        assert_eq!(made.expires_at.is_some(), expires);
        assert_eq!(made.state, ApiKeyState::Valid);
    }
}

pub async fn expired_key_is_not_valid(store: Shared, _: &dyn Fixture) {
    let key = new("short", Role::Admin, Some(Duration::ZERO));
    create(&store, &key).await;
    let stored = store.stored_api_key(key.id).await.unwrap().unwrap();
    assert_eq!(stored.record.state, ApiKeyState::Expired);
    assert_eq!(stored.record.valid(), None);
}

pub async fn revoked_key_stays_revoked_since_then(store: Shared, _: &dyn Fixture) {
    let key = new("ci", Role::Deployer, None);
    create(&store, &key).await;
    let kept = new("other", Role::Deployer, None);
    create(&store, &kept).await;
    let revoked = store.revoke_api_key(key.id).await.unwrap().unwrap();
    assert_eq!(revoked.state, ApiKeyState::Revoked);
    assert!(revoked.revoked_at.unwrap() >= revoked.created_at);
    let again = store.revoke_api_key(key.id).await.unwrap();
    assert_eq!(again.as_ref(), Some(&revoked));
    let stored = store.stored_api_key(key.id).await.unwrap().unwrap();
    assert_eq!(stored.record, revoked);
    assert_eq!(stored.record.valid(), None);
    let other = store.stored_api_key(kept.id).await.unwrap().unwrap();
    assert_eq!(other.record.state, ApiKeyState::Valid);
    assert_eq!(store.revoke_api_key(ApiKeyId::new()).await.unwrap(), None);
}

pub async fn keys_are_listed_newest_first_in_pages(store: Shared, _: &dyn Fixture) {
    let mut made = Vec::new();
    for name in ["a", "b", "c"] {
        made.push(create(&store, &new(name, Role::Viewer, None)).await);
    }
    made[1] = store.revoke_api_key(made[1].id).await.unwrap().unwrap();
    made.reverse();
    let first = store.api_keys(&page(2, None)).await.unwrap();
    assert_eq!(first.items, made[..2]);
    let second = store.api_keys(&page(2, first.next)).await.unwrap();
    assert_eq!(second.items, made[2..]);
    assert_eq!(second.next, None);
}

pub async fn name_belongs_to_one_valid_key(store: Shared, _: &dyn Fixture) {
    let first = new("ci", Role::Viewer, None);
    let made = create(&store, &first).await;
    assert_eq!(create(&store, &first).await, made, "the same again");
    let other = new("ci", Role::Viewer, None);
    match store.create_api_key(&other).await {
        Err(CreateApiKeyRefused::NameTaken { name, holder }) => {
            assert_eq!((name.as_str(), holder), ("ci", first.id));
        }
        answer => panic!("{answer:?}"),
    }
    assert_eq!(store.stored_api_key(other.id).await.unwrap(), None);
    store.revoke_api_key(first.id).await.unwrap();
    create(&store, &other).await;
    // One that has expired lets go of its name as well.
    create(&store, &new("brief", Role::Viewer, Some(Duration::ZERO))).await;
    create(&store, &new("brief", Role::Viewer, None)).await;
}

pub async fn concurrent_keys_of_one_name_leave_one(store: Shared, _: &dyn Fixture) {
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        tries.spawn(async move {
            let key = new("ci", Role::Viewer, None);
            loop {
                match store.create_api_key(&key).await {
                    Ok(_) => return true,
                    Err(CreateApiKeyRefused::NameTaken { .. }) => return false,
                    Err(CreateApiKeyRefused::Store(error)) if error.is_transient() => {}
                    Err(CreateApiKeyRefused::Store(error)) => panic!("{error}"),
                }
            }
        });
    }
    let made = tries.join_all().await;
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    let listed = store.api_keys(&page(10, None)).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}
