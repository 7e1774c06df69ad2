//! The rules of the Dockerfile.

use crate::deployment::each_is_noticed;
use crate::support::{read, root};

use super::context::Context;

/// What a name of a build argument or variable must not hold: it would stay in the image's history.
const SECRET: [&str; 6] = ["PASSWORD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "PASSPHRASE"];

const LABELS: [&str; 6] = ["title", "description", "licenses", "version", "revision", "created"];

/// One instruction: its word, and what follows.
struct Instruction {
    word: String,
    rest: String,
}

/// A stage of the build.
struct Stage {
    base: String,
    name: Option<String>,
    steps: Vec<Instruction>,
}

impl Stage {
    fn all<'s>(&'s self, word: &'s str) -> impl Iterator<Item = &'s str> {
        self.steps.iter().filter(move |step| step.word == word).map(|step| step.rest.as_str())
    }
}

fn instructions(text: &str) -> Vec<Instruction> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty());
    let split = lines.map(|line| line.split_once(' ').unwrap_or((line, "")));
    split
        .map(|(word, rest)| Instruction { word: word.to_uppercase(), rest: rest.trim().to_owned() })
        .collect()
}

fn stages(text: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions(text) {
        if instruction.word == "FROM" {
            let (base, name) = match instruction.rest.split_once(" AS ") {
                Some((base, name)) => (base.to_owned(), Some(name.to_owned())),
                None => (instruction.rest, None),
            };
            stages.push(Stage { base, name, steps: Vec::new() });
        } else if let Some(stage) = stages.last_mut() {
            stage.steps.push(instruction);
        }
    }
    stages
}

/// Whether an image is named by a tag that says its version, and by its digest.
pub(super) fn is_pinned(image: &str) -> bool {
    let Some((name, digest)) = image.split_once("@sha256:") else { return false };
    let tag = name.rsplit('/').next().and_then(|name| name.split_once(':'));
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest && tag.is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest")
}

/// What is wrong with a Dockerfile.
fn faults(text: &str) -> Vec<String> {
    let stages = stages(text);
    let Some(last) = stages.last() else { return vec!["there is no stage".to_owned()] };
    let mut faults = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        let earlier: Vec<&str> =
            stages[..number].iter().filter_map(|stage| stage.name.as_deref()).collect();
        if !earlier.contains(&stage.base.as_str()) && !is_pinned(&stage.base) {
            faults.push(format!("{} is not pinned", stage.base));
        }
        faults.extend(of_any(stage, &earlier));
    }
    faults.extend(of_the_last(last));
    faults
}

/// What no stage may do.
fn of_any(stage: &Stage, earlier: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(stage.all("ADD").map(|rest| format!("ADD {rest}: COPY does without surprises")));
    for declared in stage.all("ARG").chain(stage.all("ENV")) {
        let name = declared.split(['=', ' ']).next().unwrap_or_default().to_uppercase();
        if SECRET.iter().any(|word| name.contains(word)) {
            faults.push(format!("{name} would hold a secret in the image's history"));
        }
    }
    for run in stage.all("RUN") {
        for word in ["curl ", "wget ", "sudo ", "git clone"] {
            if run.contains(word) {
                faults.push(format!("RUN {run}: {word}fetches what nobody has pinned"));
            }
        }
        if run.contains("cargo install")
            && !(run.contains("--version ") && run.contains("--locked"))
        {
            faults
                .push(format!("RUN {run}: without --version and --locked it is another tomorrow"));
        }
        if run.contains(" build ") && !(run.contains("cargo auditable") && run.contains("--locked"))
        {
            faults.push(format!("RUN {run}: the build is not auditable and locked"));
        }
    }
    let context = Context::read();
    for copy in stage.all("COPY") {
        let (flags, paths): (Vec<&str>, Vec<&str>) =
            copy.split_whitespace().partition(|word| word.starts_with("--"));
        let from = flags.iter().find_map(|flag| flag.strip_prefix("--from="));
        let sources = paths.split_last().map_or(&[][..], |(_, sources)| sources);
        match from {
            Some(from) if !earlier.contains(&from) => {
                faults.push(format!("COPY {copy}: there is no stage {from} before"));
            }
            Some(_) => {}
            None => faults.extend(
                sources
                    .iter()
                    .filter(|source| **source != "." && !context.has(source))
                    .map(|source| format!("COPY {copy}: {source} is not in the context")),
            ),
        }
    }
    faults
}

