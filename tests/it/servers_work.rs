//! The servers of the tests are real, keep what they are told to keep, and leave nothing behind.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::servers::{Kafka, Outgoing, Postgres, Redis, Server, Servers, folder, kcat, python};

/// Says to the copy of this test binary that the last test starts that it is that copy.
const HOLDS_SERVERS: &str = "BRIDGE_TEST_HOLDS_SERVERS";

/// The answer of Redis to one command.
fn redis(server: &Redis, command: &[&str]) -> String {
    let client = redis::Client::open(server.url()).expect("the address is one");
    let mut connection = client.get_connection().expect("Redis takes the connection");
    let mut asked = redis::cmd(command[0]);
    command[1..].iter().for_each(|argument| {
        asked.arg(*argument);
    });
    asked.query(&mut connection).expect("Redis answers")
}

/// Runs a client with `input`; it must succeed.
fn client(program: &Path, arguments: &[&str], input: &str) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the client starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(input.as_bytes()).expect("the client reads");
    drop(pipe);
    let output = child.wait_with_output().expect("the client ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_message_comes_back_from_kafka_as_it_was_sent() {
    if !Servers::available() {
        return;
    }
    let kafka = &Servers::shared().kafka;
    kafka.topic("comes-back", 3, &[("cleanup.policy", "compact")]);
    let sent = Outgoing {
        key: Some(b"ada"),
        value: Some(b"{}"),
        headers: &[("trace", Some(b"1"))],
        partition: Some(2),
        timestamp: Some(1_740_988_800_123),
    };
    let tombstone = Outgoing { key: Some(b"ada"), partition: Some(2), ..Outgoing::default() };
    assert_eq!(kafka.produce("comes-back", &[sent, tombstone]), [(2, 0), (2, 1)]);
    let read = kafka.read_all("comes-back");
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].key.as_deref(), Some(b"ada".as_slice()));
    assert_eq!((read[0].text(), read[0].header("trace")), ("{}", Some("1")));
    assert_eq!((read[0].partition, read[0].offset), (2, 0));
    assert_eq!(read[0].timestamp, Some(1_740_988_800_123));
    assert_eq!(read[1].value, None);
}

#[test]
fn three_clients_send_to_kafka() {
    if !Servers::available() {
        return;
    }
    let kafka = &Servers::shared().kafka;
    kafka.topic("clients", 1, &[]);
    let address = kafka.bootstrap();
    client(
        kcat(),
        &["-P", "-b", &address, "-t", "clients", "-k", "ada", "-H", "by=kcat"],
        "from kcat",
    );
    let kafka_python = "import sys; from kafka import KafkaProducer\n\
        producer = KafkaProducer(bootstrap_servers=sys.argv[1])\n\
        headers = [('by', b'kafka-python')]\n\
        sent = producer.send('clients', key=b'ada', value=b'from kafka-python', headers=headers)\n\
        sent.get(timeout=30); producer.close()";
    client(python(), &["-c", kafka_python, &address], "");
    let confluent = "import sys; from confluent_kafka import Producer\n\
        producer = Producer({'bootstrap.servers': sys.argv[1]})\n\
        headers = {'by': b'confluent-kafka'}\n\
        producer.produce('clients', key='ada', value='from confluent-kafka', headers=headers)\n\
        sys.exit(producer.flush(30))";
    client(python(), &["-c", confluent, &address], "");
    let read = kafka.read_at_least("clients", 3);
    assert!(read.iter().all(|message| message.key.as_deref() == Some(b"ada".as_slice())));
    let told: Vec<_> = read.iter().map(|message| (message.header("by"), message.text())).collect();
    assert_eq!(
        told,
        [
            (Some("kcat"), "from kcat"),
            (Some("kafka-python"), "from kafka-python"),
            (Some("confluent-kafka"), "from confluent-kafka"),
        ]
    );
}

#[test]
fn each_test_has_a_database_of_its_own() {
    if !Servers::available() {
        return;
    }
    let postgres = &Servers::shared().postgres;
    let (one, other) = (postgres.database(), postgres.database());
    postgres.psql(&one, "CREATE TABLE seen (who text); INSERT INTO seen VALUES ('ada'), ('bob')");
    assert_eq!(postgres.psql(&one, "SELECT who, 1 FROM seen ORDER BY who"), "ada|1\nbob|1");
    assert_eq!(
        postgres.psql(&other, "SELECT count(*) FROM pg_tables WHERE tablename = 'seen'"),
        "0"
    );
}

#[test]
fn redis_answers() {
    if Servers::available() {
        assert_eq!(redis(&Servers::shared().redis, &["PING"]), "PONG");
    }
}

