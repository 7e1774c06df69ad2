//! The contract of the store, the same facts on SQLite and on PostgreSQL. Never a fact about how it is
//! done.

mod bases;
mod batches;
mod chains;
mod claims;
mod commands;
mod commits;
mod expansions;
mod failures;
mod generations;
mod places;
mod queries;
mod reads;
mod schemas;
mod snapshots;

/// Each fact as a test on each database; a fact takes a [`places::Place`].
macro_rules! facts {
    ($($fact:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                super::$fact(crate::store::places::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                if let Some(place) = crate::store::places::postgres().await {
                    super::$fact(place).await;
                }
            })+
        }
    };
}
pub(crate) use facts;
