//! Limits of instances, by what the host has: cgroup v2, v1, or resource
//! limits of single processes. Which of them it is can be seen.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_shim::sys::{LIMIT_ADDRESS_SPACE, LIMIT_OPEN_FILES};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, pidfd_open, pidfd_send_signal, setrlimit,
};

use crate::spec::Resources;

/// The length of a period in which a share of a processor is used, in µs.
const CPU_PERIOD: u64 = 100_000;

/// Looks that are taken at most while processes are killed.
const KILL_ROUNDS: u32 = 200;

/// Files that this process wants to be able to hold open: some for each
/// service. Not more, since what it starts besides services inherits it, and
/// there are programs that go through all that they might have open.
const OPEN_FILES: u64 = 65_536;

/// Lets this process open as many files as it may, within reason. Answers how
/// many it might before, which is what services are to get.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if let Some(current) = limit.current {
        let wanted = limit
            .maximum
            .map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
        if current < wanted {
            let raised = Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            };
            setrlimit(Resource::Nofile, raised)?;
        }
    }
    Ok(limit.current)
}

/// What this host has.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// A folder of ours in the v2 tree, with the controllers that it has.
    v2: Option<(PathBuf, Vec<String>)>,
    /// Folders of ours in the v1 trees of memory, pids and cpu.
    v1: Vec<(&'static str, PathBuf)>,
}

/// Where one instance has been put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Folders of its own.
    folders: Vec<PathBuf>,
    pub kill: Option<PathBuf>,
    /// For setrlimit.
    pub limits: Vec<(i32, u64)>,
    /// Says how each limit is enforced; empty without any.
    pub description: String,
    /// Limits that were asked for, and that nothing here enforces.
    pub unenforced: Vec<&'static str>,
}

