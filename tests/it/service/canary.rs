//! Planted readings, texts and people go through all of the system, which says at TRACE what it does: what is about a
//! body is nowhere but where it was sent and in what was shown to who may see it, and nobody's id is in a log, a metric or an error.

mod conversations;
mod evidence;
mod marks;
mod operators;
mod plants;

use serde_json::Value;

use self::conversations::Follower;
use self::evidence::{Evidence, Wanted};
use self::marks::Marks;
use self::operators::Shows;
use self::plants::{DEVICES, PEOPLE, READINGS, TEXTS, event, person, strained};
use super::check::SPOILT;
use super::http::issuer::{SigningKey, set_of};
use super::http::people::trust_at;
use super::push_client::peer::{Manners, Peer};
use super::site::{LANES, Site, Stamps};
use crate::servers::{
    Bridge, Collector, Kafka, Outgoing, Postgres, Redis, Server as _, Servers, folder,
};
use crate::support::stderr;

/// Alerts that come and go within a test.
const POLICY: &str = "return: {after_calm: 0s}
selection: {cooldown: 0s}
alerts:
  rules:
    - {id: mode_reflex, title: Strain, mode: reflex, severity: high, clear_after: 1s, remind_after: 1s}
    - {id: mode_guardian, title: Depleted, mode: guardian, severity: high, clear_after: 1s}
";

/// An installation of its own, and all that is seen of it.
struct Story<'s> {
    site: Site<'s>,
    evidence: Evidence,
    /// Instances, those that have ended too: their logs are read last.
    bridges: Vec<Bridge>,
}

#[test]
fn what_is_planted_is_in_no_log_metric_error_or_store() {
    if !Servers::available() {
        return;
    }
    let (leaks, found) = told(&[]);
    assert_eq!(leaks, Vec::<String>::new());
    assert_eq!(found, Found { shown: true, logged: true }, "the search finds what is there");
}

/// What the defect writes into the table of dead letters is found there.
#[cfg(feature = "defects")]
#[test]
fn what_a_defect_leaks_is_found() {
    let (leaks, _) = told(&[("BRIDGE_DEFECT", "DetailQuotesTheRecord")]);
    let found = leaks.iter().any(|leak| leak.starts_with("dead_letters"));
    assert!(found, "{leaks:?}");
}

/// Whether the search finds what it must find for its silence to mean something.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// In an export, which shows everything.
    shown: bool,
    /// In the log of an instance whose settings name a file as a person is called.
    logged: bool,
}

/// Tells the story; gives what leaked.
fn told(variables: &[(&str, &str)]) -> (Vec<String>, Found) {
    let (kafka, postgres, redis) = std::thread::scope(|scope| {
        let (kafka, postgres) = (scope.spawn(Kafka::start), scope.spawn(|| Postgres::start(false)));
        let redis = Redis::start();
        let joined = "the server starts";
        (kafka.join().expect(joined), postgres.join().expect(joined), redis)
    });
    let mut site = Site::new(&kafka, &postgres, &redis, Stamps::Broker);
    let key = SigningKey::elliptic("e");
    prepare(&mut site, &key);
    let peer = Peer::start(Manners::default());
    site.set("WEBSOCKET_URL", &peer.url());
    let collector = Collector::start();
    site.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url());
    site.set("OTEL_TRACES_SAMPLER", "always_on");
    for (name, value) in variables {
        site.set(name, value);
    }
    let mut story = Story { site, evidence: Evidence::default(), bridges: Vec::new() };
    // The cache meets a key that is no hash: the server's complaint.
    let client = redis::Client::open(redis.url()).expect("an address");
    let mut connection = client.get_connection().expect("Redis takes the connection");
    let state = biometric_bridge::cache::state_key(&person(6));
    redis::cmd("SET").arg(state).arg("no hash").exec(&mut connection).expect("Redis answers");
    story.events_come();
    story.a_checkpoint_is_rebuilt();
    story.somebody_is_in_quarantine();
    story.people_ask(&key);
    story.operators_work();
    story.evidence.said("the database's log", postgres.log());
    story.the_database_refuses(&key);
    story.kafka_is_away();
    story.somebody_is_erased();
    let sees = |(_, message): &(usize, Value)| message.to_string().contains(PEOPLE);
    assert!(peer.seen(|seen| seen.messages.iter().any(sees)), "the peer is told");
    let shown = story.collect();
    let spans = collector.spans();
    for part in ["process ", "step", "alert", "commit", "send ", "GET /", "_OTHER"] {
        let is_there = spans.iter().any(|span| span.name.starts_with(part));
        assert!(is_there, "a collector gets spans of all kinds, {part} too");
    }
    story.evidence.said("what the collector got", collector.bytes());
    let logged = story.a_name_that_is_logged();
    let wanted = wanted(&story.site, &shown);
    let shown = wanted.values.find(shown.as_bytes()).is_some();
    let logged = wanted.people.find(logged.as_bytes()).is_some();
    (story.evidence.leaks(&wanted), Found { shown, logged })
}

