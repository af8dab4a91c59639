//! What a document defines under `use` for several places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Data, Place, Reader, Scope};

/// The sections of `use` whose entries are referred to by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Authentications,
    Errors,
    Retries,
    Timeouts,
}

impl Section {
    fn key(self) -> &'static str {
        match self {
            Self::Authentications => "authentications",
            Self::Errors => "errors",
            Self::Retries => "retries",
            Self::Timeouts => "timeouts",
        }
    }
}

/// The definitions. Each is read where it is referred to, since only there it
/// is known which variables it sees.
#[derive(Debug, Default)]
pub(super) struct Reuse<'d> {
    pub(super) secrets: BTreeSet<Arc<str>>,
    definitions: BTreeMap<(Section, &'d str), Definition<'d>>,
    referenced: BTreeSet<(Section, &'d str)>,
    /// Bytes of definitions that were put in place so far.
    placed: usize,
}

#[derive(Debug)]
struct Definition<'d> {
    place: Place<'d>,
    /// Bytes as JSON text.
    size: usize,
}

/// How many bytes of definitions are put in place at most: a long one that is
/// referred to thousands of times must not fill the memory.
const MAX_PLACED: usize = 8 * 1024 * 1024;

impl<'d> Reader<'d> {
    /// Takes note of everything under `use`.
    pub(super) fn collect_reuse(&mut self, place: &Place<'d>) {
        let Some(mut fields) = self.fields(place) else {
            return;
        };
        for section in [
            Section::Authentications,
            Section::Errors,
            Section::Retries,
            Section::Timeouts,
        ] {
            let Some(place) = fields.take(section.key()) else {
                continue;
            };
            let Data::Mapping(entries) = &place.node.data else {
                self.wrong_type(&place, "an object");
                continue;
            };
            for entry in entries {
                let definition = Definition {
                    place: place.child(entry),
                    size: entry.value.to_json().to_string().len(),
                };
                self.reuse
                    .definitions
                    .insert((section, &entry.key), definition);
            }
        }
        if let Some(place) = fields.take("secrets") {
            for item in self.items(&place).unwrap_or_default() {
                let Some(name) = self.text(&item) else {
                    continue;
                };
                if !self.reuse.secrets.insert(name.text.as_str().into()) {
                    let name = &name.text;
                    self.error(&item, format!("the secret `{name}` is listed already"));
                }
            }
        }
        fields.refuse(self, "functions", "write the call out where it is made");
        fields.refuse(self, "extensions", "");
        fields.refuse(self, "catalogs", "");
        fields.finish(self);
    }

    /// The definition that the text at `place` refers to.
    pub(super) fn referenced(&mut self, section: Section, place: &Place<'d>) -> Option<Place<'d>> {
        let name = &self.text(place)?.text;
        let found = self
            .reuse
            .definitions
            .get_key_value(&(section, name.as_str()));
        if let Some((key, definition)) = found {
            let (key, definition, size) = (*key, definition.place.clone(), definition.size);
            self.reuse.referenced.insert(key);
            self.reuse.placed += size;
            if self.reuse.placed > MAX_PLACED {
                self.error(
                    place,
                    "the definitions under `use` are referred to too often",
                );
                return None;
            }
            return Some(definition);
        }
        let known = self.reuse.definitions.keys();
        let known = known
            .filter(|(of, _)| *of == section)
            .map(|(_, name)| *name);
        let hint = self.suggest(name, known);
        self.error(
            place,
            format!("`use.{}` does not define `{name}`{hint}", section.key()),
        );
        None
    }

    /// Reads the definitions that nothing refers to, so that their faults
    /// show as well.
    pub(super) fn check_unreferenced(&mut self) {
        let scope = Scope::default().with(&[&"error".into(), &"item".into(), &"index".into()]);
        let unreferenced: Vec<_> = self
            .reuse
            .definitions
            .iter()
            .filter(|(key, _)| !self.reuse.referenced.contains(*key))
            .map(|((section, _), definition)| (*section, definition.place.clone()))
            .collect();
        for (section, place) in unreferenced {
            match section {
                Section::Authentications => drop(self.authentication_policy(&place, &scope)),
                Section::Errors => drop(self.error_definition(&place, &scope)),
                Section::Retries => drop(self.retry_policy(&place, &scope)),
                Section::Timeouts => drop(self.timeout_definition(&place, &scope)),
            }
        }
    }
}
