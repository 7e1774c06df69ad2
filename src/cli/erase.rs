//! `erase`: a person's keys are destroyed, and with them all that is held of the person; what remains where, and
//! until when, is said in a signed receipt. The lane's owner does what is its own to do; this asks for it, sees to
//! the rest, and gives no receipt before it has looked that nothing can be read.

mod receipt;
mod remains;
mod sweep;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use actors::command::Order;
use actors::erase::{ERASED, NOBODY, NOT_ERASED, READMITTED};
use actors::home::home;
use actors::store::{Asked, Store as _, StoredUser};
use clap::{Args, Subcommand};

use super::asking::{Asking, NOTED, Patience};
use super::config::Layers;
use super::failure::Failure;
use super::keys::create;
use super::servers::{block_on, log_erasure};
use crate::settings::Settings;
use crate::signature::{PublicKey, SigningKey, SigningKeyError};

/// Erases a person, and gives a signed receipt of it.
///
/// The person's data keys are destroyed, the actor ends, the cache is cleared, and what can be deleted is. Records
/// that come later are refused: counted, and neither stored nor kept as dead letters. So are those of an id of
/// which nothing has come yet: look at the id twice. It can be done again at any time, for a further receipt or to
/// finish what was cut off. That it is done is written down first.
///
/// The receipt says what was destroyed, and what remains where and until when. It is signed by the key in
/// `audit.signing_key_file`.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  openssl genpkey -algorithm ed25519 -out signing.pem
  BRIDGE__AUDIT__SIGNING_KEY_FILE=signing.pem biometric-bridge erase u1 --receipt u1.json
  openssl pkey -in signing.pem -pubout -out signing.pub
  biometric-bridge erase verify-receipt u1.json --public-key signing.pub
  biometric-bridge erase --readmit u1"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Whom.
    #[arg(required = true, value_name = "USER")]
    user: Option<String>,
    /// Accept the person again, who was erased, as somebody new.
    #[arg(long, conflicts_with_all = ["receipt", "unsigned"])]
    readmit: bool,
    /// Write the receipt there too; a file that exists is left alone.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Give a receipt that nobody has signed.
    #[arg(long)]
    unsigned: bool,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    layers: Layers,
}

#[derive(Subcommand)]
enum Command {
    /// Whether a receipt is as it was when it was signed.
    #[command(after_help = "Example:
  biometric-bridge erase verify-receipt u1.json --public-key signing.pub")]
    VerifyReceipt {
        /// The receipt.
        receipt: PathBuf,
        /// The public half of the key that signs, which `openssl pkey -pubout` shows.
        #[arg(long, value_name = "FILE")]
        public_key: PathBuf,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(Command::VerifyReceipt { receipt, public_key }) = &arguments.command {
        return verify(receipt, public_key);
    }
    let user_id = arguments.user.as_deref().unwrap_or_default();
    let settings = arguments.layers.load()?.settings;
    match arguments.readmit {
        true => readmit(user_id, arguments, &settings),
        false => erase(user_id, arguments, &settings),
    }
}

/// One person, and whom to ask about them.
struct Erasing<'e> {
    asking: &'e Asking,
    settings: &'e Settings,
    user_id: &'e str,
}

impl Erasing<'_> {
    /// Has the home lane's owner do something; gives what came of it.
    async fn ask(&self, order: Order, patience: &Patience) -> Result<String, Failure> {
        let lane = home(self.user_id, self.asking.routing.partition_count);
        let asked = self.asking.ask(lane, order).await?;
        Ok(self.asking.outcomes(&[asked], patience).await?.join(""))
    }

    async fn stored(&self) -> Result<Option<StoredUser>, Failure> {
        let users = self.asking.store.users(Asked::Ids(&[self.user_id])).await?;
        Ok(users.into_iter().next())
    }
}

fn erase(user_id: &str, arguments: &Arguments, settings: &Settings) -> Result<(), Failure> {
    if !neuros::wire::is_user_id(user_id) {
        return Err(Failure::Usage(
            "a user id has 1 to 255 bytes and no control characters: nobody has this one"
                .to_owned(),
        ));
    }
    let key = signing_key(arguments.unsigned, settings)?;
    if let Some(path) = arguments.receipt.as_deref().filter(|path| path.exists()) {
        let source = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(Failure::NotCreated { path: path.to_owned(), source });
    }
    let signed = block_on(async {
        let asking = Asking::open(settings).await?;
        let erasing = Erasing { asking: &asking, settings, user_id };
        let signed = erasing.erase(key.as_ref(), &arguments.patience).await;
        asking.opened.close().await;
        signed
    })?;
    let text = match signed {
        Ended::Noted(noted) => {
            writeln!(io::stdout(), "{noted}; do it again for a receipt")?;
            return Ok(());
        }
        Ended::Receipt(signed) => format!("{signed:#}\n"),
    };
    if let Some(path) = &arguments.receipt {
        create(path, text.as_bytes())?;
    }
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}

