//! A real Prometheus gets in as the runbook says, scrapes a bridge that has work, and is asked everything that the
//! dashboards and the alerts ask.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::alerts::{Rule, rules};
use super::dashboards::{dashboards, expressions, panels};
use super::promql::{metric, selectors};
use super::runbook;
use crate::servers::{Bridge, Model, Outgoing, Prometheus, Servers, promtool};
use crate::service::links::{World, world};
use crate::service::push_client::peer::{Manners, Peer};
use crate::service::site::{LANES, Site, Stamps};
use crate::support::root;

/// People as nobody else is called: none of them may be in a metric.
const NAME: &str = "kunigunde";
/// What labels may be called.
const LABELS: [&str; 23] = [
    "__name__",
    "alertname",
    "alertstate",
    "code",
    "condition",
    "fate",
    "instance",
    "job",
    "kind",
    "le",
    "mode",
    "outcome",
    "part",
    "partition",
    "reason",
    "route",
    "severity",
    "sink",
    "source",
    "status",
    "topic",
    "version",
    "window",
];

/// What Prometheus adds of its own.
const NOT_OURS: [&str; 2] = ["up", "ALERTS"];

/// Sends events of people, some of whom change their mode, and some that cannot be read, until it is over.
fn work(site: &Site<'_>, bridge: &Bridge, is_over: &AtomicBool) {
    for round in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let now = Timestamp::now().as_second();
        let value = |user: &str, stress: f64| {
            format!(
                "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"event_type\":\"vitals\",\"timestamp\":{now},\
                 \"metrics\":{{\"heart_rate\":{},\"stress_level\":{stress}}}}}",
                60 + round % 20
            )
        };
        let people = (0..60).map(|number| format!("{NAME}-{number}"));
        let mut sent: Vec<(String, String)> =
            people.map(|user| (user.clone(), value(&user, 0.2))).collect();
        let newcomer = format!("{NAME}-of-round-{round}");
        sent.push((newcomer.clone(), value(&newcomer, 0.95)));
        sent.push((newcomer, "no event".to_owned()));
        let messages = sent.iter().map(|(user, value)| Outgoing {
            key: Some(user.as_bytes()),
            value: Some(value.as_bytes()),
            ..Outgoing::default()
        });
        site.kafka.produce(&site.topics.events, &messages.collect::<Vec<_>>());
        for (path, status) in [("/api/v1/policy", 200), ("/api/v1/users/nobody/state", 401)] {
            assert_eq!(bridge.http(path).expect("an answer").0, status, "{path}");
        }
        sleep(Duration::from_millis(150));
    }
}

/// A bridge that has all that it can have, behind TLS.
fn installation(world: &World, peer: &Peer, model: &Model) -> Site<'static> {
    let servers = Servers::shared();
    let mut site = Site::new(&servers.kafka, &servers.postgres, &servers.redis, Stamps::Broker);
    let path = |path: &std::path::Path| path.to_str().expect("a path").to_owned();
    for (name, value) in [
        ("BRIDGE__HTTP__TLS__CERTIFICATE_FILE", path(&world.good.certificate)),
        ("BRIDGE__HTTP__TLS__KEY_FILE", path(&world.good.key)),
        ("WEBSOCKET_URL", peer.url()),
        ("BRIDGE__COACH__ENABLED", "true".to_owned()),
        ("OPENAI_API_KEY", "sk-watched".to_owned()),
        ("OPENAI_BASE_URL", model.url()),
    ] {
        site.set(name, &value);
    }
    site
}

