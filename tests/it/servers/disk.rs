//! A disk of a server's own that can be full: a tmpfs, where mounting is permitted.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::scratch::Folder;

/// What fits on it while it is not full.
const SIZE: &str = "4g";

/// How often a full disk is tried: what is used may grow meanwhile.
const TRIES: usize = 50;

/// A disk.
pub(crate) struct Disk {
    folder: Folder,
}

impl Disk {
    /// Makes one; `None`, said aloud, where mounting is not permitted.
    pub(super) fn mount() -> Result<Option<Self>, String> {
        let folder = Folder::new("disk").map_err(|error| format!("no folder: {error}"))?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={SIZE},mode=755"), "tmpfs"]);
        let output = command.arg(folder.path()).output();
        if output.as_ref().is_ok_and(|output| output.status.success()) {
            return Ok(Some(Self { folder }));
        }
        let said = "mounting is not permitted here: no test fills a disk";
        writeln!(std::io::stderr(), "{said}").map_err(|error| error.to_string())?;
        Ok(None)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// From now on nothing more fits than what is there.
    pub(crate) fn fill(&self) {
        for _ in 0..TRIES {
            let mut command = Command::new("df");
            let output = command.args(["--output=used", "-B1"]).arg(self.path()).output();
            let output = output.expect("df runs");
            let text = String::from_utf8_lossy(&output.stdout);
            let used = text.lines().last().unwrap_or_default().trim();
            if self.resize(used) {
                return;
            }
        }
        panic!("the disk cannot be filled");
    }

    /// There is room again.
    pub(crate) fn free(&self) {
        assert!(self.resize(SIZE), "the disk can be made larger");
    }

    fn resize(&self, size: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,size={size}")]).arg(self.path());
        command.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is still mounted then, whoever clears up unmounts.
        Command::new("umount").arg(self.path()).output().ok();
    }
}
