//! The LangGraph example: each mode change is taken in once, whenever it is killed, and nothing that it remembers can be
//! read in its tables.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::follower::{PYTHON, messages, token_file};
use super::following::{make_moody, of_today, somebody_to_erase};
use super::line::Line;
use crate::servers::{Program, Server as _, Servers, examples_python};
use crate::service::feed::{crowd, stream};
use crate::service::http::issuer::SigningKey;
use crate::service::http::office::{ask, state_of};
use crate::service::site::Site;
use crate::service::sockets::following::site;
use crate::support::{read, root};

const MODES: [&str; 4] = ["reflex", "guardian", "pattern", "hypothesis"];

/// A key as the README makes one.
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The graph beside an installation, in its database.
struct Graph<'s> {
    site: &'s Site<'s>,
    database: String,
    token_file: PathBuf,
    path: String,
}

impl<'s> Graph<'s> {
    /// Makes role, schema and tables by what the example says.
    fn set_up(site: &'s Site<'s>, token: &str) -> Self {
        // Roles belong to the whole server.
        let role = format!("{}_graph", site.database.rsplit('/').next().expect("a name"));
        let schema = read(&root().join("examples/langgraph/schema.sql"));
        let schema = schema.replace("ROLE neuros_graph", &format!("ROLE {role}"));
        let schema = schema.replace("AUTHORIZATION neuros_graph", &format!("AUTHORIZATION {role}"));
        site.postgres.psql(&site.database, &schema);
        let database = site.database.replacen("postgres@", &format!("{role}@"), 1);
        let [client, graph] =
            ["python", "langgraph"].map(|name| root().join("examples").join(name));
        let path = format!("{}:{}", client.display(), graph.display());
        let graph = Self { site, database, token_file: token_file(token), path };
        for _ in 0..2 {
            let made = graph.command(&["setup"], KEY);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        graph
    }

    fn environment<'e>(&'e self, key: &'e str) -> Vec<(&'e str, &'e str)> {
        let ours = [
            ("PYTHONPATH", self.path.as_str()),
            ("NEUROS_GRAPH_DATABASE_URL", &self.database),
            ("NEUROS_GRAPH_KEY", key),
        ];
        [&ours[..], &PYTHON].concat()
    }

    fn command(&self, arguments: &[&str], key: &str) -> Output {
        let mut command = Command::new(examples_python());
        command.args(["-m", "neuros_graph"]).args(arguments);
        command.env_clear().envs(self.environment(key)).output().expect("it starts")
    }

    fn run(&self, bridge: &str, users: &[&str]) -> Program {
        let token_file = self.token_file.to_str().expect("a path");
        let arguments =
            ["-m", "neuros_graph", "run", "--bridge", bridge, "--token-file", token_file];
        let arguments: Vec<String> =
            arguments.iter().chain(users).map(|argument| (*argument).to_owned()).collect();
        Program::start("the graph", examples_python(), &arguments, &self.environment(KEY))
    }

    /// What it remembers of a user.
    fn known(&self, user: &str) -> Value {
        let shown = self.command(&["show", user], KEY);
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        serde_json::from_slice(&shown.stdout).expect("JSON")
    }

    /// What of a user's mode changes it should remember.
    fn stored(&self, user: &str) -> Vec<Value> {
        let changes = self.site.run(&["export", "transitions", "--user", user]);
        let lines: Vec<String> = changes.lines().map(str::to_owned).collect();
        let taken = |change: Value| {
            let names = ["n", "seq", "message_id", "mode", "time"].into_iter();
            Value::Object(names.map(|name| (name.to_owned(), change[name].clone())).collect())
        };
        messages(&lines).map(taken).collect()
    }

    /// Waits until it has taken in everything of these users.
    fn wait_all(&self, program: &Program, users: &[&str]) {
        self.site.wait_caught_up();
        let newest = |user: &&str| self.stored(user).last().map(|change| change["n"].clone());
        let wanted: Vec<Option<Value>> = users.iter().map(newest).collect();
        program.wait_lines("all mode changes", |lines| {
            let last = |user: &str| messages(lines).filter(|line| line["user_id"] == user).last();
            users.iter().zip(&wanted).all(|(user, n)| {
                n.as_ref().is_none_or(|n| last(user).is_some_and(|line| line["n"] == *n))
            })
        });
    }

    fn dump(&self) -> String {
        self.site.postgres.dump(&self.site.database, &["--schema=neuros_graph"]).to_lowercase()
    }
}

/// Which of these words are in a text, as they are or in hexadecimal digits.
fn found<'w>(text: &str, words: &[&'w str]) -> Vec<&'w str> {
    let is_in = |word: &&&str| {
        let digits: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
        text.contains(**word) || text.contains(&digits)
    };
    words.iter().filter(is_in).copied().collect()
}

