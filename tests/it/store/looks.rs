//! Whose alerts a lane must look at: written with batches, asked by lane and time, moved with users' homes.

use actors::lane::Lane;
use actors::rows::LookRow;
use actors::store::Store as _;
use neuros::time::{Micros, Timestamp};

use super::batches::Owner;
use super::facts;
use super::places::Place;

facts!(a_look_is_due_once_its_time_has_come_and_the_newest_word_counts);

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_micros(0) + Micros::from_minutes(minute)
}

async fn a_look_is_due_once_its_time_has_come_and_the_newest_word_counts(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let (ada, bob) = (owner.with_user("ada").await, owner.with_user("bob").await);
    let due = async |lane, at| {
        let looks = store.looks(Lane(lane), minute(at), 10).await.expect("an answer");
        looks.into_iter().map(|look| (look.user_id, look.due)).collect::<Vec<_>>()
    };
    let mut batch = owner.batch();
    batch.looks = vec![
        LookRow { user: ada, due: Some(minute(20)) },
        LookRow { user: bob, due: Some(minute(10)) },
    ];
    owner.commit(batch).await.expect("it is committed");
    assert_eq!(due(0, 9).await, []);
    assert_eq!(due(0, 10).await, [("bob".to_owned(), minute(10))]);
    let both = [("bob".to_owned(), minute(10)), ("ada".to_owned(), minute(20))];
    assert_eq!(due(0, 99).await, both, "the longest due first");
    assert_eq!(due(1, 99).await, [], "another lane's are not ours");
    let mut batch = owner.batch();
    batch.looks =
        vec![LookRow { user: ada, due: Some(minute(15)) }, LookRow { user: bob, due: None }];
    owner.commit(batch).await.expect("it is committed");
    assert_eq!(due(0, 99).await, [("ada".to_owned(), minute(15))]);
    let looks = store.looks(Lane(0), minute(99), 10).await.expect("an answer");
    let moved: Vec<_> = looks.iter().map(|look| (look.clone(), Lane(1))).collect();
    store.move_looks(&moved).await.expect("it is moved");
    assert_eq!(due(1, 99).await, [("ada".to_owned(), minute(15))]);
    // A lane that comes late with what it read before changes nothing.
    let mut batch = owner.batch();
    batch.looks = vec![LookRow { user: ada, due: Some(minute(30)) }];
    owner.commit(batch).await.expect("it is committed");
    store.move_looks(&moved).await.expect("nothing is moved");
    assert_eq!(due(0, 99).await, [("ada".to_owned(), minute(30))]);
}