fn prepare(site: &mut Site<'_>, key: &SigningKey) {
    let file = |ending: &str| folder().join(format!("{}.{ending}", site.group));
    let (policy, private, checkpoints) = (file("yaml"), file("pem"), file("checkpoints"));
    let text = |path: &std::path::Path| path.to_str().expect("a path").to_owned();
    std::fs::write(&policy, POLICY).expect("a policy file");
    site.run(&["audit", "init", "--output", &text(&private)]);
    trust_at(site, &set_of(&[key]));
    for (name, value) in [
        ("LOG_LEVEL", "trace"),
        ("BRIDGE__LOG__FORMAT", "json"),
        ("BRIDGE__POLICY__FILE", &text(&policy)),
        ("BRIDGE__AUDIT__SIGNING_KEY_FILE", &text(&private)),
        ("BRIDGE__AUDIT__CHECKPOINT_FILE", &text(&checkpoints)),
        ("BRIDGE__AUDIT__CHECKPOINT_EVERY", "1s"),
        ("BRIDGE__CHECKPOINT__EVERY", "100ms"),
        ("BRIDGE__CHECKPOINT__SCRUB_EVERY", "200ms"),
        ("BRIDGE__HTTP__DEBUG", "true"),
        ("BRIDGE__HTTP__REQUESTS_PER_ADDRESS", "100000"),
        ("BRIDGE__HTTP__REQUESTS_PER_SUBJECT", "100000"),
    ] {
        site.set(name, value);
    }
}

/// What must not be found: what was planted, and every sentence and reason that came of it.
fn wanted(site: &Site<'_>, shown: &str) -> Wanted {
    let mut texts: Vec<String> = vec![TEXTS.to_owned()];
    for line in shown.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        for field in ["reason_text", "detail"] {
            let text = line[field].as_str().filter(|text| text.len() > 12);
            texts.extend(text.map(str::to_owned));
        }
    }
    assert!(texts.len() > 5, "modes have changed, and alerts: {texts:?}");
    assert!(site.number("SELECT count(*) FROM alert_changes") > 3);
    texts.sort_unstable();
    texts.dedup();
    let values = Marks::of(texts.iter().map(String::as_str), &READINGS);
    Wanted { values, people: Marks::of([PEOPLE, DEVICES], &[]) }
}

