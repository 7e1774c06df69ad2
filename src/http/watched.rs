//! A file that may change while the service runs: certificates, keys, tokens. Knows when it is another than
//! it was, and nothing of what it is for.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

/// Bytes of such a file, at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file and what it held when somebody looked last.
pub(super) struct Watched {
    setting: &'static str,
    path: PathBuf,
    last: Mutex<Content>,
    /// Nothing has come of what was different last.
    again: AtomicBool,
}

/// What a file holds, or why that is not known.
type Content = Result<Zeroizing<Vec<u8>>, String>;

impl Watched {
    /// The file at `path`, which `setting` names.
    pub(super) fn new(setting: &'static str, path: PathBuf) -> Self {
        let last = Mutex::new(read(&path));
        Self { setting, path, last, again: AtomicBool::new(false) }
    }

    /// The setting that names it.
    pub(super) fn setting(&self) -> &'static str {
        self.setting
    }

    /// Reads it again; says whether anything is different now, or was and nothing has come of it.
    pub(super) fn look(&self) -> bool {
        let now = read(&self.path);
        let mut last = self.last();
        let differs = *last != now;
        *last = now;
        self.again.swap(false, Ordering::Relaxed) || differs
    }

    /// What is different now could not be taken: the next look says so again.
    pub(super) fn look_again(&self) {
        self.again.store(true, Ordering::Relaxed);
    }

    /// What it holds.
    ///
    /// # Errors
    ///
    /// One sentence that names the setting, the file and the cure.
    pub(super) fn content(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        self.last().clone().map_err(|problem| {
            self.told(&format!(
                "which cannot be read: {problem}; name one that the service may read"
            ))
        })
    }

    /// A sentence about the file.
    pub(super) fn told(&self, problem: &str) -> String {
        format!("`{}` names {}, {problem}", self.setting, self.path.display())
    }

    fn last(&self) -> MutexGuard<'_, Content> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Content {
    let content = || -> io::Result<Zeroizing<Vec<u8>>> {
        let mut content = Zeroizing::new(Vec::new());
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    match content() {
        Ok(content) if content.len() as u64 > FILE_BYTES_MAX => {
            Err(format!("it is longer than {FILE_BYTES_MAX} bytes"))
        }
        Ok(content) => Ok(content),
        Err(error) => Err(error.to_string()),
    }
}
