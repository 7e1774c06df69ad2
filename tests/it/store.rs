//! The contract of the store, the same facts on SQLite and on PostgreSQL. Never a fact about how it is
//! done.

mod audit;
mod bases;
mod batches;
mod chains;
mod claims;
mod coach;
mod commands;
mod commits;
mod erasures;
mod expansions;
mod failures;
mod generations;
mod looks;
mod places;
mod queries;
mod reads;
mod schemas;
mod snapshots;
mod sockets;

/// Each fact as a test on each database; a fact takes a [`places::Place`].
macro_rules! facts {
    ($($fact:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                crate::store::meet_defect();
                super::$fact(crate::store::places::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                crate::store::meet_defect();
                if let Some(place) = crate::store::places::postgres().await {
                    super::$fact(place).await;
                }
            })+
        }
    };
}
pub(crate) use facts;

/// A process that is told to has a deliberate defect.
pub(crate) fn meet_defect() {
    #[cfg(feature = "defects")]
    if let Ok(name) = std::env::var("BRIDGE_DEFECT") {
        actors::defect::Defect::named(&name).expect("there is such a defect").switch_everywhere();
    }
}

/// Defects of the store that no simulation has, each with the fact that must notice it.
#[cfg(feature = "defects")]
#[test]
fn each_deliberate_defect_of_the_store_is_noticed() {
    const FACTS: [(&str, &str); 4] = [
        (
            "ClaimWithoutWaiting",
            "claims::a_cursor_waits_for_no_batch_and_a_claim_waits_for_a_cursor",
        ),
        ("TokenOfTheEpoch", "claims::sqlite::an_owner_from_before_a_restored_backup_is_fenced"),
        ("CursorUnfenced", "claims::sqlite::a_cursor_moves_up_and_only_for_the_owner"),
        ("PositionsUncompared", "failures::postgres::a_stale_batch_is_out_of_step"),
    ];
    let holds = |fact: &str, defect: Option<&str>| {
        let program = std::env::current_exe().expect("it runs");
        let mut process = std::process::Command::new(program);
        process.args(["--exact", &format!("store::{fact}")]);
        process.envs(defect.map(|defect| ("BRIDGE_DEFECT", defect)));
        let output = process.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("running 1 test\n"), "{fact}: {said}");
        output.status.success()
    };
    for (defect, fact) in FACTS {
        assert!(holds(fact, None), "{fact} does not hold without {defect}");
        assert!(!holds(fact, Some(defect)), "{fact} does not notice {defect}");
    }
}