/// The runbook's own configuration, for this bridge and in a hurry.
fn configuration(bridge: &Bridge, world: &World) -> String {
    let text = runbook::text();
    let (_, behind) = text.split_once("\n```yaml\n").expect("the runbook shows how to scrape");
    let (shown, _) = behind.split_once("\n```").expect("it ends");
    let mut shown = shown.to_owned();
    for (there, here) in [
        ("bridge:8002", bridge.address().to_string()),
        ("/etc/prometheus/bridge-ca.crt", world.authority.file.display().to_string()),
        ("/etc/prometheus/alerts.yaml", root().join("config/alerts.yaml").display().to_string()),
        ("_interval: 15s", "_interval: 1s".to_owned()),
    ] {
        assert!(shown.contains(there), "{there} is not in the runbook's configuration");
        shown = shown.replace(there, &here);
    }
    shown
}

/// As Grafana would ask: with all instances and topics, and a sensible stretch.
fn filled(expression: &str) -> String {
    let filled = expression.replace("$__rate_interval", "20s");
    filled.replace("$instance", ".*").replace("$topic", ".*")
}

fn is_number(series: &Value) -> bool {
    let value = series["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
    value.is_some_and(|value| !value.is_nan())
}

/// What is wrong with what dashboards ask.
fn faults_of_dashboards(prometheus: &Prometheus, dashboards: &[(String, Value)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, dashboard) in dashboards {
        for panel in panels(dashboard) {
            for expression in expressions(panel) {
                let place = format!("{name}, {}: {expression}", panel["title"]);
                match prometheus.query(&filled(expression)) {
                    Err(problem) => faults.push(format!("{place}: {problem}")),
                    Ok(series) if series.is_empty() => faults.push(format!("{place}: empty")),
                    Ok(series) if series.iter().any(is_number) => {}
                    Ok(_) => faults.push(format!("{place}: comes to no number")),
                }
            }
        }
    }
    faults
}

/// What is wrong with what rules ask.
fn faults_of_rules<'r>(
    prometheus: &Prometheus,
    rules: impl Iterator<Item = &'r Rule>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for rule in rules {
        let name = [rule.alert.as_str(), rule.record.as_str()].concat();
        if let Err(problem) = prometheus.query(&rule.expr) {
            faults.push(format!("{name}: {problem}"));
        }
        for selector in selectors(&rule.expr) {
            if prometheus.query(&selector).is_ok_and(|series| series.is_empty()) {
                // Such a rule is silent whatever happens.
                faults.push(format!("{name}: nothing is {selector}"));
            }
        }
    }
    faults
}

/// Names that the program exports: those of histograms with all their endings.
fn exported(text: &str) -> BTreeSet<String> {
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let names = series.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.chain(types.map(str::to_owned)).collect()
}

/// Metrics that dashboards, rules or the runbook name and nobody exports.
fn unknown(text: &str) -> Vec<String> {
    let mut known = exported(text);
    let (alerts, records) = rules();
    known.extend(NOT_OURS.map(str::to_owned));
    known.extend(records.iter().map(|rule| rule.record.clone()));
    let mut asked = BTreeSet::new();
    for (_, dashboard) in dashboards() {
        asked.extend(panels(&dashboard).flat_map(expressions).flat_map(selectors));
    }
    asked.extend(alerts.iter().chain(&records).flat_map(|rule| selectors(&rule.expr)));
    let prose = runbook::text();
    let words = prose.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let prefixes = ["biometric_", "kafka_consumer", "cognitive_mode"];
    let words = words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)));
    // Columns and tables that are called alike.
    let words =
        words.filter(|word| !["biometric_events", "cognitive_mode_transitions"].contains(word));
    asked.extend(words.map(str::to_owned));
    let names = asked.iter().map(|selector| metric(selector).to_owned());
    names.filter(|name| !known.contains(name)).collect()
}

