//! The yardstick of sockets: a process of its own that sends texts to sockets that are open, one text after the other
//! to everybody, and does nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, Utf8Bytes};

/// What is sent, and to how many.
#[derive(Args, Clone, Debug)]
pub struct Broadcast {
    /// A file with a text in each line.
    texts: PathBuf,
    /// So many sockets are waited for.
    sockets: usize,
}

/// Opens as many sockets as come, and sends all texts to all of them whenever it is told so by a byte.
///
/// # Errors
///
/// When a socket breaks.
pub fn run(task: &Broadcast) -> anyhow::Result<()> {
    let texts = std::fs::read_to_string(&task.texts)?;
    let texts: Vec<Utf8Bytes> = texts.lines().map(Utf8Bytes::from).collect();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut sockets = Vec::with_capacity(task.sockets);
    while sockets.len() < task.sockets {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let opened = tungstenite::accept_hdr(stream, speak);
        let mut socket = opened.map_err(|error| anyhow::anyhow!("no handshake: {error}"))?;
        let said = socket.read()?;
        socket.send(said)?;
        sockets.push(socket);
    }
    let mut told = [0];
    while std::io::stdin().read(&mut told)? > 0 {
        for text in &texts {
            for socket in &mut sockets {
                socket.send(Message::Text(text.clone()))?;
            }
        }
    }
    Ok(())
}

/// The client wants to know what is spoken.
#[expect(clippy::result_large_err, reason = "the library has it so")]
fn speak(
    request: &Request,
    mut response: Response,
) -> Result<Response, tungstenite::handshake::server::ErrorResponse> {
    if let Some(spoken) = request.headers().get("sec-websocket-protocol") {
        response.headers_mut().insert("sec-websocket-protocol", spoken.clone());
    }
    Ok(response)
}

/// Such a process.
pub(super) struct Bare {
    child: Child,
    tell: ChildStdin,
    address: String,
}

impl Bare {
    /// Starts one; the texts go through a file.
    pub(super) fn start(file: &Path, texts: &[String], sockets: usize) -> anyhow::Result<Self> {
        std::fs::write(file, texts.join("\n"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("broadcast").arg(file).arg(sockets.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let tell = child.stdin.take().context("no standard input")?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("no standard output")?)
            .read_line(&mut address)?;
        Ok(Self { child, tell, address: address.trim().to_owned() })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Has it send everything to everybody.
    pub(super) fn go(&mut self) -> anyhow::Result<()> {
        Ok(self.tell.write_all(b"\n")?)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
