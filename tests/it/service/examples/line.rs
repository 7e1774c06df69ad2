//! A line between a program and the bridge, which can be cut in the middle of whatever is said, and which can keep
//! a question back.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a question that is kept back looks whether it may go on.
const LOOK: Duration = Duration::from_millis(20);

/// A line; ends when it is dropped.
pub(super) struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    bridge: SocketAddr,
    /// How many bytes of the bridge's the next connections let through before they are cut.
    limits: Mutex<VecDeque<usize>>,
    cuts: AtomicUsize,
    keeps_back: AtomicBool,
    kept_back: AtomicUsize,
    is_over: AtomicBool,
}

impl Line {
    pub(super) fn to(bridge: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            bridge,
            limits: Mutex::default(),
            cuts: AtomicUsize::new(0),
            keeps_back: AtomicBool::new(false),
            kept_back: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if ours.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let ours = Arc::clone(&ours);
                thread::spawn(move || ours.carry(near));
            }
        });
        Self { address, shared }
    }

    /// Where a program finds the bridge behind it.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next connections are cut after so many bytes, each after its own.
    pub(super) fn cut_after(&self, limits: impl IntoIterator<Item = usize>) {
        self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner).extend(limits);
    }

    /// How many connections were cut.
    pub(super) fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Whether questions to the API are kept back from now on.
    pub(super) fn keep_back(&self, keeps: bool) {
        self.shared.keeps_back.store(keeps, Ordering::SeqCst);
    }

    /// How many were.
    pub(super) fn kept_back(&self) -> usize {
        self.shared.kept_back.load(Ordering::SeqCst)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // The listener looks once more, and ends.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    fn carry(&self, near: TcpStream) {
        let Ok(far) = TcpStream::connect(self.bridge) else { return };
        let next = self.limits.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        thread::scope(|scope| {
            scope.spawn(|| self.ask(&near, &far));
            self.answer(&near, &far, next);
        });
    }

    fn ask(&self, mut near: &TcpStream, mut far: &TcpStream) {
        let mut bytes = [0; 4_096];
        while let Ok(length @ 1..) = near.read(&mut bytes) {
            let is_question = bytes.starts_with(b"GET /api/");
            if is_question && self.keeps_back.load(Ordering::SeqCst) {
                self.kept_back.fetch_add(1, Ordering::SeqCst);
                while self.keeps_back.load(Ordering::SeqCst) && !self.is_over.load(Ordering::SeqCst)
                {
                    thread::sleep(LOOK);
                }
            }
            if far.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        hang_up(near, far);
    }

    fn answer(&self, mut near: &TcpStream, mut far: &TcpStream, limit: Option<usize>) {
        let mut left = limit.unwrap_or(usize::MAX);
        let mut bytes = [0; 4_096];
        while let Ok(length @ 1..) = far.read(&mut bytes) {
            let passed = length.min(left);
            left -= passed;
            if near.write_all(&bytes[..passed]).is_err() {
                break;
            }
            if left == 0 {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
        hang_up(near, far);
    }
}

fn hang_up(near: &TcpStream, far: &TcpStream) {
    for stream in [near, far] {
        stream.shutdown(Shutdown::Both).ok();
    }
}
