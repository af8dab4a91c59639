//! The folders of workloads, and who may use them: this process, and of its
//! own data and temporary files the user that a workload runs as.
//!
//! ```text
//!  data directory   0711 once a workload has a user; what else is in it 0700
//!  ├ workloads      0711
//!  │ └ {id}         0711, or 0700 without a user
//!  │   ├ log        0700
//!  │   └ data, tmp  0700, its user's
//!  ├ cache          0711
//!  └ projects       0711
//!    └ {id}         0711, or 0700 while no service in it has a user
//! ```
//! Who may pass through a folder and not list it finds only what it was told
//! the name of.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chownat, fstat, openat};
use rustix::process::{Gid, Uid, getegid, geteuid};

use crate::user::User;

/// What users of workloads have a way through.
const PASSED: [&str; 3] = ["workloads", "cache", "projects"];
/// Folders within folders, when all of them get another owner.
const DEPTH: u32 = 128;

const OTHERS: u32 = 0o077;
const OTHERS_READ: u32 = 0o044;
const OTHERS_PASS: u32 = 0o011;

/// Makes the folder if it is not there. Nobody else can list it; who could
/// pass through still can, where nobody could list it before.
pub(crate) fn close(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let metadata = fs::metadata(folder)?;
    if metadata.mode() & OTHERS_READ == 0 {
        return Ok(());
    }
    set_mode(folder, &metadata, |mode| mode & !OTHERS)
}

/// What was made in a data directory before it had this order, or by others.
pub(crate) fn tidy(root: &Path) -> io::Result<()> {
    for name in ["workloads", "projects"] {
        for entry in fs::read_dir(root.join(name))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                close(&entry.path())?;
            }
        }
    }
    let mode = fs::metadata(root)?.mode();
    // It was opened for a user; what has come since is not for them.
    if mode & OTHERS_PASS != 0 && mode & OTHERS_READ == 0 {
        close_what_is_beside(root)?;
    }
    Ok(())
}

/// Makes the folders of a workload that runs as `user` (as this process,
/// without one): `own` belong to that, with all that is in them, and there is
/// a way to them, and to `also` where that lies in the data directory `root`.
pub(crate) fn prepare(
    root: &Path,
    workload: &Path,
    user: Option<&User>,
    own: &[&Path],
    also: &[&Path],
) -> io::Result<()> {
    close(workload)?;
    close(&workload.join("log"))?;
    let owner = match user {
        Some(user) => Some((Uid::from_raw(user.uid), Gid::from_raw(user.gid))),
        // Who is not root had no users to take anything back from.
        None => geteuid().is_root().then(|| (geteuid(), getegid())),
    };
    for folder in own {
        close(folder)?;
        if let Some(owner) = owner {
            give(folder, owner)?;
        }
    }
    if user.is_none() {
        return Ok(());
    }
    let root = fs::canonicalize(root)?;
    let metadata = fs::metadata(&root)?;
    if metadata.mode() & (OTHERS_PASS | OTHERS_READ) != OTHERS_PASS {
        close_what_is_beside(&root)?;
        set_mode(&root, &metadata, |mode| mode & !OTHERS | OTHERS_PASS)?;
    }
    for path in also.iter().copied().chain([workload]) {
        let path = fs::canonicalize(path)?;
        let within = path.ancestors().take_while(|path| path.starts_with(&root));
        for folder in within {
            let metadata = fs::metadata(folder)?;
            set_mode(folder, &metadata, |mode| mode | OTHERS_PASS)?;
        }
    }
    Ok(())
}

/// The first folder on the way to `path`, or that itself, which its mode keeps
/// the user out of; access lists may say otherwise.
pub(crate) fn bar<'a>(path: &'a Path, user: &User) -> Option<&'a Path> {
    let mut way: Vec<&Path> = path.ancestors().collect();
    way.reverse();
    way.into_iter().find(|folder| {
        fs::metadata(folder).is_ok_and(|metadata| {
            let may = if metadata.uid() == user.uid {
                0o100
            } else if metadata.gid() == user.gid {
                0o010
            } else {
                0o001
            };
            metadata.mode() & may == 0
        })
    })
}

fn close_what_is_beside(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let is_passed = PASSED.iter().any(|name| entry.file_name() == *name);
        let taken = if is_passed { OTHERS_READ } else { OTHERS };
        let closed = entry.metadata().and_then(|metadata| {
            if metadata.is_symlink() {
                return Ok(());
            }
            set_mode(&entry.path(), &metadata, |mode| mode & !taken)
        });
        match closed {
            // It is gone again, as files of a database may be.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            closed => closed?,
        }
    }
    Ok(())
}