#[test]
fn the_graph_takes_each_mode_change_in_once_and_nobody_reads_what_it_remembers() {
    if !Servers::available_for_examples() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let Some(mut site) = site(&key) else { return };
    make_moody(&mut site);
    let bridge = site.start();
    bridge.wait_lanes(3);
    let line = Line::to(bridge.address());
    let operator = key.token("ops", "operator");
    let graph = Graph::set_up(&site, &operator);
    let users = ["user-0", "user-1", "user-2"];
    let program = graph.run(&line.url(), &users);
    let events = crowd(users.len(), 60);
    let mut quarters = events.chunks(events.len() / 4);
    let mut send = || stream(site.kafka, &site.topics.events, quarters.next().expect("one"), 20);

    send();
    graph.wait_all(&program, &users);
    // The bridge is restarted, and more happens meanwhile.
    bridge.end();
    send();
    bridge.start_again();
    graph.wait_all(&program, &users);
    // It is killed while it waits for a state, in the middle of a run, and goes on from there.
    line.keep_back(true);
    let before = line.kept_back();
    send();
    program.wait_lines("a question that is kept back", |_| line.kept_back() > before);
    program.kill();
    let half = "SELECT count(*) > count(DISTINCT thread_id) FROM neuros_graph.checkpoints";
    assert_eq!(site.sql(half), "t", "a run is half done");
    line.keep_back(false);
    program.start_again();
    graph.wait_all(&program, &users);
    // It is killed at some time or other.
    let lines = program.lines().len();
    send();
    program.wait_lines("some of it", |its| its.len() > lines + 1);
    program.kill();
    program.start_again();
    graph.wait_all(&program, &users);
    program.stop();

    for user in users {
        let (known, stored) = (graph.known(user), graph.stored(user));
        assert!((8..=50).contains(&stored.len()), "{}", stored.len());
        assert_eq!(known["recent"], json!(stored), "each mode change of {user}, in order");
        assert_eq!(known["changes"], stored.len(), "each once");
        let state = ask(&bridge, &state_of(user), &operator).json();
        assert_eq!((&known["seq"], &known["mode"]), (&state["seq"], &state["mode"]));
        assert!(known["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{known}");
    }
    let both = "SELECT count(DISTINCT thread_id) FROM neuros_checkpoints
        JOIN neuros_graph.checkpoints USING (thread_id)";
    assert_eq!(site.number(both), 3, "the bridge's checkpoints have the same thread ids");
    nothing_is_readable(&graph);
    bridge.end();
}

fn nothing_is_readable(graph: &Graph<'_>) {
    let (site, dump) = (graph.site, graph.dump());
    assert_eq!(
        found(&dump, &["user-1", "look", "adapt"]),
        ["user-1", "look", "adapt"],
        "rows are there"
    );
    let secrets = [&MODES[..], &["ask nothing", "as usual", "message_id", "confidence"]].concat();
    assert_eq!(found(&dump, &secrets), [""; 0]);
    site.sql("CREATE TABLE neuros_graph.planted AS SELECT 'a Reflex'::text, 'guardian'::bytea");
    assert_eq!(found(&graph.dump(), &secrets), ["reflex", "guardian"], "what is there is found");
    site.sql("DROP TABLE neuros_graph.planted");
    // With another key nothing opens, and what somebody puts there in the clear is not taken.
    let other = graph.command(&["show", "user-1"], &KEY.replace('f', "e"));
    assert!(!other.status.success());
    site.sql("UPDATE neuros_graph.checkpoint_blobs SET type = 'msgpack', blob = '\\x80'");
    let planted = graph.command(&["show", "user-1"], KEY);
    let said = String::from_utf8_lossy(&planted.stderr).into_owned();
    assert!(said.contains("a checkpoint is not sealed"), "{said}");
    // The role sees nothing of the bridge.
    for table in ["public.users", "public.event_records", "public.cognitive_mode_transitions"] {
        let refused = site.postgres.try_psql(&graph.database, &format!("SELECT * FROM {table}"));
        assert!(refused.expect_err(table).contains("permission denied"));
    }
}

#[test]
fn whom_the_bridge_erases_the_graph_erases_too() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge, user)) = somebody_to_erase(&key) else { return };
    let graph = Graph::set_up(&site, &key.token(&user, "self"));
    let url = format!("http://{}", bridge.address());
    let program = graph.run(&url, &[&user]);
    let rows = "SELECT (SELECT count(*) FROM neuros_graph.checkpoints)
        + (SELECT count(*) FROM neuros_graph.checkpoint_blobs)
        + (SELECT count(*) FROM neuros_graph.checkpoint_writes)";
    for _ in 0..2 {
        stream(site.kafka, &site.topics.events, &of_today(&user), 40);
        graph.wait_all(&program, &[&user]);
        assert!(site.number(rows) > 0);
        let known = graph.known(&user);
        assert_eq!(known["recent"], json!(graph.stored(&user)), "of before nothing is there");
        // It is told at the latest when it comes again.
        site.run(&["erase", &user]);
        bridge.end();
        bridge.start_again();
        site.wait_sql(&format!("SELECT ({rows}) = 0"));
        assert_eq!(graph.known(&user), json!({}));
        site.run(&["erase", "--readmit", &user]);
    }
    program.stop();
    bridge.end();
}

#[test]
fn the_graph_does_not_run_without_a_key_or_while_it_would_be_traced_elsewhere() {
    if !Servers::available_for_examples() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let graph = Graph::set_up(&site, "a token");
    let short = graph.command(&["show", "ada"], "00112233");
    let said = String::from_utf8_lossy(&short.stderr).into_owned();
    assert!(!short.status.success() && said.contains("64 hexadecimal digits"), "{said}");
    assert!(!said.contains("00112233"), "nothing tells a key");
    let mut command = Command::new(examples_python());
    command.args(["-m", "neuros_graph", "show", "ada"]).env_clear().envs(graph.environment(KEY));
    let traced = command.env("LANGSMITH_TRACING", "true").output().expect("it starts");
    assert_eq!(traced.status.code(), Some(78));
    let help = graph.command(&["--help"], KEY);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("setup"));
}
