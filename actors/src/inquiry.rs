//! Questions from outside to a lane that runs: is a user's actor there, and since when? They are answered between two
//! batches, one at a time, and no batch ever waits for whoever asks.

use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Handler, Message};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::capacity::INQUIRIES;
use crate::lane::Lane;
use crate::observe::Observer;
use crate::router::Router;

/// A question about a user, and where the answer goes: `None` says that the user is not in memory.
pub struct Inquiry {
    /// Whom.
    pub user_id: Arc<str>,
    /// Whoever asked may have gone.
    pub answer: oneshot::Sender<Option<Presence>>,
}

/// A user's actor. When a lane answers, between two batches, nothing waits for any user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// How long it has been there.
    pub age: Duration,
}

/// Is this user there?
#[derive(Message)]
#[rtype(result = "Option<Presence>")]
struct Whereabouts(Arc<str>);

impl Handler<Whereabouts> for Router {
    type Result = Option<Presence>;

    fn handle(&mut self, asked: Whereabouts, _: &mut Self::Context) -> Self::Result {
        self.residents()?.presence(&asked.0)
    }
}

/// Tells who watches a lane that it may be asked, and answers until `stop`.
pub(crate) fn open(
    lane: Lane,
    observer: &dyn Observer,
    router: &Addr<Router>,
    stop: &CancellationToken,
) {
    let (door, asked) = mpsc::channel(INQUIRIES);
    observer.may_be_asked(lane, door);
    actix::spawn(answer(asked, router.clone(), stop.clone()));
}

async fn answer(mut asked: mpsc::Receiver<Inquiry>, router: Addr<Router>, stop: CancellationToken) {
    loop {
        let inquiry = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            inquiry = asked.recv() => inquiry,
        };
        let Some(Inquiry { user_id, answer }) = inquiry else { return };
        let presence = router.send(Whereabouts(user_id)).await.ok().flatten();
        let _gone = answer.send(presence);
    }
}
