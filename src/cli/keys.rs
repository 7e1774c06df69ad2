//! `keys`: the key-encryption keys, and the data keys that they wrap. A key is printed only where the user asked
//! for it.

mod moving;
mod rotate;
mod stored;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::failure::Failure;
use crate::seal::key_file::KeyFile;

/// Makes, lists, tests and replaces the keys that everything in the database is sealed by.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a key file with one new key.
    ///
    /// The service reads it at its start from where the setting KEY_FILE says. The first key of the file
    /// wraps, all unwrap; `keys rewrap --help` says how one is replaced. Where HashiCorp Vault wraps
    /// (keys.wrapper) none is needed.
    #[command(
        visible_alias = "init",
        after_help = "Examples:
  biometric-bridge keys generate --output keys.txt
  biometric-bridge keys generate | kubectl create secret generic biometric-bridge-keys \
                            --from-file=keys.txt=/dev/stdin"
    )]
    Generate {
        /// The file to make, for its owner only; one that exists is left alone. `-`, or none, is
        /// standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Shows which key-encryption key wraps how many data keys.
    #[command(after_help = "Example:
  biometric-bridge keys list --json")]
    List(stored::Arguments),
    /// Wraps all data keys by the key that wraps, while the service runs.
    ///
    /// To replace a key-encryption key without a pause: put the line of a new one below the first and
    /// start all instances anew, one after the other, so that all can unwrap with it; put it first and
    /// do so again; then rewrap. The old line stays for as long as there are backups of the database
    /// from before. Nothing that data keys seal is written anew. From the key file to Vault, where
    /// that wraps (keys.wrapper), and back it goes the same way; docs/security.md has it.
    #[command(after_help = "Example:
  KEY_FILE=keys.txt biometric-bridge keys rewrap && biometric-bridge keys test")]
    Rewrap(stored::Arguments),
    /// Makes next data keys for users, while the service runs.
    ///
    /// New data is sealed by them within seconds; what older keys have sealed opens as before, and is not
    /// sealed anew. A key is to be rotated before biometric_key_usage_ratio_max reaches 1, and whenever it may
    /// have become known.
    #[command(after_help = "Examples:
  biometric-bridge keys rotate u1
  biometric-bridge keys rotate --all --older-than 365d --wait 10m
  biometric-bridge keys rotate --service")]
    Rotate(rotate::Arguments),
    /// Moves the data keys to the database that KEYS_URL names; no instance may run meanwhile.
    ///
    /// Makes the table there, copies, compares, and deletes here what is found there. It can be done again when
    /// it was cut off.
    #[command(after_help = "Example:
  KEYS_URL=postgresql://bridge_keys@db2/keys biometric-bridge keys move")]
    Move(moving::Arguments),
    /// Whether the cipher works here and every data key unwraps.
    ///
    /// Changes nothing but the log of accesses, and prints neither keys nor health data.
    #[command(after_help = "Example:
  KEY_FILE=keys.txt POSTGRES_URL=postgresql://bridge@db/bridge biometric-bridge keys test")]
    Test(stored::Arguments),
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Generate { output } => generate(output),
        Command::List(arguments) => stored::list(&arguments),
        Command::Rewrap(arguments) => stored::rewrap(&arguments),
        Command::Rotate(arguments) => rotate::run(&arguments),
        Command::Move(arguments) => moving::run(&arguments),
        Command::Test(arguments) => stored::test(&arguments),
    }
}

fn generate(output: Option<PathBuf>) -> Result<(), Failure> {
    let keys = KeyFile::generate()?;
    match output.filter(|path| path != Path::new("-")) {
        None => io::stdout().write_all(keys.to_text().as_bytes())?,
        Some(path) => {
            create(&path, keys.to_text().as_bytes())?;
            advise(&path, keys.active_name(), &mut io::stdout().lock())?;
        }
    }
    Ok(())
}

/// Makes the file `path`, which must not exist.
pub(super) fn create(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failed = |source| Failure::NotCreated { path: path.to_owned(), source };
    let mut file = new_file(path).map_err(failed)?;
    // On disk before anything is sealed with what is in it.
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file would only be in the way of the next attempt; that it stays is no worse.
        drop(fs::remove_file(path));
        failed(error)
    })
}

/// Makes a file for its owner only, which must not exist.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // To overwrite keys is to lose what they seal.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn advise(path: &Path, name: &str, output: &mut impl Write) -> io::Result<()> {
    writeln!(
        output,
        "{path} has a new key, {name}.\n\
         Start the service with KEY_FILE={path}.\n\
         Back the file up, apart from the database and its backups: without it nothing opens again.",
        path = path.display()
    )
}
