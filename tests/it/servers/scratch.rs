//! Where servers keep their files and which ports they listen on, so that test processes never meet.

use std::fs::{File, Permissions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use uuid::Uuid;

use super::cache;

const PREFIX: &str = "biometric-bridge-tests-";

/// Held while the test process lives: a folder whose lock is free belongs to nobody.
const LOCK: &str = "lock";

/// Below the ports that the kernel hands to whoever asks for any: a server that starts again finds its own free.
const PORTS: std::ops::Range<u16> = 20_000..22_000;

/// The scratch folder of this test process.
struct Scratch {
    path: PathBuf,
    _lock: File,
    /// Its standard input ends with this process, and then it clears up.
    _watcher: Child,
}

static SCRATCH: LazyLock<Scratch> =
    LazyLock::new(|| Scratch::make().expect("the scratch folder can be made"));

impl Scratch {
    fn make() -> io::Result<Self> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent)?;
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent)?.keep();
        // PostgreSQL runs as another user, who has to come through.
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        let lock = File::create(path.join("locking"))?;
        lock.lock()?;
        // Named only now: another process must not find it unlocked.
        std::fs::rename(path.join("locking"), path.join(LOCK))?;
        let watcher = Command::new("sh")
            .args(["-c", include_str!("../../servers/watch.sh"), "watch"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends the test process by its group must spare the one who clears up.
            .process_group(0)
            .spawn()?;
        Ok(Self { path, _lock: lock, _watcher: watcher })
    }
}

/// The scratch folder of this test process, which is removed when it ends.
pub(crate) fn folder() -> &'static Path {
    &SCRATCH.path
}

/// Removes what test processes left behind whose watcher could not (a machine that went down).
fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            // Another process may be doing the same.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(())
}

/// A folder of one server, removed with it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = SCRATCH.path.join(format!("{name}-{number}"));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now, the watcher removes.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A port of the loopback interface that no other test gets while this lives.
pub(crate) struct Port {
    pub(crate) number: u16,
    _reserved: File,
}

impl Port {
    pub(crate) fn new() -> io::Result<Self> {
        let reservations = cache().join("ports");
        std::fs::create_dir_all(&reservations)?;
        let first =
            u16::from_be_bytes([Uuid::new_v4().as_bytes()[0], Uuid::new_v4().as_bytes()[0]]);
        for offset in 0..PORTS.end - PORTS.start {
            let number = PORTS.start + (first.wrapping_add(offset)) % (PORTS.end - PORTS.start);
            let file = File::create(reservations.join(number.to_string()))?;
            let is_ours = file.try_lock().is_ok();
            // A program that is none of ours may listen there.
            if is_ours && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _reserved: file });
            }
        }
        Err(io::Error::other("no port is free"))
    }
}
