//! Reading an object key by key, with nothing left over.

use super::{Data, Entry, Place, Reader};

/// An object of the language. Each key is taken at most once; a key that
/// nobody asks for is a fault.
#[derive(Debug)]
pub(super) struct Fields<'d> {
    place: Place<'d>,
    entries: &'d [Entry],
    asked: Vec<&'static str>,
}

impl<'d> Reader<'d> {
    /// The object at `place`, key by key.
    pub(super) fn fields(&mut self, place: &Place<'d>) -> Option<Fields<'d>> {
        if let Data::Mapping(entries) = &place.node.data {
            return Some(Fields {
                place: place.clone(),
                entries,
                asked: Vec::new(),
            });
        }
        self.wrong_type(place, "an object");
        None
    }
}

impl<'d> Fields<'d> {
    pub(super) fn place(&self) -> &Place<'d> {
        &self.place
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Place<'d>> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.place.child(entry))
    }

    /// Takes a key that must be there.
    pub(super) fn require(
        &mut self,
        reader: &mut Reader<'d>,
        key: &'static str,
    ) -> Option<Place<'d>> {
        let taken = self.take(key);
        if taken.is_none() {
            reader.error_at_key(&self.place, format!("`{key}` is missing here"));
        }
        taken
    }

    /// Takes a key of the language that this version does not run.
    pub(super) fn refuse(
        &mut self,
        reader: &mut Reader<'d>,
        key: &'static str,
        instead: &str,
    ) -> bool {
        let Some(place) = self.take(key) else {
            return false;
        };
        let mut message = format!("`{key}` is not supported yet");
        if !instead.is_empty() {
            message.push_str("; ");
            message.push_str(instead);
        }
        reader.error_at_key(&place, message);
        true
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(self, reader: &mut Reader<'d>) {
        for entry in self.entries {
            if self.asked.iter().any(|asked| *asked == entry.key) {
                continue;
            }
            let missing = self.asked.iter().copied().filter(|asked| !self.has(asked));
            let hint = reader.suggest(&entry.key, missing);
            let place = self.place.child(entry);
            reader.error_at_key(&place, format!("unknown key `{}`{hint}", entry.key));
        }
    }
}
