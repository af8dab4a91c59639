//! The file that says how an instance ended, for whoever comes later.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::wire::{State, parse_state};

const NAME: &str = "exit";

/// Writes the final state so that it is there as a whole or not at all. It
/// survives this process at once; `sync` makes it survive the machine.
pub fn write(directory: &Path, state: &State) -> io::Result<File> {
    let temporary = directory.join("exit.new");
    let mut file = File::create(&temporary)?;
    file.write_all(format!("{state}\n").as_bytes())?;
    fs::rename(&temporary, directory.join(NAME))?;
    Ok(file)
}

/// Brings file and folder to the disk, unless they are gone by now: whoever
/// has stored what was in it removes them.
pub fn sync(directory: &Path, file: &File) -> io::Result<()> {
    match File::open(directory) {
        Ok(folder) => {
            file.sync_all()?;
            folder.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The final state, if there is one.
pub fn read(directory: &Path) -> Option<State> {
    let text = fs::read_to_string(directory.join(NAME)).ok()?;
    parse_state(text.strip_suffix('\n')?).filter(State::is_final)
}
