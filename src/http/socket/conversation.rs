//! One socket from its opening to its end: reads what the client asks, sends what waits, sees that it lives. It
//! opens nothing that is stored, and its end always has a code.

use std::future::Future;
use std::time::Duration;

use actix_web::web::Data;
use actix_ws::{
    AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Closed, MessageStream,
    Session,
};
use neuros::time::Timestamp;
use tokio::time::{Instant, MissedTickBehavior};

use super::allowance::Allowance;
use super::request;
use crate::http::Desk;
use crate::http::authentication::Identity;
use crate::http::reader::{Cut, Ending, Subscription, Text, Unfollowed};

/// How often it is looked at whether a client is still there and known, at least. A ping goes out at a look.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a client may take to read why it is closed, and to answer. One that does not keep up has as long as it may
/// be silent: it has much to read before that.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// The end of a token is looked for by the system's clock, which may be set meanwhile: so often at least.
const CLOCK_MAX: Duration = Duration::from_secs(60);
/// Bytes of a message of a client, at most: a thousand users have names of 255 bytes.
const MESSAGE_BYTES_MAX: usize = 512 << 10;
/// The same of one of whom nobody knows who it is: there is nothing to say but that it closes.
const STRANGER_BYTES_MAX: usize = 4 << 10;

/// How a socket ends.
pub(super) enum Ended {
    /// The client has gone, or has said so.
    Gone,
    /// Nobody knows who it is, and why.
    Unknown(String),
    /// Its token ends.
    Expired,
    /// It may not see whom it asks for.
    Forbidden,
    /// It is not understood.
    Bad(String),
    /// It does not read what is sent.
    Slow,
    /// Nothing was heard of it.
    Silent,
    /// What is stored cannot be shown.
    Broken,
    /// It should try again.
    Later(&'static str),
    /// This process ends, and others go on.
    Restart,
    /// This process ends, and nobody knows of another.
    Away,
}

impl Ended {
    /// The code, and why.
    fn reason(&self) -> (u16, &str) {
        match self {
            Self::Gone => (1000, ""),
            Self::Unknown(said) => (4001, said),
            Self::Expired => (4001, "the token has expired, or was withdrawn"),
            Self::Forbidden => (4003, "you may not see one of these users"),
            Self::Slow => (4008, "you do not keep up; come again with `after`"),
            Self::Bad(said) => (4009, said),
            Self::Silent => (1008, "nothing was heard of you for too long"),
            Self::Broken => (1011, "what is stored cannot be opened"),
            Self::Later(said) => (1013, said),
            Self::Restart => (1012, "the service is restarted; come again with `after`"),
            Self::Away => (1001, "the service goes away; come again later with `after`"),
        }
    }
}

impl From<Cut> for Ended {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Slow => Self::Slow,
            Cut::CursorGone => Self::Bad(
                "`after` is older than what is kept, or of elsewhere; subscribe with a snapshot"
                    .to_owned(),
            ),
            Cut::Broken => Self::Broken,
            Cut::Again => Self::Later("come again with `after`"),
            Cut::Busy => Self::Later("too many wait to read; come again later with `after`"),
            Cut::NotLogged => Self::Later("it cannot be written down who follows"),
        }
    }
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Restart => Self::Restart,
            Ending::Away => Self::Away,
        }
    }
}

/// A socket that is open.
pub(super) struct Conversation {
    desk: Data<Desk>,
    session: Session,
    subscription: Subscription,
    identity: Identity,
}

impl Conversation {
    pub(super) fn new(
        desk: Data<Desk>,
        session: Session,
        subscription: Subscription,
        identity: Identity,
    ) -> Self {
        Self { desk, session, subscription, identity }
    }

    /// Holds it to its end.
    pub(super) async fn run(mut self, stream: MessageStream) {
        let stream = stream.max_frame_size(MESSAGE_BYTES_MAX).aggregate_continuations();
        let mut stream = stream.max_continuation_size(MESSAGE_BYTES_MAX);
        self.desk.watch.socket_opened();
        let ended = self.talk(&mut stream).await;
        let Self { desk, session, subscription, .. } = self;
        // What is written down of its end need not wait for the client.
        drop(subscription);
        close(&desk, session, &mut stream, ended).await;
        desk.watch.socket_closed();
    }

