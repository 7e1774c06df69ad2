//! Users find new homes while they are followed: what is told of each stays in order and whole.

use std::time::Duration;

use serde_json::json;

use super::client::{Came, Known, Socket, open, stored};
use super::following::site;
use crate::servers::Bridge;
use crate::service::expand::{MORE, again};
use crate::service::feed::Flow;
use crate::service::http::issuer::SigningKey;
use crate::service::site::{LANES, Site};
use crate::support::stderr;

/// Users whose events come.
const USERS: usize = 60;

/// One who follows by name and one who follows everybody, over any number of sockets.
struct Followers<'f> {
    bridge: &'f Bridge,
    token: String,
    names: Vec<String>,
    by_name: Known,
    by_cursor: Known,
}

impl Followers<'_> {
    /// Both of them, where they were.
    fn come(&mut self) -> [Socket; 2] {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let after = [self.by_name.after(&names), json!(self.by_cursor.cursor)];
        let users = [json!(names), json!("*")];
        let mut places = users.into_iter().zip(after);
        [0, 1].map(|_| {
            let (users, after) = places.next().expect("there are two");
            let mut socket = open(self.bridge, &self.token);
            socket.say(&json!({ "type": "subscribe", "users": users, "after": after }));
            socket
        })
    }

    /// Takes what comes until both are closed, or nothing does for a while; gives the codes.
    fn take(&mut self, sockets: &mut [Socket; 2], patience: Duration) -> Vec<u16> {
        let mut codes = Vec::new();
        for (socket, known) in sockets.iter_mut().zip([&mut self.by_name, &mut self.by_cursor]) {
            loop {
                match socket.next_within(patience) {
                    Came::Message(message) => known.take(message),
                    Came::Closed(code, _) => break codes.push(code),
                    Came::Nothing => break,
                    Came::Broken => panic!("it broke off"),
                }
            }
        }
        codes
    }

    fn take_all(&mut self, site: &Site<'_>, sockets: &mut [Socket; 2]) {
        let all = stored(site);
        for (socket, known) in sockets.iter_mut().zip([&mut self.by_name, &mut self.by_cursor]) {
            while known.messages.len() < all {
                known.take(socket.message());
            }
        }
    }
}

#[test]
fn what_is_told_of_users_stays_in_order_while_they_find_new_homes() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let flow = Flow::default();
    let mut followers = Followers {
        bridge: &bridge,
        token: key.token("ops", "operator"),
        names: (0..USERS).map(|user| format!("user-{user}")).collect(),
        by_name: Known::default(),
        by_cursor: Known { cursor: Some("MQ".to_owned()), ..Known::default() },
    };
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, USERS));
        let ends = flow.ends();
        let mut sockets = followers.come();
        site.wait_more(300);
        let expand = ["topics", "expand", "--partitions", "5", "--metadata-age", "1s"];
        let output = site.output(&expand, "");
        assert!(output.status.success(), "{}", stderr(&output));
        // The process ends, for users have new homes, and says so.
        let codes = followers.take(&mut sockets, Duration::from_secs(40));
        assert_eq!(codes, [1012, 1012]);
        again(&bridge);
        bridge.wait_lanes(MORE);
        let mut sockets = followers.come();
        site.wait_more(300);
        drop(ends);
        sending.join().expect("sending does not panic");
        site.wait_caught_up();
        followers.take_all(&site, &mut sockets);
    });
    let moved = "SELECT count(DISTINCT user_number) FROM event_records
                 WHERE lane >= 3 AND user_number & 16383 < 3 AND number > 1";
    assert!(site.number(moved) > 3, "nobody has moved");
    followers.by_name.equals_store(&site, |_| true);
    followers.by_cursor.equals_store(&site, |_| true);
    assert_eq!(followers.by_cursor.repeated, 0);
    bridge.end();
}
