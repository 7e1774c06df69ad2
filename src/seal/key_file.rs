//! The file with the key-encryption keys: read, checked and made. What stands in it never appears in an
//! error, not even where it is wrong.
//!
//! One key a line, `kek-<id> <32 bytes in base64>`; empty lines and lines that begin with `#` are
//! comments. The first key wraps new data keys; all unwrap. So a key is replaced by one whose line
//! stood below it first, until every instance knew it, and taken away once nothing is wrapped by it any more.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret as _, SecretBox};
use zeroize::Zeroizing;

use super::{NoRandomness, fill_random};

/// Bytes of a key file, at most: room for hundreds of keys.
const FILE_BYTES_MAX: usize = 1 << 16;

const KEY_BYTES: usize = 32;

/// Characters of 32 bytes in base64, padded.
const KEY_CHARACTERS: usize = KEY_BYTES.div_ceil(3) * 4;

/// Characters of an id, at most: fewer than a key has, so that a key is never taken for a name.
const ID_CHARACTERS_MAX: usize = 32;

const HEADING: &str = "\
# Key-encryption keys of the Biometric Bridge, one a line. The first wraps new data keys, all unwrap.
# Back this file up, apart from the database: with both, all can be read; without it, nothing ever again.
";

/// The key-encryption keys, at least one.
pub struct KeyFile {
    active: KeyEncryptionKey,
    others: Vec<KeyEncryptionKey>,
}

/// A key that wraps data keys.
pub(super) struct KeyEncryptionKey {
    name: String,
    bytes: SecretBox<[u8; KEY_BYTES]>,
}

/// Why there are no key-encryption keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file is not there.
    #[error(
        "there is no key file {path}; for a new installation make one with `biometric-bridge keys \
         generate --output {path}`, for an existing one bring its file back from the backup",
        path = .0.display()
    )]
    Missing(PathBuf),
    /// The file is there and cannot be read.
    #[error("cannot read the key file {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is far too long.
    #[error("{} is no key file: it is longer than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLong(PathBuf),
    /// The file is not text.
    #[error("{} is no key file: it is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// The file has comments at most.
    #[error(
        "the key file {} has no key; make one with `biometric-bridge keys generate`",
        .0.display()
    )]
    NoKey(PathBuf),
    /// A line is wrong.
    #[error("{}, line {line}: {fault}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
}

/// What is wrong with a line of a key file. Quotes no more than a name that is valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// It is not two words.
    #[error("wanted are a name and a key, such as `kek-2025 <32 bytes in base64>`")]
    NotNameAndKey,
    /// The first word is no name.
    #[error(
        "the name is `kek-` followed by 1 to {ID_CHARACTERS_MAX} letters, digits, `.`, `_` or `-`"
    )]
    Name,
    /// The key is not base64.
    #[error("the key `{0}` is not base64; `openssl rand -base64 32` gives what is wanted")]
    NotBase64(String),
    /// The key is too short or too long.
    #[error("the key `{0}` does not have 32 bytes; `openssl rand -base64 32` gives what is wanted")]
    Length(String),
    /// The key is nothing but zeros: a placeholder.
    #[error("the key `{0}` is all zeros, a placeholder; `openssl rand -base64 32` gives a key")]
    Zeros(String),
    /// Another line has this name.
    #[error("the name `{0}` is taken by a line above; keys of one name cannot be told apart")]
    Repeated(String),
}