fn set_mode(path: &Path, now: &Metadata, change: impl Fn(u32) -> u32) -> io::Result<()> {
    let mode = now.mode() & 0o7777;
    let wanted = change(mode);
    if wanted == mode {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(wanted)) {
        // It belongs to somebody else, as on a volume that has had another
        // owner; only root has users to keep out.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root() => {
            Ok(())
        }
        done => done,
    }
}

/// Hands the folder on, with all that its owner has in it; nothing to do for
/// one who has it. The folder itself comes last: cut off, it is done again.
fn give(folder: &Path, to: (Uid, Gid)) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, folder, flags, Mode::empty())?;
    let had = fstat(&top)?.st_uid;
    if had == to.0.as_raw() {
        return Ok(());
    }
    give_content(&top, had, to, DEPTH)?;
    hand_on(&top, to)
}

/// What is held cannot be exchanged for something else by whoever has written
/// it; and what is not theirs (another name of a file of somebody else's)
/// does not become the new owner's.
fn give_content(folder: &OwnedFd, had: u32, to: (Uid, Gid), depth: u32) -> io::Result<()> {
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| io::Error::other(format!("more than {DEPTH} folders within folders")))?;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = match openat(folder, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => continue,
            held => held?,
        };
        let stat = fstat(&held)?;
        if stat.st_uid != had {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let inner = openat(&held, c".", flags, Mode::empty())?;
            give_content(&inner, had, to, depth)?;
        }
        hand_on(&held, to)?;
    }
    Ok(())
}

fn hand_on(held: &OwnedFd, (user, group): (Uid, Gid)) -> io::Result<()> {
    let flags = AtFlags::EMPTY_PATH;
    Ok(chownat(held, c"", Some(user), Some(group), flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn make(root: &Path) {
        for name in [
            "workloads/a/log",
            "workloads/b/data",
            "projects/p",
            "cache",
            "bin",
        ] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("key"), "secret").unwrap();
        for name in ["workloads/a", "workloads/b", "projects/p", "key"] {
            fs::set_permissions(root.join(name), Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(root, Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn a_user_has_a_way_to_what_is_its_own_and_to_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        make(&root);
        tidy(&root).unwrap();
        let me = User {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            home: "/".into(),
        };
        let workload = root.join("workloads/a");
        let data = workload.join("data");
        prepare(
            &root,
            &workload,
            Some(&me),
            &[&data],
            &[&root.join("cache")],
        )
        .unwrap();
        for (name, wanted) in [
            ("", 0o711),
            ("workloads", 0o711),
            ("workloads/a", 0o711),
            ("workloads/a/data", 0o700),
            ("workloads/a/log", 0o700),
            ("workloads/b", 0o700),
            ("projects/p", 0o700),
            ("bin", 0o700),
            ("key", 0o700),
        ] {
            assert_eq!(mode(&root.join(name)), wanted, "{name:?}");
        }
        // What comes later is closed with the next start.
        fs::write(root.join("later"), "secret").unwrap();
        tidy(&root).unwrap();
        assert_eq!(mode(&root.join("later")) & OTHERS, 0);
        assert_eq!(mode(&workload), 0o711);
    }

    #[test]
    fn without_a_user_nothing_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        make(&root);
        let workload = root.join("workloads/a");
        prepare(&root, &workload, None, &[&workload.join("data")], &[]).unwrap();
        for name in ["", "workloads/a", "workloads/a/data", "workloads/a/log"] {
            assert_eq!(mode(&root.join(name)), 0o700, "{name:?}");
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_not_handed_on() {
        if !geteuid().is_root() {
            println!("SKIPPED: only root may change owners");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        fs::create_dir_all(own.join("a/b")).unwrap();
        for name in ["a/file", "a/b/file", "strange"] {
            fs::write(own.join(name), "").unwrap();
        }
        let outside = folder.path().join("outside");
        fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, own.join("link")).unwrap();
        std::os::unix::fs::chown(own.join("strange"), Some(1234), None).unwrap();
        let to = |id| (Uid::from_raw(id), Gid::from_raw(id));
        give(&own, to(65_534)).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        for name in ["", "a", "a/b", "a/file", "a/b/file", "link"] {
            assert_eq!(owner(&own.join(name)), 65_534, "{name:?}");
        }
        assert_eq!(owner(&own.join("strange")), 1234);
        assert_eq!(owner(&outside), 0);
    }

    #[test]
    fn a_folder_that_keeps_a_user_out_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (shut, inner) = (folder.path().join("shut"), folder.path().join("shut/inner"));
        fs::create_dir_all(&inner).unwrap();
        for path in [folder.path(), &inner] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(&shut, Permissions::from_mode(0o700)).unwrap();
        let stranger = User {
            uid: 54_321,
            gid: 54_321,
            home: "/".into(),
        };
        assert_eq!(bar(&inner, &stranger), Some(&*shut));
        fs::set_permissions(&shut, Permissions::from_mode(0o711)).unwrap();
        assert_eq!(bar(&inner, &stranger), None);
    }
}