/// What the image itself has to be.
fn of_the_last(stage: &Stage) -> Vec<String> {
    let mut faults = Vec::new();
    if !stage.base.starts_with("gcr.io/distroless/") || !stage.base.contains("nonroot") {
        faults.push(format!("{} is more than the program needs", stage.base));
    }
    if stage.all("RUN").next().is_some() {
        faults.push("the last stage runs something, and has no shell for it".to_owned());
    }
    let user = stage.all("USER").last().unwrap_or("0");
    let id: u32 = user.split(':').next().and_then(|id| id.parse().ok()).unwrap_or(0);
    if id < 10_000 {
        faults.push(format!("USER {user} is no unprivileged user by number"));
    }
    for word in ["ENTRYPOINT", "CMD"] {
        let given = stage.all(word).last().unwrap_or_default();
        if !given.starts_with('[') {
            faults.push(format!("{word} {given} goes through a shell"));
        }
    }
    let health = stage.all("HEALTHCHECK").last().unwrap_or_default();
    if !health.contains("CMD [\"/usr/local/bin/biometric-bridge\", \"healthcheck\"]") {
        faults.push("no HEALTHCHECK by biometric-bridge healthcheck".to_owned());
    }
    let labels = stage.all("LABEL").collect::<Vec<_>>().join(" ");
    for label in LABELS {
        if !labels.contains(&format!("org.opencontainers.image.{label}=")) {
            faults.push(format!("no label {label}"));
        }
    }
    let policy =
        stage.all("COPY").any(|copy| copy.ends_with("config/neuros.yaml /app/config/neuros.yaml"));
    if !policy || stage.all("WORKDIR").last() != Some("/app") {
        faults.push("the policy is not at /app/config/neuros.yaml".to_owned());
    }
    faults
}

#[test]
fn the_image_obeys_its_rules_and_each_rule_notices_what_it_is_for() {
    let text = read(&root().join("docker/Dockerfile"));
    let auditable = "RUN cargo auditable build --release --locked --package";
    each_is_noticed(
        &text,
        faults,
        &[
            (
                "FROM rust:1.95.0-bookworm@sha256:6258",
                "FROM rust:1.95.0-bookworm@sha256:",
                "is not pinned",
            ),
            ("FROM rust:1.95.0-bookworm@", "FROM rust:latest@", "is not pinned"),
            ("FROM builder AS dependencies", "FROM debian:12 AS dependencies", "is not pinned"),
            (
                "FROM gcr.io/distroless/cc-debian12:nonroot@",
                "FROM debian:12-slim@",
                "more than the program needs",
            ),
            ("USER 65532:65532", "USER nonroot", "no unprivileged user by number"),
            ("USER 65532:65532", "USER 0:0", "no unprivileged user by number"),
            ("WORKDIR /app", "RUN chmod -R a+w /\nWORKDIR /app", "runs something"),
            ("COPY LICENSE", "ADD https://example.com/LICENSE", "COPY does without"),
            ("ARG REVISION=unknown", "ARG REGISTRY_PASSWORD=x", "hold a secret"),
            ("WORKDIR /app", "ENV OPENAI_API_KEY=x\nWORKDIR /app", "hold a secret"),
            (
                "ENTRYPOINT [\"/usr/local/bin/biometric-bridge\"]",
                "ENTRYPOINT biometric-bridge",
                "through a shell",
            ),
            ("CMD [\"run\"]", "CMD run", "through a shell"),
            ("\"healthcheck\"]", "\"--version\"]", "no HEALTHCHECK"),
            ("COPY LICENSE", "COPY LICENCE", "LICENCE is not in the context"),
            ("COPY LICENSE", "COPY docs/security.md", "is not in the context"),
            ("COPY --from=program", "COPY --from=elsewhere", "there is no stage elsewhere"),
            (
                "RUN cargo install",
                "RUN curl -sSf https://example.com | sh && cargo install",
                "nobody has pinned",
            ),
            ("--version 0.7.7 ", "", "is another tomorrow"),
            (auditable, "RUN cargo build --release --locked --package", "not auditable and locked"),
            (
                auditable,
                "RUN cargo auditable build --release --package",
                "not auditable and locked",
            ),
            ("org.opencontainers.image.revision=", "revision=", "no label revision"),
            ("/app/config/neuros.yaml", "/etc/neuros.yaml", "the policy is not at"),
        ],
    );
}