    async fn talk(&mut self, stream: &mut AggregatedMessageStream) -> Ended {
        if let Some(text) = self.subscription.greeting()
            && let Err(ended) =
                self.send(Instant::now() + self.desk.sockets.silence_max, text).await
        {
            return ended;
        }
        let ending = self.desk.archive.ending().clone();
        let expired = expired(self.identity.until());
        tokio::pin!(expired);
        let (look_every, looks_each_ping) = looks(self.desk.sockets.ping_every);
        let mut heard = Instant::now();
        let mut look = tokio::time::interval_at(heard + look_every, look_every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = 0;
        let mut allowance = Allowance::new(heard);
        let subscriber = std::sync::Arc::clone(self.subscription.subscriber());
        loop {
            tokio::select! {
                // Whether somebody is still known comes before all that they could be sent.
                biased;
                () = ending.cancelled() => return self.desk.archive.how_it_ends().into(),
                () = &mut expired => return Ended::Expired,
                _ = look.tick() => {
                    looked = (looked + 1) % looks_each_ping;
                    if let Err(ended) = self.look(heard, looked == 0).await {
                        return ended;
                    }
                }
                message = stream.recv() => {
                    heard = Instant::now();
                    let message = match message {
                        Some(Ok(message)) => message,
                        Some(Err(_)) => return Ended::Bad("a frame is broken or too long".to_owned()),
                        None => return Ended::Gone,
                    };
                    if !allowance.takes(heard) {
                        return Ended::Later("too many messages; come again later");
                    }
                    // Apart, for it is seldom and large: while nothing is said a socket holds no place for it.
                    if let Err(ended) = Box::pin(self.hear(message)).await {
                        return ended;
                    }
                }
                next = subscriber.next() => {
                    let (by, text) = match next {
                        Ok(next) => next,
                        Err(cut) => return cut.into(),
                    };
                    let sent = tokio::select! {
                        biased;
                        () = &mut expired => Err(Ended::Expired),
                        sent = self.send(by, text) => sent,
                    };
                    if let Err(ended) = sent {
                        return ended;
                    }
                    allowance.sent();
                }
            }
        }
    }

    /// Looks whether the client is still there, and still known.
    async fn look(&mut self, heard: Instant, pings: bool) -> Result<(), Ended> {
        if !self.desk.authentication.still_knows(&self.identity) {
            return Err(Ended::Expired);
        }
        if heard.elapsed() >= self.desk.sockets.silence_max {
            return Err(Ended::Silent);
        }
        if pings {
            in_time(self.session.ping(b"")).await?;
        }
        Ok(())
    }

    /// Sends something, when the client reads; whoever does not is not waited for.
    async fn send(&mut self, by: Instant, text: Text) -> Result<(), Ended> {
        let subscriber = self.subscription.subscriber();
        let archive = &self.desk.archive;
        let sent = tokio::select! {
            biased;
            sent = self.session.text(text.expose().as_str()) => sent.map_err(|_| Ended::Gone),
            cut = subscriber.is_cut() => Err(cut.into()),
            () = archive.ending().cancelled() => Err(archive.how_it_ends().into()),
            () = tokio::time::sleep_until(by) => Err(Ended::Slow),
        };
        if sent.is_ok() {
            self.desk.watch.socket_sent();
        }
        sent
    }

    async fn hear(&mut self, message: AggregatedMessage) -> Result<(), Ended> {
        match message {
            AggregatedMessage::Text(text) => self.obey(&text).await,
            AggregatedMessage::Binary(_) => Err(Ended::Bad("messages are JSON texts".to_owned())),
            AggregatedMessage::Ping(bytes) => in_time(self.session.pong(&bytes)).await,
            AggregatedMessage::Pong(_) => Ok(()),
            AggregatedMessage::Close(_) => Err(Ended::Gone),
        }
    }

    async fn obey(&self, text: &str) -> Result<(), Ended> {
        let wanted = request::read(text).map_err(|wrong| Ended::Bad(wrong.to_owned()))?;
        let Some(wanted) = wanted else { return Ok(()) };
        if self.desk.limits.subject(self.identity.name()).is_err() {
            return Err(Ended::Later("too many requests; come again later"));
        }
        self.subscription.follow(wanted).await.map_err(|unfollowed| match unfollowed {
            Unfollowed::Forbidden => Ended::Forbidden,
            Unfollowed::Wrong(said) => Ended::Bad(said),
        })
    }
}

/// How often it is looked, and with how many looks a ping is due: neither a look too early nor one too late.
fn looks(ping_every: Duration) -> (Duration, u32) {
    let looks = ping_every.as_millis().div_ceil(LOOK_EVERY.as_millis()).max(1);
    let looks = u32::try_from(looks).unwrap_or(u32::MAX);
    (ping_every / looks, looks)
}

/// Sends what is short; a client that reads so slowly that there is no room for it does not keep up.
async fn in_time(sent: impl Future<Output = Result<(), Closed>>) -> Result<(), Ended> {
    match tokio::time::timeout(LOOK_EVERY, sent).await {
        Ok(sent) => sent.map_err(|_| Ended::Gone),
        Err(_) => Err(Ended::Slow),
    }
}

/// Closes a socket of whom nobody knows who it is.
pub(super) async fn refuse(
    desk: Data<Desk>,
    session: Session,
    stream: MessageStream,
    ended: Ended,
) {
    let stream = stream.max_frame_size(STRANGER_BYTES_MAX).aggregate_continuations();
    let mut stream = stream.max_continuation_size(STRANGER_BYTES_MAX);
    close(&desk, session, &mut stream, ended).await;
}

async fn close(desk: &Desk, session: Session, stream: &mut AggregatedMessageStream, ended: Ended) {
    let (code, said) = ended.reason();
    desk.watch.socket_ended(code);
    let reason = CloseReason { code: CloseCode::from(code), description: Some(said.to_owned()) };
    let closing = async {
        // Whoever has gone need not be told.
        if session.close(Some(reason)).await.is_ok() {
            // What comes before the client has read that is of no interest; unread, it would break the connection
            // off.
            while let Some(Ok(message)) = stream.recv().await {
                if matches!(message, AggregatedMessage::Close(_)) {
                    return;
                }
            }
        }
    };
    let is_slow = matches!(ended, Ended::Slow);
    let patience = if is_slow { desk.sockets.silence_max } else { CLOSE_PATIENCE };
    if tokio::time::timeout(patience, closing).await.is_err() {
        tracing::debug!(code, "a client did not answer the close");
    }
}

/// Resolves when somebody's token ends.
async fn expired(until: Option<Timestamp>) {
    let Some(until) = until else { return std::future::pending().await };
    loop {
        let left = until.as_micros() - crate::app::now().as_micros();
        let Ok(left) = u64::try_from(left) else { return };
        tokio::time::sleep(Duration::from_micros(left + 1).min(CLOCK_MAX)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_go_out_as_often_as_the_settings_say_and_clients_are_looked_at_between_them() {
        for (ping_every, wanted) in [
            (20_000, (5_000, 4)),
            (5_000, (5_000, 1)),
            (200, (200, 1)),
            (12_000, (4_000, 3)),
            (60_000, (5_000, 12)),
        ] {
            let (look_every, looks) = looks(Duration::from_millis(ping_every));
            assert_eq!((look_every.as_millis(), looks), wanted, "{ping_every}");
        }
        let (look_every, looks) = looks(Duration::from_millis(17_001));
        let late = Duration::from_millis(17_001) - look_every * looks;
        assert!(look_every < LOOK_EVERY && late < Duration::from_micros(1), "{late:?}");
    }
}