/// What an erasure has come to.
enum Ended {
    /// It was asked for.
    Noted(String),
    /// It is done.
    Receipt(serde_json::Value),
}

impl Erasing<'_> {
    async fn erase(&self, key: Option<&SigningKey>, patience: &Patience) -> Result<Ended, Failure> {
        let asking = self.asking;
        log_erasure(&asking.store, "ERASE", self.user_id).await?;
        let order = Order::Erase { user_id: self.user_id.to_owned() };
        let outcome = self.ask(order, patience).await?;
        if outcome.starts_with(NOTED) {
            return Ok(Ended::Noted(outcome));
        }
        if outcome != ERASED {
            return Err(Failure::Broken(outcome));
        }
        let swept = self.sweep().await?;
        let erased_at = swept.erased_at.ok_or_else(|| {
            Failure::Broken("the user was readmitted meanwhile, and is not erased".to_owned())
        })?;
        let remains = self.remains(&swept).await?;
        let statement = self.receipt(&swept, erased_at, remains);
        Ok(Ended::Receipt(match key {
            Some(key) => key.state(receipt::KIND, statement),
            None => serde_json::json!({ "kind": receipt::KIND, "statement": statement }),
        }))
    }
}

fn readmit(user_id: &str, arguments: &Arguments, settings: &Settings) -> Result<(), Failure> {
    let outcome = block_on(async {
        let asking = Asking::open(settings).await?;
        let erasing = Erasing { asking: &asking, settings, user_id };
        let outcome = erasing.readmit(&arguments.patience).await;
        asking.opened.close().await;
        outcome
    })?;
    if outcome != READMITTED && !outcome.starts_with(NOTED) {
        return Err(Failure::Broken(outcome));
    }
    writeln!(io::stdout(), "{outcome}")?;
    Ok(())
}

impl Erasing<'_> {
    /// What was from before must be gone, or it would be found again as the new person's.
    async fn readmit(&self, patience: &Patience) -> Result<String, Failure> {
        match self.stored().await? {
            None => return Ok(NOBODY.to_owned()),
            Some(stored) if !stored.erased => return Ok(NOT_ERASED.to_owned()),
            Some(_) => {}
        }
        log_erasure(&self.asking.store, "READMIT", self.user_id).await?;
        self.sweep().await?;
        self.ask(Order::Readmit { user_id: self.user_id.to_owned() }, patience).await
    }
}

fn signing_key(unsigned: bool, settings: &Settings) -> Result<Option<SigningKey>, Failure> {
    match &settings.audit.signing_key_file {
        _ if unsigned => Ok(None),
        Some(path) => Ok(Some(SigningKey::read(path).map_err(broken)?)),
        None => Err(Failure::Broken(
            "there is no key to sign the receipt with; make one with `biometric-bridge audit init \
             --output signing.pem` and name it in `audit.signing_key_file`, or say --unsigned"
                .to_owned(),
        )),
    }
}

fn broken(error: SigningKeyError) -> Failure {
    Failure::Broken(error.to_string())
}

fn verify(receipt: &Path, public_key: &Path) -> Result<(), Failure> {
    let key = PublicKey::read(public_key).map_err(broken)?;
    let file = File::open(receipt);
    let file = file.map_err(|source| Failure::NoInput { path: receipt.to_owned(), source })?;
    let text = io::read_to_string(file)
        .map_err(|source| Failure::Input { input: receipt.display().to_string(), source })?;
    let bad = |problem: String| Failure::Unhealthy(format!("{}: {problem}", receipt.display()));
    let signed = serde_json::from_str(&text).map_err(|_| bad("it is no JSON".to_owned()))?;
    let statement =
        key.statement(receipt::KIND, &signed).map_err(|error| bad(error.to_string()))?;
    let said = |name: &str| statement[name].as_str().unwrap_or_default().to_owned();
    let mut output = io::stdout().lock();
    writeln!(
        output,
        "authentic: {} was erased at {}; issued at {}",
        crate::telemetry::escaped(&said("user_id")),
        said("erased_at"),
        said("issued_at")
    )?;
    Ok(output.flush()?)
}