#[test]
fn kafka_keeps_messages_over_stop_and_kill() {
    if !Servers::available() {
        return;
    }
    let kafka = Kafka::start();
    kafka.topic("kept", 1, &[]);
    let send = |value: &[u8]| {
        kafka.produce("kept", &[Outgoing { value: Some(value), ..Outgoing::default() }]);
    };
    send(b"before the stop");
    kafka.stop();
    kafka.start_again();
    send(b"before the kill");
    kafka.kill();
    kafka.start_again();
    kafka.pause();
    kafka.resume();
    send(b"at last");
    let read = kafka.read_all("kept");
    let told: Vec<&str> = read.iter().map(crate::servers::Message::text).collect();
    assert_eq!(told, ["before the stop", "before the kill", "at last"]);
}

#[test]
fn a_broker_takes_settings_of_the_test() {
    if !Servers::available() {
        return;
    }
    let kafka = Kafka::start_with(&["auto.create.topics.enable=true"]);
    kafka.produce("made-up", &[Outgoing { value: Some(b"1"), ..Outgoing::default() }]);
    assert_eq!(kafka.read_all("made-up").len(), 1);
}

#[test]
fn postgres_keeps_rows_over_stop_and_kill() {
    if !Servers::available() {
        return;
    }
    let postgres = Postgres::start(true);
    let url = postgres.database();
    assert_eq!(postgres.psql(&url, "SHOW fsync"), "on");
    postgres
        .psql(&url, "CREATE TABLE kept (what text); INSERT INTO kept VALUES ('before the stop')");
    postgres.stop();
    postgres.start_again();
    postgres.psql(&url, "INSERT INTO kept VALUES ('before the kill')");
    postgres.kill();
    postgres.start_again();
    postgres.pause();
    postgres.resume();
    let rows = postgres.psql(&url, "SELECT what FROM kept");
    assert_eq!(rows, "before the stop\nbefore the kill");
}

#[test]
fn redis_keeps_values_over_stop_and_kill() {
    if !Servers::available() {
        return;
    }
    let server = Redis::start();
    redis(&server, &["SET", "stop", "kept"]);
    server.stop();
    server.start_again();
    redis(&server, &["SET", "kill", "kept"]);
    server.kill();
    server.start_again();
    assert_eq!(redis(&server, &["GET", "stop"]), "kept");
    assert_eq!(redis(&server, &["GET", "kill"]), "kept");
}

#[test]
fn a_paused_server_takes_connections_and_does_not_answer() {
    if !Servers::available() {
        return;
    }
    let server = Redis::start();
    let client = redis::Client::open(server.url()).expect("the address is one");
    let mut connection = client.get_connection().expect("Redis takes the connection");
    connection.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out can be set");
    server.pause();
    assert!(redis::cmd("PING").query::<String>(&mut connection).is_err());
    server.resume();
    assert_eq!(redis(&server, &["PING"]), "PONG");
}

#[test]
fn servers_end_with_a_killed_test_process_and_leave_nothing() {
    if !Servers::available() {
        return;
    }
    if std::env::var_os(HOLDS_SERVERS).is_some() {
        hold_servers();
    }
    let this = std::env::current_exe().expect("a test binary has a path");
    let name = "servers_work::servers_end_with_a_killed_test_process_and_leave_nothing";
    let mut command = Command::new(this);
    command.args(["--exact", name, "--nocapture"]).env(HOLDS_SERVERS, "1").stdout(Stdio::piped());
    let mut copy = command.spawn().expect("the copy starts");
    let lines = BufReader::new(copy.stdout.take().expect("a pipe")).lines();
    let told = lines.map(|line| line.expect("a line"));
    let told = told.filter_map(|line| line.strip_prefix("held: ").map(str::to_owned));
    let told: Vec<String> = told.take(4).collect();
    let (addresses, scratch) = (&told[..3], PathBuf::from(&told[3]));
    assert!(addresses.iter().all(|address| TcpStream::connect(address).is_ok()), "{addresses:?}");
    copy.kill().expect("the copy can be killed");
    copy.wait().expect("the copy ends");
    let remains =
        || scratch.exists() || addresses.iter().any(|address| TcpStream::connect(address).is_ok());
    for _ in 0..600 {
        if !remains() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("{} or a server in it is still there", scratch.display());
}

/// In the copy: starts the shared servers, says where they are and waits to be killed, one server halted.
#[expect(clippy::print_stdout, reason = "the test that started the copy reads it")]
fn hold_servers() -> ! {
    let servers = Servers::shared();
    let address = |url: &str| {
        let place = url.split(['/', '@']).find(|part| part.starts_with("127.")).map(str::to_owned);
        place.expect("an address")
    };
    let postgres = address(&servers.postgres.database());
    servers.postgres.pause();
    for line in [servers.kafka.bootstrap(), postgres, address(&servers.redis.url())] {
        println!("held: {line}");
    }
    println!("held: {}", folder().display());
    loop {
        sleep(Duration::from_secs(60));
    }
}