impl Host {
    /// Looks, and makes folders for the node where it may.
    pub(crate) fn detect(node_id: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut host = Self::default();
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, mount, kind, options, ..] = fields[..] else {
                continue;
            };
            let folder = Path::new(mount).join(format!("millrace-{node_id}"));
            match kind {
                "cgroup2" => host.v2 = v2(Path::new(mount), &folder),
                "cgroup" => {
                    for controller in ["memory", "pids", "cpu"] {
                        if options.split(',').any(|option| option == controller)
                            && fs::create_dir_all(&folder).is_ok()
                        {
                            host.v1.push((controller, folder.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        host
    }

    /// One whose folder for cgroups is this one.
    #[cfg(test)]
    pub(crate) fn at(folder: &Path) -> Self {
        let mut host = Self::default();
        host.v2 = Some((folder.to_owned(), Vec::new()));
        host
    }

    /// Makes the cgroups of an instance. What the host cannot enforce is said
    /// in the description.
    pub(crate) fn place(&self, name: &str, wanted: &Resources) -> io::Result<Placement> {
        let mut placement = Placement::default();
        let mut said = Vec::new();
        let done = self.fill(name, wanted, &mut placement, &mut said);
        placement.description = said.join(", ");
        match done {
            Ok(()) => Ok(placement),
            Err(error) => {
                placement.remove_now();
                Err(error)
            }
        }
    }

    fn fill(
        &self,
        name: &str,
        wanted: &Resources,
        placement: &mut Placement,
        said: &mut Vec<String>,
    ) -> io::Result<()> {
        if let Some((base, _)) = &self.v2 {
            let folder = base.join(name);
            fs::create_dir(&folder).or_else(|error| match base.parent() {
                // Another orchestrator of this node has ended, and removed it.
                Some(mount) if error.kind() == io::ErrorKind::NotFound => {
                    v2(mount, base);
                    fs::create_dir(&folder)
                }
                _ => Err(error),
            })?;
            placement.kill = Some(folder.join("cgroup.kill")).filter(|kill| kill.exists());
            placement.folders.push(folder);
        }
        if let Some(bytes) = wanted.memory {
            let v2 = [
                ("memory.max", bytes.to_string()),
                ("memory.swap.max", "0".into()),
            ];
            let v1 = [("memory.limit_in_bytes", bytes.to_string())];
            said.push(match self.limit(name, "memory", &v2, &v1, placement)? {
                Some(how) => how,
                None => {
                    placement.limits.push((LIMIT_ADDRESS_SPACE, bytes));
                    "memory: rlimit, of each process".to_owned()
                }
            });
        }
        if let Some(most) = wanted.pids {
            let value = [("pids.max", most.to_string())];
            let how = self.limit(name, "pids", &value, &value, placement)?;
            said.push(how.unwrap_or_else(|| placement.unenforced("pids")));
        }
        if let Some(millis) = wanted.cpu_millis {
            let quota = u64::from(millis) * CPU_PERIOD / 1000;
            let v2 = [("cpu.max", format!("{quota} {CPU_PERIOD}"))];
            let v1 = [
                ("cpu.cfs_period_us", CPU_PERIOD.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ];
            let how = self.limit(name, "cpu", &v2, &v1, placement)?;
            said.push(how.unwrap_or_else(|| placement.unenforced("cpu")));
        }
        if let Some(most) = wanted.open_files {
            placement.limits.push((LIMIT_OPEN_FILES, most.into()));
            said.push("openFiles: rlimit, of each process".into());
        }
        Ok(())
    }

    /// Sets a limit in v2 or v1; `None` when neither has the controller.
    fn limit(
        &self,
        name: &str,
        controller: &str,
        v2: &[(&str, String)],
        v1: &[(&str, String)],
        placement: &mut Placement,
    ) -> io::Result<Option<String>> {
        if let Some((base, controllers)) = &self.v2
            && controllers.iter().any(|known| known == controller)
        {
            let folder = base.join(name);
            set(&folder, v2)?;
            return Ok(Some(format!("{controller}: cgroup v2")));
        }
        let Some((_, base)) = self.v1.iter().find(|(known, _)| *known == controller) else {
            return Ok(None);
        };
        let folder = base.join(name);
        if !placement.folders.contains(&folder) {
            fs::create_dir_all(base)?;
            fs::create_dir(&folder)?;
            placement.folders.push(folder.clone());
        }
        set(&folder, v1)?;
        Ok(Some(format!("{controller}: cgroup v1")))
    }
}

impl Drop for Host {
    /// Removes the folders of the node, unless there are instances in them.
    fn drop(&mut self) {
        let v2 = self.v2.iter().map(|(base, _)| base);
        for folder in v2.chain(self.v1.iter().map(|(_, base)| base)) {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn set(folder: &Path, values: &[(&str, String)]) -> io::Result<()> {
    for (index, (file, value)) in values.iter().enumerate() {
        let written = fs::write(folder.join(file), value);
        // Without swap accounting, the second file is not there.
        if index == 0 || !file.contains("swap") {
            written.map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
        }
    }
    Ok(())
}

fn v2(mount: &Path, folder: &Path) -> Option<(PathBuf, Vec<String>)> {
    // Only what the parent hands on can be used.
    let hand_on = |folder: &Path| {
        for controller in ["+memory", "+pids", "+cpu"] {
            let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
        }
    };
    hand_on(mount);
    fs::create_dir_all(folder).ok()?;
    hand_on(folder);
    let controllers = fs::read_to_string(folder.join("cgroup.subtree_control")).ok()?;
    let controllers = controllers.split_ascii_whitespace().map(str::to_owned);
    Some((folder.to_owned(), controllers.collect()))
}

impl Placement {
    fn unenforced(&mut self, limit: &'static str) -> String {
        self.unenforced.push(limit);
        format!("{limit}: not enforced, this host has no cgroup")
    }

    /// Of an instance that was placed before this process.
    pub(crate) fn find(host: &Host, name: &str) -> Self {
        let bases = host.v2.iter().map(|(base, _)| base);
        let bases = bases.chain(host.v1.iter().map(|(_, base)| base));
        let folders: Vec<PathBuf> = bases
            .map(|base| base.join(name))
            .filter(|folder| folder.is_dir())
            .collect();
        let kill = host
            .v2
            .as_ref()
            .map(|(base, _)| base.join(name).join("cgroup.kill"));
        Self {
            folders,
            kill: kill.filter(|kill| kill.exists()),
            ..Self::default()
        }
    }

    pub(crate) fn procs(&self) -> Vec<PathBuf> {
        let procs = |folder: &PathBuf| folder.join("cgroup.procs");
        self.folders.iter().map(procs).collect()
    }

    /// Whether the kernel has killed for want of memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.folders.iter().any(|folder| {
            ["memory.events", "memory.oom_control"].iter().any(|file| {
                let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
                text.lines()
                    .filter_map(|line| line.strip_prefix("oom_kill "))
                    .any(|count| count.trim() != "0")
            })
        })
    }

    /// Kills whatever is in it, and comes back once there is nothing.
    pub(crate) async fn kill_all(&self) {
        for _ in 0..KILL_ROUNDS {
            if let Some(kill) = &self.kill {
                // Where it does not work, the rest of this does.
                let _ = fs::write(kill, "1");
            }
            let left: usize = self.procs().iter().map(|procs| kill_in(procs)).sum();
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tracing::error!(folders = ?self.folders, "processes do not end though they were killed");
    }

    /// Once all of its processes are gone; waits a while for that.
    pub(crate) fn remove(self) {
        for _ in 0..50 {
            if self.remove_now() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        tracing::warn!(folders = ?self.folders, "cgroups of an instance that has ended are left");
    }

    fn remove_now(&self) -> bool {
        let gone = |folder: &PathBuf| match fs::remove_dir(folder) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        // Each of them, whatever becomes of the others.
        self.folders.iter().filter(|folder| !gone(folder)).count() == 0
    }
}

/// Kills what this file lists; answers how many that were.
fn kill_in(procs: &Path) -> usize {
    let listed = || fs::read_to_string(procs).unwrap_or_default();
    let mut killed = 0;
    for line in listed().lines() {
        let Some(pid) = line.parse().ok().and_then(Pid::from_raw) else {
            continue;
        };
        // Held before it is looked for again: its number cannot become
        // another process' in between.
        if let Ok(held) = pidfd_open(pid, PidfdFlags::empty())
            && listed().lines().any(|again| again == line)
            && pidfd_send_signal(&held, Signal::KILL).is_ok()
        {
            killed += 1;
        }
    }
    killed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_cannot_enforce_is_listed() {
        let wanted = Resources {
            memory: Some(1 << 30),
            cpu_millis: Some(500),
            pids: Some(10),
            open_files: Some(100),
        };
        let placement = Host::default().place("an-instance", &wanted).unwrap();
        assert_eq!(placement.unenforced, ["pids", "cpu"]);
        let limits = [(LIMIT_ADDRESS_SPACE, 1 << 30), (LIMIT_OPEN_FILES, 100)];
        assert_eq!(placement.limits, limits);
        let nothing = Host::default().place("another", &Resources::default());
        assert_eq!(nothing.unwrap(), Placement::default());
    }

    #[test]
    fn this_process_may_open_more_files_than_before() {
        let before = raise_open_files().unwrap();
        let after = getrlimit(Resource::Nofile);
        assert!(after.current.unwrap_or(u64::MAX) >= before.unwrap_or(u64::MAX));
        let most = after.maximum.unwrap_or(u64::MAX).min(OPEN_FILES);
        assert!(after.current.unwrap_or(u64::MAX) >= most);
    }
}
