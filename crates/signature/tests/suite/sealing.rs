//! Secrets at rest.

use millrace_signature::{OpenError, SealingKey, SealingKeys, Secret};

use crate::harness::each_bit;

const CONTEXT: &str = "trg_01jd0000000000000000000000";

fn keys() -> SealingKeys {
    SealingKeys::new(SealingKey::generate().unwrap(), None)
}

#[test]
fn a_sealed_secret_opens_in_its_context_only() {
    let keys = keys();
    for plain in [&b""[..], b"whsec_x", "gehe\u{301}im".as_bytes(), &[0; 1000]] {
        let sealed = keys.seal(plain, CONTEXT).unwrap();
        assert_eq!(keys.open(&sealed, CONTEXT).unwrap().as_slice(), plain);
        assert_eq!(keys.open(&sealed, "trg_other"), Err(OpenError::Refused));
        assert_eq!(keys.open(&sealed, ""), Err(OpenError::Refused));
    }
}

#[test]
fn the_same_secret_is_never_sealed_to_the_same_text() {
    let keys = keys();
    let sealed = keys.seal(b"secret", CONTEXT).unwrap();
    assert_ne!(sealed, keys.seal(b"secret", CONTEXT).unwrap());
    assert!(sealed.starts_with("mrs1."), "{sealed}");
    assert!(
        sealed
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    );
}

#[test]
fn every_changed_bit_of_a_sealed_text_is_refused() {
    let keys = keys();
    let sealed = keys.seal(b"secret", CONTEXT).unwrap();
    each_bit(sealed.as_bytes(), |bytes, what| {
        if let Ok(text) = String::from_utf8(bytes) {
            assert!(keys.open(&text, CONTEXT).is_err(), "{what}");
        }
    });
    for end in 0..sealed.len() {
        assert!(keys.open(&sealed[..end], CONTEXT).is_err());
    }
    assert!(keys.open(&format!("{sealed}A"), CONTEXT).is_err());
}

#[test]
fn an_old_key_opens_but_no_longer_seals() {
    let old = SealingKey::generate().unwrap();
    let new = SealingKey::generate().unwrap();
    let before = SealingKeys::new(old.clone(), None);
    let during = SealingKeys::new(new.clone(), Some(old.clone()));
    let after = SealingKeys::new(new, None);
    let sealed = before.seal(b"secret", CONTEXT).unwrap();
    assert!(before.is_current(&sealed) && !during.is_current(&sealed));
    let plain = during.open(&sealed, CONTEXT).unwrap();
    let again = during.seal(&plain, CONTEXT).unwrap();
    assert!(during.is_current(&again));
    assert_eq!(after.open(&again, CONTEXT).unwrap().as_slice(), b"secret");
    assert_eq!(
        after.open(&sealed, CONTEXT),
        Err(OpenError::UnknownKey(old.id().to_owned()))
    );
}

#[test]
fn a_key_survives_its_text_and_is_not_printed() {
    let key = SealingKey::generate().unwrap();
    let text = key.to_base64();
    let read = SealingKey::from_base64(&format!(" {}\n", *text)).unwrap();
    assert_eq!(read.id(), key.id());
    let sealed = SealingKeys::new(key.clone(), None)
        .seal(b"s", CONTEXT)
        .unwrap();
    let opened = SealingKeys::new(read, None).open(&sealed, CONTEXT).unwrap();
    assert_eq!(opened.as_slice(), b"s");
    let shown = format!("{key:?} {:?}", SealingKeys::new(key.clone(), None));
    assert!(!shown.contains(text.trim_end_matches('=')), "{shown}");
}

#[test]
fn a_text_that_is_no_key_is_refused() {
    let zeros = "A".repeat(43);
    for text in ["", "secret", "c2hvcnQ=", zeros.as_str(), &"Aa0_".repeat(20)] {
        let why = SealingKey::from_base64(text).unwrap_err();
        assert!(why.to_string().contains("openssl rand -base64 32"));
    }
}

/// Computed apart from this crate, in Python with its `cryptography` package,
/// so that the format cannot drift and leave stored secrets unreadable.
#[test]
fn a_text_sealed_elsewhere_in_the_same_format_opens() {
    let key = SealingKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    assert_eq!(key.id(), "a320444748605e25");
    let keys = SealingKeys::new(key, None);
    let sealed = "mrs1.a320444748605e25.\
                  QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXnU0iA_CBWUXql_Xb27wR_bL_26Fh\
                  IDH1Dkjzo8Fpuw6cdMz-PLgnlNjK";
    let plain = keys.open(sealed, CONTEXT).unwrap();
    assert_eq!(plain.as_slice(), b"It's a Secret to Everybody");
}

fn secrets(texts: &[&str]) -> Vec<Secret> {
    texts.iter().copied().map(Secret::new).collect()
}

#[test]
fn the_secrets_of_a_trigger_come_back_in_their_order() {
    let keys = keys();
    for texts in [&[][..], &["a"], &["new", "old"], &["\u{e4}", "b"]] {
        let sealed = keys.seal_secrets(&secrets(texts), CONTEXT).unwrap();
        let opened = keys.open_secrets(&sealed.text, CONTEXT).unwrap();
        assert_eq!(opened, secrets(texts));
        assert!(keys.open_secrets(&sealed.text, "other").is_err());
    }
    let other = keys.seal(b"\0\0\0\x09abc", CONTEXT).unwrap();
    assert_eq!(keys.open_secrets(&other, CONTEXT), Err(OpenError::Format));
}

#[test]
fn a_fingerprint_tells_equal_secrets_under_one_key_and_nothing_else() {
    let (keys, others) = (keys(), keys());
    let of = |keys: &SealingKeys, texts: &[&str], context: &str| {
        let sealed = keys.seal_secrets(&secrets(texts), context).unwrap();
        sealed.fingerprint
    };
    let first = of(&keys, &["ab", "c"], CONTEXT);
    assert_eq!(first.len(), 64);
    assert_eq!(first, of(&keys, &["ab", "c"], CONTEXT));
    assert_ne!(first, of(&keys, &["a", "bc"], CONTEXT));
    assert_ne!(first, of(&keys, &["c", "ab"], CONTEXT));
    assert_ne!(first, of(&keys, &["ab", "c"], "other"));
    assert_ne!(first, of(&others, &["ab", "c"], CONTEXT));
}