impl KeyFile {
    /// A new key, of no file yet.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut id = [0; 4];
        fill_random(&mut id)?;
        let name = format!("kek-{:08x}", u32::from_be_bytes(id));
        let mut filled = Ok(());
        let bytes = SecretBox::init_with_mut(|bytes: &mut [u8; _]| filled = fill_random(bytes));
        filled?;
        Ok(Self { active: KeyEncryptionKey { name, bytes }, others: Vec::new() })
    }

    /// Reads the keys in `path`. A file that others may read is warned of and not refused: Kubernetes
    /// gives the group of a pod (`fsGroup`) read permission on its secrets whatever mode is asked
    /// for, and without one mounts them 0644 unless told otherwise; a service that then does not
    /// start protects nothing.
    ///
    /// # Errors
    ///
    /// When the file is missing, unreadable, or not what the [module](self) describes.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyFileError::Missing(path.to_owned()),
            _ => KeyFileError::Unreadable { path: path.to_owned(), source },
        };
        let file = File::open(path).map_err(unreadable)?;
        if let Some(mode) = file.metadata().ok().as_ref().and_then(mode_open_to_others) {
            tracing::warn!(
                "others than its owner may use the key file {} (mode {mode:04o}); if you can, \
                 `chmod 0400` it",
                path.display()
            );
        }
        // Room for all of it, for growing would leave keys behind in freed memory.
        let mut content = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 64));
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut content).map_err(unreadable)?;
        if content.len() > FILE_BYTES_MAX {
            return Err(KeyFileError::TooLong(path.to_owned()));
        }
        let text =
            std::str::from_utf8(&content).map_err(|_| KeyFileError::NotText(path.to_owned()))?;
        Self::parse(text, path)
    }

    /// The permissions of a file that others than its owner may use.
    pub fn mode_open_to_others(path: &Path) -> Option<u32> {
        mode_open_to_others(&std::fs::metadata(path).ok()?)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, KeyFileError> {
        let mut keys: Vec<KeyEncryptionKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fault = match KeyEncryptionKey::parse(line) {
                Ok(key) if keys.iter().any(|above| above.name == key.name) => {
                    LineFault::Repeated(key.name)
                }
                Ok(key) => {
                    keys.push(key);
                    continue;
                }
                Err(fault) => fault,
            };
            return Err(KeyFileError::Line { path: path.to_owned(), line: index + 1, fault });
        }
        let mut keys = keys.into_iter();
        let active = keys.next().ok_or_else(|| KeyFileError::NoKey(path.to_owned()))?;
        Ok(Self { active, others: keys.collect() })
    }

    /// The content of a file that [`KeyFile::read`] reads back.
    pub fn to_text(&self) -> Zeroizing<String> {
        let lines = 1 + self.others.len();
        let line_bytes_max = "kek- \n".len() + ID_CHARACTERS_MAX + KEY_CHARACTERS;
        // Of its final length from the start, as in `read`.
        let mut text =
            Zeroizing::new(String::with_capacity(HEADING.len() + lines * line_bytes_max));
        text.push_str(HEADING);
        for key in self.keys() {
            text.push_str(&key.name);
            text.push(' ');
            BASE64_STANDARD.encode_string(key.bytes(), &mut text);
            text.push('\n');
        }
        text
    }

    /// The name of the key that wraps new data keys.
    pub fn active_name(&self) -> &str {
        &self.active.name
    }

    /// The names of all keys, the active one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys().map(|key| key.name.as_str())
    }

    pub(super) fn active(&self) -> &KeyEncryptionKey {
        &self.active
    }

    pub(super) fn find(&self, name: &str) -> Option<&KeyEncryptionKey> {
        self.keys().find(|key| key.name == name)
    }

    fn keys(&self) -> impl Iterator<Item = &KeyEncryptionKey> {
        std::iter::once(&self.active).chain(&self.others)
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl KeyEncryptionKey {
    fn parse(line: &str) -> Result<Self, LineFault> {
        let mut words = line.split_whitespace();
        let (Some(name), Some(key), None) = (words.next(), words.next(), words.next()) else {
            return Err(LineFault::NotNameAndKey);
        };
        let id = name.strip_prefix("kek-").ok_or(LineFault::Name)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if id.is_empty() || id.len() > ID_CHARACTERS_MAX || !id.bytes().all(allowed) {
            return Err(LineFault::Name);
        }
        let name = name.to_owned();
        // The longest that so many characters can stand for; more cannot be 32 bytes.
        let mut decoded = Zeroizing::new([0; KEY_CHARACTERS / 4 * 3]);
        if key.len() > KEY_CHARACTERS {
            return Err(LineFault::Length(name));
        }
        let Ok(length) = BASE64_STANDARD.decode_slice(key, decoded.as_mut()) else {
            return Err(LineFault::NotBase64(name));
        };
        let (true, Some((key, _))) = (length == KEY_BYTES, decoded.split_first_chunk()) else {
            return Err(LineFault::Length(name));
        };
        if *key == [0; KEY_BYTES] {
            return Err(LineFault::Zeros(name));
        }
        Ok(Self { name, bytes: SecretBox::init_with_mut(|bytes: &mut [u8; _]| *bytes = *key) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        self.bytes.expose_secret()
    }
}

/// The permissions of a file that group or others may use.
#[cfg(unix)]
fn mode_open_to_others(file: &Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    // Neither a pipe nor a device is protected by its mode.
    file.is_file().then(|| file.permissions().mode() & 0o777).filter(|mode| mode & 0o077 != 0)
}

#[cfg(not(unix))]
fn mode_open_to_others(_: &Metadata) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 bytes, none of them zero.
    const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    fn read(content: &[u8]) -> Result<KeyFile, KeyFileError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        std::fs::write(&path, content).expect("a file");
        KeyFile::read(&path)
    }

    #[test]
    fn the_first_key_is_active_and_every_key_is_found_by_its_name() {
        let text = format!("# new\r\n\r\n  kek-2026.b\t{TWO}  \r\n# old\nkek-2025_a {ONE}");
        let file = read(text.as_bytes()).expect("a key file");
        assert_eq!(file.names().collect::<Vec<_>>(), ["kek-2026.b", "kek-2025_a"]);
        assert_eq!(file.active_name(), "kek-2026.b");
        assert_eq!(file.active().bytes(), &[2; 32]);
        assert_eq!(file.find("kek-2025_a").map(KeyEncryptionKey::bytes), Some(&[1; 32]));
        assert!(file.find("kek-2024").is_none());
    }

    #[test]
    fn a_generated_key_is_read_back_from_its_text() {
        let made = KeyFile::generate().expect("a key");
        let read = read(made.to_text().as_bytes()).expect("a key file");
        assert_eq!(read.active_name(), made.active_name());
        assert_eq!(read.active().bytes(), made.active().bytes());
        let other = KeyFile::generate().expect("a key");
        assert_ne!(other.active().bytes(), made.active().bytes());
        assert_ne!(other.active_name(), made.active_name());
    }

    #[test]
    fn the_text_of_many_keys_is_never_moved_in_memory() {
        let id = "i".repeat(ID_CHARACTERS_MAX - 1);
        let lines: String = (1..=9).map(|i| format!("kek-{id}{i} {ONE}\n")).collect();
        let text = read(lines.as_bytes()).expect("a key file").to_text();
        assert_eq!(text.len(), text.capacity());
    }

    #[test]
    fn each_fault_of_a_line_is_told_with_its_number_and_without_its_key() {
        use LineFault::*;
        let name = || "kek-a".to_owned();
        let long = format!("{}{ONE}", &ONE[..40]);
        let fault_of = [
            (format!("kek-a {ONE} {TWO}"), NotNameAndKey),
            ("kek-a".to_owned(), NotNameAndKey),
            (ONE.to_owned(), NotNameAndKey),
            (format!("a {ONE}"), Name),
            (format!("kek- {ONE}"), Name),
            (format!("kek-ä {ONE}"), Name),
            (format!("{ONE} kek-a"), Name),
            (format!("kek-{} {ONE}", &ONE[..43]), Name),
            (format!("kek-a {}!", &ONE[..43]), NotBase64(name())),
            (format!("kek-a {}", &ONE[..43]), NotBase64(name())),
            (format!("kek-a {}", &ONE[..40]), Length(name())),
            ("kek-a AQ==".to_owned(), Length(name())),
            (format!("kek-a {long}"), Length(name())),
            (format!("kek-a {}A", &ONE[..43]), Length(name())),
            (format!("kek-a {}=", "A".repeat(43)), Zeros(name())),
            (format!("kek-b {TWO}\nkek-a {ONE}\nkek-a {TWO}"), Repeated(name())),
        ];
        for (lines, expected) in fault_of {
            let number = 1 + lines.lines().count();
            let error = read(format!("# keys\n{lines}\n").as_bytes()).expect_err(&lines);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(&ONE[..8]) && !shown.contains(&TWO[..8]), "{shown}");
            let KeyFileError::Line { line, fault, .. } = error else { panic!("{shown}") };
            assert_eq!((line, fault), (number, expected), "{lines}");
        }
    }

    #[test]
    fn a_missing_file_tells_how_to_make_one() {
        let error = KeyFile::read(Path::new("/nowhere/keys")).expect_err("no file");
        assert!(matches!(error, KeyFileError::Missing(_)));
        let shown = error.to_string();
        assert!(shown.contains("biometric-bridge keys generate --output /nowhere/keys"), "{shown}");
    }

    #[test]
    fn what_is_no_key_file_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(KeyFile::read(folder.path()), Err(KeyFileError::Unreadable { .. })));
        assert!(matches!(read(&[0xff]), Err(KeyFileError::NotText(_))));
        assert!(matches!(read(b""), Err(KeyFileError::NoKey(_))));
        assert!(matches!(read(b"# nothing here\n\n"), Err(KeyFileError::NoKey(_))));
        let long = vec![b'#'; FILE_BYTES_MAX + 1];
        assert!(matches!(read(&long), Err(KeyFileError::TooLong(_))));
        assert!(matches!(read(&long[1..]), Err(KeyFileError::NoKey(_))));
    }

    #[test]
    fn nothing_of_a_key_is_in_debug() {
        let file = read(format!("kek-a {ONE}\nkek-b {TWO}").as_bytes()).expect("a key file");
        assert_eq!(format!("{file:?}"), r#"["kek-a", "kek-b"]"#);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_open_to_others_is_noticed_and_read_nevertheless() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        std::fs::write(&path, format!("kek-a {ONE}")).expect("a file");
        for (mode, noticed) in
            [(0o400, false), (0o600, false), (0o440, true), (0o644, true), (0o402, true)]
        {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("a mode");
            let metadata = std::fs::metadata(&path).expect("the file is there");
            assert_eq!(mode_open_to_others(&metadata), noticed.then_some(mode), "{mode:o}");
            assert!(KeyFile::read(&path).is_ok());
        }
    }
}
