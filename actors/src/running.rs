//! A lane that runs: what its owner holds of it, and how it ends. It starts nothing.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::batch::End;
use crate::ingest::Ingest;

/// A lane that runs.
pub(crate) struct Running {
    pub(crate) ingest: Addr<Ingest>,
    pub(crate) ends: mpsc::Receiver<End>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) in_flight_max: usize,
    pub(crate) stop_reading: CancellationToken,
    pub(crate) drop_rest: CancellationToken,
}

impl Running {
    /// Waits for an end, or for `stop` and then for what is in flight, but not longer than `drain`.
    pub(crate) async fn wait(mut self, stop: &CancellationToken, drain: Duration) -> End {
        let end = tokio::select! {
            biased;
            end = self.ends.recv() => end,
            () = stop.cancelled() => {
                self.stop_reading.cancel();
                let all = u32::try_from(self.in_flight_max).unwrap_or(u32::MAX);
                tokio::select! {
                    biased;
                    _ = tokio::time::timeout(drain, self.permits.acquire_many(all)) => {}
                    _ = failure(&mut self.ends) => {}
                }
                Some(End::Stopped)
            }
        };
        self.stop_reading.cancel();
        self.drop_rest.cancel();
        self.permits.close();
        drop(self.ingest);
        end.unwrap_or(End::Claim { fenced: false })
    }
}

/// The next end that is not ingest's own, which has been told to stop.
async fn failure(ends: &mut mpsc::Receiver<End>) -> Option<End> {
    loop {
        match ends.recv().await {
            Some(End::Stopped) => {}
            other => return other,
        }
    }
}
