//! What sockets ask of the store: what leaves, row by row, and tickets, each of which is taken once.

use std::collections::BTreeMap;

use actors::lane::Lane;
use actors::rows::Sink;
use neuros::time::{Micros, Timestamp};

use super::batches::{Owner, dead_letter, mail};
use super::facts;
use super::places::Place;

facts!(
    what_leaves_is_read_without_holes_and_says_whose_it_is,
    a_ticket_is_taken_once_and_in_time,
    of_many_who_show_one_ticket_one_gets_it,
);

async fn what_leaves_is_read_without_holes_and_says_whose_it_is(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let before = store.heads().await.expect("heads")[&Lane(0)];
    let (ada, bob) = (owner.with_user("ada").await, owner.with_user("bob").await);
    let mut batch = owner.batch();
    mail(&mut batch, Sink::Transitions, ada, 1);
    dead_letter(&mut batch, 7, None);
    mail(&mut batch, Sink::Alerts, bob, 1);
    mail(&mut batch, Sink::Alerts, ada, 2);
    owner.commit(batch).await.expect("it is committed");
    let heads: BTreeMap<Lane, i64> = store.heads().await.expect("heads");
    let head = heads[&Lane(0)];
    let read = async |after, upto, limit| {
        let rows = store.leaving(Lane(0), after, upto, limit).await.expect("rows");
        rows.into_iter()
            .map(|row| (row.number, row.message.map(|it| (it.user_id, it.n, it.body))))
            .collect::<Vec<_>>()
    };
    let whose =
        |user: &str, n: i64| Some((user.to_owned(), n, format!("message {n}").into_bytes()));
    let all = [whose("ada", 1), None, whose("bob", 1), whose("ada", 2)];
    let all: Vec<_> = (head - 3..=head).zip(all).collect();
    assert!(head >= before + 4);
    assert_eq!(read(head - 4, head, 10).await, all);
    assert_eq!(read(head - 3, head - 1, 10).await, all[1..3]);
    assert_eq!(read(head - 4, head, 2).await, all[..2]);
    assert_eq!(read(head, head, 2).await, []);
    assert!(store.leaving(Lane(1), 0, 99, 9).await.expect("rows").is_empty());
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(0) + Micros::from_seconds(second)
}

async fn a_ticket_is_taken_once_and_in_time(place: Place) {
    let store = &place.store;
    let keep = async |digest: u8, end, now| {
        store
            .keep_ticket(&[digest; 32], vec![digest], second(end), second(now))
            .await
            .expect("kept");
    };
    let take = async |digest: u8, now| {
        store.take_ticket(&[digest; 32], second(now)).await.expect("an answer")
    };
    keep(1, 30, 0).await;
    keep(2, 30, 0).await;
    assert_eq!(take(3, 1).await, None);
    assert_eq!(take(1, 29).await, Some(vec![1]));
    assert_eq!(take(1, 29).await, None, "once");
    assert_eq!(take(2, 30).await, None, "not later");
    keep(3, 99, 31).await;
    assert_eq!(place.count("socket_tickets").await, 1, "what is good no more is forgotten");
}

async fn of_many_who_show_one_ticket_one_gets_it(place: Place) {
    let store = &place.store;
    store.keep_ticket(&[1; 32], vec![7], second(30), second(0)).await.expect("kept");
    let takers: Vec<_> = (0..8)
        .map(|_| {
            let store = std::sync::Arc::clone(store);
            tokio::spawn(async move { store.take_ticket(&[1; 32], second(1)).await })
        })
        .collect();
    let mut got = 0;
    for taker in takers {
        got += usize::from(taker.await.expect("it runs").expect("an answer").is_some());
    }
    assert_eq!(got, 1);
}