fn wait_until(what: &str, prometheus: &Prometheus, expressions: &[&str]) {
    for _ in 0..450 {
        let is_so = |asked: &&str| prometheus.query(asked).is_ok_and(|series| !series.is_empty());
        if expressions.iter().all(is_so) {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    let missing = expressions
        .iter()
        .filter(|asked| prometheus.query(asked).map_or(true, |series| series.is_empty()));
    panic!("not {what} in time: {:?}", missing.collect::<Vec<_>>());
}

#[test]
fn everything_that_dashboards_and_alerts_ask_comes_to_something_while_a_bridge_works() {
    if !Servers::available_to_be_watched() {
        return;
    }
    let (world, peer, model) = (world(), Peer::start(Manners::default()), Model::start());
    let site = installation(&world, &peer, &model);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let prometheus = Prometheus::start(&configuration(&bridge, &world));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| work(&site, &bridge, &is_over));
        // Also when a test fails, the work ends.
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            look(&prometheus, &bridge);
        }));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = looked {
            std::panic::resume_unwind(panic);
        }
    });
    bridge.end();
}

fn look(prometheus: &Prometheus, bridge: &Bridge) {
    wait_until(
        "scraped often enough",
        prometheus,
        &[
            "count_over_time(biometric_build_info[1m]) > 8",
            "increase(cognitive_mode_transitions[20s]) > 0",
            "increase(biometric_dead_letters_total[20s]) > 0",
            "increase(biometric_coach_call_seconds_count[20s]) > 0",
            "increase(biometric_published_total{sink=\"push\"}[20s]) > 0",
            "biometric_part_up{part=\"redis\"} == 1",
            "biometric:events_late:ratio_rate3d",
            "biometric:answers_failed:ratio_rate3d",
            "kafka_consumer_lag",
        ],
    );
    let (alerts, records) = rules();
    let mut faults = faults_of_dashboards(prometheus, &dashboards());
    faults.extend(faults_of_rules(prometheus, alerts.iter().chain(&records)));
    assert!(faults.is_empty(), "{faults:#?}");
    wrong_ones_are_noticed(prometheus);
    let (_, text) = bridge.http("/metrics").expect("an answer");
    let unknown = unknown(&text);
    assert!(unknown.is_empty(), "nobody exports {unknown:?}");
    // A bridge that works sets off no alarm.
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}").expect("an answer");
    assert!(firing.is_empty(), "{firing:#?}");
    let everything = prometheus.get("/api/v1/series", &[("match[]", "{__name__=~\".+\"}")]);
    assert!(!everything.to_string().contains(NAME), "a user is in a label");
    let labels = prometheus.get("/api/v1/labels", &[]);
    for label in labels["data"].as_array().expect("labels") {
        let name = label.as_str().expect("a name");
        assert!(LABELS.contains(&name), "a new label, {name}: does it say whose something is?");
    }
    lint(&text);
}

/// What makes the checks of expressions worth something.
fn wrong_ones_are_noticed(prometheus: &Prometheus) {
    for (expression, what) in [
        ("sum(", "parse error"),
        ("rate(biometric_nothing[1m])", "empty"),
        ("biometric_lanes{condition=\"haltet\"}", "empty"),
        ("0 * sum(biometric_lanes) / 0", "comes to no number"),
    ] {
        let panel = json!({"title": "wrong", "type": "stat", "targets": [{"expr": expression}]});
        let dashboard = ("wrong".to_owned(), json!({"panels": [panel]}));
        let faults = faults_of_dashboards(prometheus, &[dashboard]);
        assert!(faults.len() == 1 && faults[0].contains(what), "{expression}: {faults:?}");
    }
    let wrong = [
        "sum(biometric_lanes{condition=\"haltet\"}) > 0",
        "absent(biometric_nothing)",
        "sum(up) > 0 and",
    ]
    .map(Rule::of);
    let faults = faults_of_rules(prometheus, wrong.iter());
    assert_eq!(faults.len(), wrong.len(), "{faults:?}");
}

/// promtool's own opinion of the metrics. The one name that it minds is one that dashboards know.
fn lint(text: &str) {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut command = promtool(root(), &["check", "metrics"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool starts");
    child.stdin.take().expect("it reads").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let said = said.concat();
    let minded = said.lines().filter(|line| !line.starts_with("cognitive_mode_transitions "));
    assert_eq!(minded.collect::<Vec<_>>(), Vec::<&str>::new());
}
