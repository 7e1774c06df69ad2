//! The Helm chart, with the real helm: it renders, what it renders is what Kubernetes knows and our rules allow, and the
//! program takes the settings, and does its work with them. Never talks to a cluster.

mod copies;
mod manifests;
mod rules;
mod schema;
mod settings;
mod trial;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use manifests::{VALUES, chart, rendered, values};

use crate::servers::{are_there, installed};
use crate::support::{read, stderr, stdout};

/// What the installer calls what these tests need.
const TOOLS: [&str; 4] = ["helm", "helm-docs", "helm-unittest", "kubernetes-validate"];

/// Kubernetes' releases against whose schemas manifests are checked: the oldest that the chart takes, and the newest that
/// the validator knows.
const KUBERNETES: [&str; 2] = ["1.30", "1.37"];

/// Kinds that no release of Kubernetes has: operators bring them.
const OF_OPERATORS: [&str; 3] = ["PrometheusRule", "ScaledObject", "ServiceMonitor"];

fn available() -> bool {
    are_there(&TOOLS)
}

fn run(tool: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(installed(tool));
    command.args(arguments).env("HELM_DEBUG", "false");
    command.output().unwrap_or_else(|error| panic!("{tool}: {error}"))
}

fn as_text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A copy of the chart that a test may break.
fn copied() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let copied = Command::new("cp").arg("-r").arg(chart()).arg(folder.path()).status();
    assert!(copied.expect("cp starts").success());
    let chart = folder.path().join("biometric-bridge");
    (folder, chart)
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    if !available() {
        return;
    }
    for name in VALUES {
        let file = values(name);
        let lint = run("helm", &["lint", "--strict", as_text(&chart()), "-f", as_text(&file)]);
        assert!(lint.status.success(), "{name}: {}{}", stdout(&lint), stderr(&lint));
    }
    let (_folder, broken) = copied();
    let service = broken.join("templates/service.yaml");
    std::fs::write(&service, read(&service).replace("kind: Service", "kind: \"")).expect("written");
    let minimal = values("minimal");
    let lint = run("helm", &["lint", "--strict", as_text(&broken), "-f", as_text(&minimal)]);
    assert!(!lint.status.success(), "a chart that is no YAML is complained of");
}

#[test]
fn its_unit_tests_pass() {
    if !available() {
        return;
    }
    let run_in = |folder: &Path| {
        let suites = ["--strict", "--file", "tests/*_test.yaml", as_text(folder)];
        run("helm-unittest", &suites)
    };
    let passed = run_in(&chart());
    assert!(passed.status.success(), "{}{}", stdout(&passed), stderr(&passed));
    let (_folder, broken) = copied();
    let template = broken.join("templates/deployment.yaml");
    let text = read(&template).replace("maxUnavailable: 0", "maxUnavailable: 1");
    std::fs::write(&template, text).expect("written");
    assert!(!run_in(&broken).status.success(), "another strategy is noticed");
}

#[test]
fn kubernetes_knows_every_field() {
    if !available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let validate = |name: &str, release: &str, text: &str| {
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&path, text).expect("written");
        run("kubernetes-validate", &["-k", release, "--strict", as_text(&path)])
    };
    for (name, release) in VALUES.iter().flat_map(|name| KUBERNETES.map(|release| (name, release)))
    {
        let text = rendered(name);
        let checked = validate(name, release, &text);
        let told = format!("{}{}", stdout(&checked), stderr(&checked));
        assert!(checked.status.success(), "{name}, {release}: {told}");
        // The validator only warns of a kind that it does not know.
        for line in told.lines().filter(|line| line.starts_with("WARN")) {
            assert!(OF_OPERATORS.iter().any(|kind| line.contains(kind)), "{name}: {line}");
        }
    }
    for (right, wrong) in
        [("minReadySeconds:", "minReadySecond:"), ("replicas: 2", "replicas: \"two\"")]
    {
        let text = rendered("minimal");
        assert!(text.contains(right), "{right}");
        let checked = validate("wrong", KUBERNETES[1], &text.replace(right, wrong));
        assert!(!checked.status.success(), "{wrong} is noticed");
    }
}

#[test]
fn its_readme_is_what_helm_docs_makes_of_it() {
    if !available() {
        return;
    }
    let remade = |values: &dyn Fn(String) -> String| {
        let (_folder, copy) = copied();
        let path = copy.join("values.yaml");
        std::fs::write(&path, values(read(&path))).expect("written");
        let docs = run("helm-docs", &["--chart-search-root", as_text(&copy)]);
        assert!(docs.status.success(), "{}", stderr(&docs));
        read(&copy.join("README.md"))
    };
    let readme = read(&chart().join("README.md"));
    assert_eq!(remade(&|text| text), readme, "run charts/update.sh (`make chart-update`)");
    let other = remade(&|text| text.replace("replicaCount: 2", "replicaCount: 3"));
    assert_ne!(other, readme, "another default is another page");
}

#[test]
fn a_package_of_it_renders_the_same() {
    if !available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let packed = run("helm", &["package", as_text(&chart()), "-d", as_text(folder.path())]);
    assert!(packed.status.success(), "{}", stderr(&packed));
    let package = std::fs::read_dir(folder.path()).expect("a folder").next().expect("a package");
    let package = package.expect("a package").path();
    for name in VALUES {
        let file = values(name);
        let of = |chart: &Path| {
            let flags = ["template", "x", as_text(chart), "-f", as_text(&file)];
            let output = run("helm", &flags);
            assert!(output.status.success(), "{}", stderr(&output));
            stdout(&output).to_owned()
        };
        assert_eq!(of(&package), of(&chart()), "{name}");
    }
    let listed = Command::new("tar").arg("-tzf").arg(&package).output().expect("tar starts");
    let listed = stdout(&listed);
    assert!(listed.contains("/values.schema.json") && listed.contains("/README.md"), "{listed}");
    assert!(!listed.contains("/ci/") && !listed.contains("_test.yaml"), "{listed}");
}
