//! `audit`: the log of accesses as evidence: its key, its chains, an export, and whether it is as it was
//! written. Never changes a row of it.

mod stored;
mod verify;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::config::Layers;
use super::failure::Failure;
use super::keys::create;
use crate::settings::Settings;
use crate::signature::{PublicKey, SigningKey, SigningKeyError};

/// Shows, exports and verifies the log of accesses, and makes the key that signs its checkpoints.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a file with a new key (Ed25519) that signs checkpoints.
    ///
    /// The service reads it at its start from where `audit.signing_key_file` says. Keep the public part with
    /// those who verify, apart from the database and from this file.
    #[command(after_help = "Examples:
  biometric-bridge audit init --output audit-key.pem
  biometric-bridge audit init | kubectl create secret generic biometric-bridge-audit \\
                            --from-file=audit-key.pem=/dev/stdin")]
    Init {
        /// The file to make, for its owner only; one that exists is left alone. `-`, or none, is
        /// standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Prints the public part of the key that signs, for those who verify.
    #[command(after_help = "Examples:
  biometric-bridge audit public-key > audit-public.pem
  biometric-bridge audit public-key --key audit-key.pem")]
    PublicKey {
        /// The file with the key that signs; without it the one that `audit.signing_key_file` names.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        #[command(flatten)]
        layers: Layers,
    },
    /// Shows the chains of the log with the rows at which they end.
    #[command(after_help = "Examples:
  biometric-bridge audit list
  biometric-bridge audit list --json | jq -r 'select(.writer == \"command-line\").hash'")]
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        layers: Layers,
    },
    /// Writes the whole log as JSON Lines, for whoever verifies it elsewhere.
    ///
    /// It says who has looked at whose data, so keep it like the log itself. That it was exported is written
    /// to the log first.
    #[command(after_help = "Examples:
  biometric-bridge audit export --output audit.ndjson
  biometric-bridge audit export --output - | zstd > audit.ndjson.zst")]
    Export {
        /// The file to make, for its owner only; one that exists is left alone. `-` is standard output.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        layers: Layers,
    },
    /// Whether the log is as it was written; names the first bad row of each chain.
    ///
    /// Every row must be what its hash was made of, follow on the row before it, and be the one that
    /// checkpoints have seen. Checkpoints are those of `audit.checkpoint_file`, of the files named here, and
    /// with --topic of the topic. Without any it does not show that the end of a chain was cut off, or that a
    /// chain was made anew. With --export no database is asked, and no setting read.
    #[command(after_help = "Examples:
  biometric-bridge audit verify
  biometric-bridge audit verify --topic --public-key audit-public.pem
  biometric-bridge audit verify --export audit.ndjson --public-key audit-public.pem \\
                                --checkpoints checkpoints.ndjson

Exit code 0 when all is as it was written, 1 when it is not, 65 when the export is none.")]
    Verify(verify::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Init { output } => init(output.as_deref()),
        Command::PublicKey { key, layers } => public_key(key.as_deref(), layers),
        Command::List { json, layers } => stored::list(*json, layers),
        Command::Export { output, layers } => stored::export(output, layers),
        Command::Verify(arguments) => verify::run(arguments),
    }
}

fn init(output: Option<&Path>) -> Result<(), Failure> {
    let key = SigningKey::generate()?;
    let text = key.to_pem()?;
    let Some(path) = output.filter(|path| *path != Path::new("-")) else {
        return Ok(io::stdout().write_all(text.as_bytes())?);
    };
    create(path, text.as_bytes())?;
    let (path, id) = (path.display(), key.public().id());
    writeln!(
        io::stdout(),
        "{path} has a new key, {id}.\n\
         Start the service with audit.signing_key_file={path}.\n\
         `biometric-bridge audit public-key --key {path}` prints the public part: give it to those who verify."
    )?;
    Ok(())
}

fn public_key(key: Option<&Path>, layers: &Layers) -> Result<(), Failure> {
    let key = match key {
        Some(path) => SigningKey::read(path)?.public(),
        None => {
            let settings = layers.load_sections(&["audit"], &[])?.settings;
            key_of(&settings)?.ok_or_else(|| {
                Failure::Usage(
                    "`audit.signing_key_file` is not set; name the key's file with --key"
                        .to_owned(),
                )
            })?
        }
    };
    Ok(io::stdout().write_all(key.to_pem().as_bytes())?)
}

/// The public part of the key that signs, if one is configured.
fn key_of(settings: &Settings) -> Result<Option<PublicKey>, Failure> {
    let path = settings.audit.signing_key_file.as_deref();
    Ok(path.map(SigningKey::read).transpose()?.map(|key| key.public()))
}

impl From<SigningKeyError> for Failure {
    fn from(error: SigningKeyError) -> Self {
        match error {
            SigningKeyError::Unreadable { path, source } => Self::NoInput { path, source },
            other => Self::Broken(other.to_string()),
        }
    }
}