impl Story<'_> {
    fn bridge(&self) -> &Bridge {
        self.bridges.last().expect("one runs")
    }

    fn start(&mut self) {
        self.bridges.push(self.site.start());
        self.bridge().wait_lanes(LANES);
    }

    fn send(&self, user: &str, value: &str) {
        let (key, value) = (Some(user.as_bytes()), Some(value.as_bytes()));
        let message = Outgoing { key, value, ..Outgoing::default() };
        self.site.kafka.produce(&self.site.topics.events, &[message]);
    }

    /// Good events in each shape and bad ones in each way, read by two instances.
    fn events_come(&mut self) {
        let (first, second) = (self.site.start(), self.site.start());
        first.wait_some_lanes();
        second.wait_some_lanes();
        plants::records(&self.site);
        self.site.wait_caught_up();
        self.site.wait_sql("SELECT bool_and(checkpoint IS NOT NULL) FROM users");
        for (bridge, name) in [(&first, "first"), (&second, "second")] {
            self.probes(bridge, name);
        }
        let reasons = "SELECT count(DISTINCT reason) FROM dead_letters";
        assert!(self.site.number(reasons) >= 12, "of every kind");
        let counts = self.site.sql(
            "SELECT bool_and(total > 0) FROM (VALUES
                 ((SELECT sum(events_duplicate + by_user_duplicate) FROM lanes)),
                 ((SELECT sum(events_forwarded) FROM lanes))) AS t (total)",
        );
        assert_eq!(counts, "t", "repeats and records for other lanes");
        let complaints = [&first, &second].map(|its| its.metric("biometric_cache_failures_total"));
        assert!(complaints.iter().sum::<f64>() > 0.0, "Redis has complained of a key");
        first.kill();
        second.end();
        self.bridges.extend([first, second]);
    }

    /// What is said to everybody.
    fn probes(&mut self, bridge: &Bridge, name: &str) {
        for path in ["/metrics", "/ready", "/health", "/"] {
            let (_, body) = bridge.http(path).expect("an answer");
            self.evidence.said(format!("{path} of the {name} instance"), body);
        }
    }

    /// Lines about somebody say who it is by their tag, which only an operator can find out.
    fn a_checkpoint_is_rebuilt(&mut self) {
        let user = person(2);
        let spoil = format!("UPDATE users SET checkpoint = '{SPOILT}' WHERE user_id = '{user}'");
        self.site.sql(&spoil);
        self.start();
        self.send(&user, &event(&user, "\"hrv\":43.219871"));
        self.site.wait_caught_up();
        let tag = self.site.run(&["user", "tag", &user]);
        let tag = tag.trim_end();
        assert_eq!(tag.len(), 16);
        let log = self.bridge().log();
        let said = format!("\"user\":\"{tag}\"");
        let line = log.lines().find(|line| line.contains(&said));
        assert!(line.is_some_and(|line| line.contains("a checkpoint is rebuilt")), "{line:?}");
        let told = "SELECT count(*) FROM phi_access_log WHERE table_name = 'users' AND user_id = ";
        assert_eq!(self.site.number(&format!("{told} '{user}'")), 1, "who asks is written down");
    }

    fn somebody_is_in_quarantine(&mut self) {
        self.bridge().end();
        let user = person(3);
        self.site.sql(&format!("UPDATE users SET quarantined_at = now() WHERE user_id = '{user}'"));
        self.start();
        self.send(&user, &strained(&user));
        self.site.wait_caught_up();
        let waiting = "SELECT count(*) > 0 FROM dead_letters WHERE reason = 'quarantined'";
        self.site.wait_sql(waiting);
        self.command(&["quarantine", "list"], Shows::Names);
        self.command(&["quarantine", "release", &user], Shows::Names);
    }

    fn people_ask(&mut self, key: &SigningKey) {
        let bridge = self.bridges.pop().expect("one runs");
        let shown = plants::requests(&bridge, key, &mut self.evidence);
        assert!(shown > 10, "who may see somebody does: {shown}");
        conversations::shown(&bridge, key, &mut self.evidence);
        conversations::closed(&bridge, key, &mut self.evidence);
        // Whoever follows is told what comes, too.
        let mut follower = Follower::of(&bridge, key, &person(4));
        self.send(&person(4), &event(&person(4), "\"recovery_score\":11.5"));
        self.site.wait_caught_up();
        self.send(&person(4), &strained(&person(4)));
        self.site.wait_caught_up();
        let newest = format!(
            "SELECT max(n) FROM mode_transitions JOIN users USING (user_number)
             WHERE user_id = '{}'",
            person(4)
        );
        follower.wait_up_to(self.site.number(&newest));
        plants::odd_requests(&bridge, &mut self.evidence);
        self.probes(&bridge, "asked");
        self.bridges.push(bridge);
    }

    /// Errors of the database that quote rows and whom they are about.
    fn the_database_refuses(&mut self, key: &SigningKey) {
        const FAILURES: &str = "biometric_commit_failures_total";
        let quote = "CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE WARNING 'there is %', NEW; RAISE EXCEPTION 'no % here', NEW; END $$";
        self.site.sql(quote);
        for (code, fault, cure, user) in [
            (
                "23514",
                "ALTER TABLE event_records ADD CONSTRAINT none CHECK (device_id <> 'kestrel-d') NOT VALID",
                "ALTER TABLE event_records DROP CONSTRAINT none",
                person(1),
            ),
            (
                "P0001",
                "CREATE TRIGGER quoting BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION quote()",
                "DROP TRIGGER quoting ON users",
                person(7),
            ),
        ] {
            let before = self.bridge().metric(FAILURES);
            self.site.sql(fault);
            self.send(&user, &strained(&user));
            self.bridge().wait_metric(FAILURES, |failures| failures > before);
            self.bridge().wait_until("told why", |_, body| body.to_string().contains(code));
            let bridge = self.bridges.pop().expect("one runs");
            self.probes(&bridge, "refused");
            self.bridges.push(bridge);
            self.site.sql(cure);
            // A lane whose batch was refused for good stands until somebody has seen to it.
            self.bridge().end();
            assert!(self.bridge().log().contains(code), "the log says why");
            self.start();
            self.site.wait_caught_up();
        }
        let trigger = "CREATE TRIGGER quoting BEFORE INSERT ON phi_access_log
             FOR EACH ROW EXECUTE FUNCTION quote()";
        self.site.sql(trigger);
        let user = person(1);
        let path = format!("/api/v1/users/{user}/state");
        let answer = super::http::office::ask(self.bridge(), &path, &key.token(&user, "self"));
        assert_eq!(answer.status, 503);
        self.evidence.answer("who cannot be written down", &answer, false);
        let listed = self.command(&["alerts", "list", &user], Shows::Nothing);
        assert!(stderr(&listed).contains("P0001"), "{}", stderr(&listed));
        self.site.sql("DROP TRIGGER quoting ON phi_access_log");
    }

    fn kafka_is_away(&mut self) {
        self.site.kafka.stop();
        self.bridge().wait_failing("kafka");
        let bridge = self.bridges.pop().expect("one runs");
        self.probes(&bridge, "waiting");
        self.bridges.push(bridge);
        self.command(&["topics", "create"], Shows::Nothing);
        self.site.kafka.start_again();
        self.bridge().wait_ready();
        self.send(&person(1), &strained(&person(1)));
        self.site.wait_caught_up();
    }

    fn somebody_is_erased(&mut self) {
        let user = person(5);
        let erased = self.command(&["erase", &user], Shows::Names);
        assert!(erased.status.success(), "{}", stderr(&erased));
        self.send(&user, &strained(&user));
        self.site.wait_caught_up();
        self.bridge()
            .wait_metric("biometric_records_total{outcome=\"erased\"", |count| count > 0.0);
        self.command(&["erase", "--readmit", &user], Shows::Names);
    }

    /// Reads what is left to read; gives all that may be shown.
    fn collect(&mut self) -> String {
        let bridge = self.bridges.pop().expect("one runs");
        self.probes(&bridge, "last");
        bridge.end();
        self.bridges.push(bridge);
        for (number, bridge) in self.bridges.iter().enumerate() {
            let log = bridge.log();
            assert!(log.contains("\"level\":\"TRACE\""), "the log says what it can");
            self.evidence.said(format!("the log of instance {number}"), log);
        }
        let (kafka, redis, postgres) = (self.site.kafka, self.site.redis, self.site.postgres);
        self.evidence.said("Kafka's log", kafka.log());
        self.evidence.said("Redis's log", redis.log());
        // Of a row that breaks a constraint PostgreSQL itself logs what is in the clear.
        self.evidence.kept("the database's log after it has refused rows", postgres.log());
        assert!(self.evidence.redis(redis) > 4, "states are cached");
        self.tables();
        let checkpoints = self.site.variable("BRIDGE__AUDIT__CHECKPOINT_FILE").expect("set");
        self.evidence.said("the checkpoints", std::fs::read(checkpoints).expect("a file"));
        for message in kafka.read_all(&self.site.topics.audit) {
            self.evidence.said("the topic of checkpoints", message.value.unwrap_or_default());
        }
        ["transitions", "alerts", "log", "states", "coach-messages"]
            .map(|what| self.site.run(&["export", what]))
            .concat()
    }

    /// Each table by itself: which of them name users is documented.
    fn tables(&mut self) {
        const NAME_USERS: [&str; 3] = ["users", "phi_access_log", "lane_commands"];
        let tables = "SELECT table_name FROM information_schema.tables
             WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1";
        let tables = self.site.sql(tables);
        assert!(tables.lines().count() > 12, "{tables}");
        let page = crate::support::read(&crate::support::root().join("docs/security.md"));
        for table in tables.lines() {
            let only = format!("--table=public.{table}");
            let options = ["--data-only", "--inserts", &only];
            let dump = self.site.postgres.dump(&self.site.database, &options);
            let place = format!("{table} in the dump");
            // Words of messages, records and states as they would stand among bytes.
            for word in ["mode_switch", "heart_rate", "user_id", "reflex", "guardian"] {
                let bytes = hex::encode(word);
                assert!(!dump.contains(&bytes), "{word} stands in {place}");
            }
            match table {
                table if NAME_USERS.contains(&table) => {
                    let row = page.lines().find(|line| line.starts_with(&format!("| `{table}`")));
                    assert!(row.is_some_and(|row| row.contains("user id")), "{table} says so");
                    assert!(dump.contains(PEOPLE), "the dump is of this database");
                    self.evidence.kept(place, dump);
                }
                "event_records" => self.evidence.kept(place, dump.replace(DEVICES, "")),
                _ => self.evidence.said(place, dump),
            }
        }
    }

    /// The log of an instance whose setting is called as a person is.
    fn a_name_that_is_logged(&mut self) -> String {
        let topic = format!("{}.{PEOPLE}1", self.site.topics.alerts);
        self.site.set("BRIDGE__KAFKA__TOPICS__ALERTS", &topic);
        let bridge = self.site.start();
        bridge.wait_until("told what is missing", |_, _| bridge.log().contains("no such topic"));
        bridge.ends();
        bridge.log()
    }
}
