//! A stand-in for a language model behind the API that is like OpenAI's, in this process: it remembers what it was asked,
//! and does also what it should not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::scratch::Port;

/// What it does when it is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// Writes this.
    Text(String),
    /// Says it as this JSON, whatever that is.
    Json(Value),
    /// Ends the connection without a word.
    Closed,
    /// Says nothing until it is told to do something else.
    Hang,
    /// Says the status, and how long to wait.
    Status(u16, Option<u64>),
    /// Says what is no JSON.
    Garbage,
    /// Says far too much.
    Huge,
    /// Says it piece by piece, as server-sent events.
    Stream,
}

/// What it was asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Asked {
    /// What was told of the mode change.
    pub(crate) fn prompt(&self) -> &str {
        self.body["messages"][1]["content"].as_str().expect("a prompt")
    }
}

/// Looks at something before an answer is given.
type Look = Box<dyn Fn(usize) + Send>;

/// The stand-in.
pub(crate) struct Model {
    address: SocketAddr,
    shared: Arc<Shared>,
    _port: Port,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    answer: Answer,
    /// What is done first, the first of them first.
    before: Vec<Answer>,
    asked: Vec<Asked>,
    connections: usize,
    look: Option<Look>,
}

impl Model {
    /// Begins to listen.
    pub(crate) fn start() -> Self {
        let port = Port::new().expect("a port is free");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let listener = TcpListener::bind(address).expect("it listens");
        let answer = Answer::Text("Your body works hard, so your coach takes it easy.".to_owned());
        let (before, asked, connections, look) = (Vec::new(), Vec::new(), 0, None);
        let state = Mutex::new(State { answer, before, asked, connections, look });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let answering = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answering.state().connections += 1;
                let shared = Arc::clone(&answering);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared, _port: port }
    }

    /// Where the API is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Does this from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        self.shared.state().answer = answer;
        self.shared.changed.notify_all();
    }

    /// Does these first, each once.
    pub(crate) fn answer_first(&self, answers: &[Answer]) {
        self.shared.state().before = answers.to_vec();
    }

    /// Calls `look` with the number of each question, from 1, before it is answered.
    pub(crate) fn look(&self, look: impl Fn(usize) + Send + 'static) {
        self.shared.state().look = Some(Box::new(look));
    }

    /// All that it was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// Connections that somebody has opened.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Waits until it was asked so often.
    pub(crate) fn wait_asked(&self, count: usize) {
        let mut state = self.shared.state();
        while state.asked.len() < count {
            let patience = std::time::Duration::from_secs(180);
            let (next, timeout) = self.shared.changed.wait_timeout(state, patience).expect("whole");
            assert!(!timeout.timed_out(), "asked {} times, not {count}", next.asked.len());
            state = next;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers on one connection for as long as questions come.
    fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(asked) = read(&mut stream) {
            let answer = self.note(asked);
            let Some(bytes) = said(&self.unless_it_hangs(answer)) else { return };
            if stream.get_mut().write_all(&bytes).is_err() {
                return;
            }
        }
    }

    fn note(&self, asked: Asked) -> Answer {
        let mut state = self.state();
        state.asked.push(asked);
        self.changed.notify_all();
        if let Some(look) = &state.look {
            look(state.asked.len());
        }
        match state.before.is_empty() {
            true => state.answer.clone(),
            false => state.before.remove(0),
        }
    }

    fn unless_it_hangs(&self, answer: Answer) -> Answer {
        if answer != Answer::Hang {
            return answer;
        }
        let hangs = |state: &mut State| state.answer == Answer::Hang;
        let state = self.changed.wait_while(self.state(), hangs);
        state.unwrap_or_else(PoisonError::into_inner).answer.clone()
    }
}

/// What is said; nothing when the connection ends.
fn said(answer: &Answer) -> Option<Vec<u8>> {
    let json = "application/json";
    let (status, kind, body, wait) = match answer {
        Answer::Text(text) => (200, json, completion(text).to_string(), None),
        Answer::Json(value) => (200, json, value.to_string(), None),
        Answer::Closed | Answer::Hang => return None,
        Answer::Status(status, wait) => (*status, json, json!({ "error": {} }).to_string(), *wait),
        Answer::Garbage => (200, "text/html", "<html>welcome</html>".to_owned(), None),
        Answer::Huge => (200, json, " ".repeat(2 << 20), None),
        Answer::Stream => {
            let piece = json!({ "choices": [{ "index": 0, "delta": { "content": "Take" } }] });
            (200, "text/event-stream", format!("data: {piece}\n\ndata: [DONE]\n\n"), None)
        }
    };
    let wait = wait.map_or_else(String::new, |wait| format!("retry-after: {wait}\r\n"));
    let head = format!(
        "HTTP/1.1 {status} said\r\ncontent-type: {kind}\r\n{wait}content-length: {}\r\n\r\n",
        body.len()
    );
    Some([head.into_bytes(), body.into_bytes()].concat())
}

/// An answer with a text, as servers give it.
pub(crate) fn completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": { "role": "assistant", "content": text, "refusal": null },
        }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
    })
}

/// The next question; none when the other side has gone.
fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).ok().filter(|read| *read > 0)?;
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
    });
    let mut body = vec![0; length?];
    stream.read_exact(&mut body).ok()?;
    Some(Asked { path, head, body: serde_json::from_slice(&body).expect("a question in JSON") })
}
