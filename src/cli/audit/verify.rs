//! `audit verify`: against the database, or an export alone. Says what is wrong, and with which row.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::key_of;
use crate::app::{connection_of, topics_of};
use crate::audit::export::{self, Unreadable};
use crate::audit::stored::{self, chains, count};
use crate::audit::{Claims, Report};
use crate::cli::asking::progress;
use crate::cli::config::Layers;
use crate::cli::failure::Failure;
use crate::cli::input::Progress;
use crate::cli::servers::{block_on, checked_store, close};
use crate::kafka::read_whole;
use crate::settings::Settings;
use crate::signature::PublicKey;

/// What to verify, and by what.
#[derive(Args)]
pub(super) struct Arguments {
    /// Verify this export instead of the database.
    #[arg(long, value_name = "FILE", requires = "public_key", conflicts_with = "topic")]
    export: Option<PathBuf>,
    /// Public keys of those whose checkpoints count (may be repeated); without any, the public part of the key
    /// that `audit.signing_key_file` names.
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,
    /// Files with checkpoints (may be repeated), beside the one that `audit.checkpoint_file` names.
    #[arg(long, value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// Read the checkpoints on the topic, too.
    #[arg(long)]
    topic: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    layers: Layers,
}

/// How long a broker may be silent.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of a checkpoint, at most.
const CHECKPOINT_BYTES_MAX: u64 = 1 << 24;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let report = match &arguments.export {
        Some(path) => verify_export(arguments, path)?,
        None => verify_stored(arguments)?,
    };
    show(&report, arguments.json)?;
    let Some(first) = report.findings.first() else { return Ok(()) };
    let others = report.findings.len() - 1;
    let also = if others == 0 { String::new() } else { format!(" (and {others} more)") };
    Err(Failure::Unhealthy(format!(
        "the log of accesses is not as it was written: {}{also}",
        first.text
    )))
}

fn verify_export(arguments: &Arguments, path: &Path) -> Result<Report, Failure> {
    let mut claims = Claims::new(read_keys(&arguments.public_key)?);
    for file in &arguments.checkpoints {
        read_file(&mut claims, file)?;
    }
    let file = open(path)?;
    let mut progress = Progress::over(&[path.to_owned()]);
    let verified = export::verify(file, claims, |bytes| progress.advance(bytes));
    progress.clear();
    verified.map_err(|error| match error {
        Unreadable::Input(source) => Failure::Input { input: path.display().to_string(), source },
        other => Failure::Malformed(format!("{}: {other}", path.display())),
    })
}

fn verify_stored(arguments: &Arguments) -> Result<Report, Failure> {
    let settings = arguments.layers.load()?.settings;
    let keys = match arguments.public_key.as_slice() {
        [] => key_of(&settings)?.into_iter().collect(),
        named => read_keys(named)?,
    };
    let mut claims = Claims::new(keys.clone());
    // Before the rows: what checkpoints have seen is there when the rows are read.
    let configured = settings.audit.checkpoint_file.iter().filter(|path| path.exists());
    let files: Vec<&PathBuf> = arguments.checkpoints.iter().chain(configured).collect();
    if keys.is_empty() && (arguments.topic || !files.is_empty()) {
        return Err(Failure::Usage(
            "there are checkpoints, and no key to verify them by; name it with --public-key"
                .to_owned(),
        ));
    }
    for file in files {
        read_file(&mut claims, file)?;
    }
    if arguments.topic {
        read_topic(&mut claims, &settings)?;
    }
    block_on(async {
        let store = checked_store(&settings).await?;
        let chains = chains(&store).await?;
        let bar = progress(count(&chains), "rows");
        let report = stored::verify(&store, claims, &chains, || bar.inc(1)).await?;
        bar.finish_and_clear();
        close(&store).await;
        Ok(report)
    })
}

fn read_keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
    paths.iter().map(|path| Ok(PublicKey::read(path)?)).collect()
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let file =
        File::open(path).map_err(|source| Failure::NoInput { path: path.to_owned(), source })?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

fn read_file(claims: &mut Claims, path: &Path) -> Result<(), Failure> {
    let name = path.display().to_string();
    let mut file = open(path)?;
    claims.begin(&name);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = file.by_ref().take(CHECKPOINT_BYTES_MAX).read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => claims.add(&line),
            Err(source) => return Err(Failure::Input { input: name, source }),
        }
    }
}

fn read_topic(claims: &mut Claims, settings: &Settings) -> Result<(), Failure> {
    let topic = topics_of(settings).audit;
    claims.begin(&format!("topic {topic}"));
    let read = read_whole(&connection_of(settings), &topic, PATIENCE, |line| claims.add(line));
    read.map_err(Failure::Unavailable)
}

fn show(report: &Report, json: bool) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut output, report).map_err(io::Error::from)?;
        writeln!(output)?;
        return Ok(output.flush()?);
    }
    let Report { rows, chains, open, unchained, checkpoints, unsigned, findings } = report;
    for finding in findings {
        writeln!(output, "{}", finding.text)?;
    }
    writeln!(output, "{rows} rows in {chains} chains, {checkpoints} checkpoints")?;
    if *unsigned > 0 {
        writeln!(
            output,
            "{unsigned} rows are newer than what checkpoints have seen of their chain"
        )?;
    }
    if *open > 0 {
        writeln!(
            output,
            "{open} services have not written down their end: they run, or were cut off"
        )?;
    }
    if *unchained > 0 {
        writeln!(
            output,
            "{unchained} rows are in no chain, as all were once: nothing covers them"
        )?;
    }
    if findings.is_empty() {
        writeln!(output, "all is as it was written")?;
    }
    Ok(output.flush()?)
}
