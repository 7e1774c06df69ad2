//! What acknowledgements, pongs and breaks come to, one by one and at random.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Told = oneshot::Receiver<Result<(), Unpublished>>;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A page of these messages, all of them written.
fn written(window: &mut Window, ids: &[u128], now: Instant) -> Told {
    let (answer, told) = oneshot::channel();
    let page = window.begin(ids.len(), answer);
    ids.iter().for_each(|number| window.write(page, id(*number), now));
    told
}

fn safe(told: &mut Told) -> Option<Result<(), usize>> {
    told.try_recv().ok().map(|said| said.map_err(|unpublished| unpublished.safe))
}

#[test]
fn a_page_is_safe_with_the_acknowledgement_of_its_last_message_in_whatever_order_they_come() {
    let (mut window, now) = (Window::new(true), Instant::now());
    let mut told = written(&mut window, &[1, 2, 3], now);
    for number in [3, 1] {
        assert!(window.acknowledge(id(number), now));
        assert_eq!(safe(&mut told), None);
    }
    assert_eq!(window.unanswered(), 1);
    assert!(!window.acknowledge(id(3), now), "it was acknowledged already");
    assert!(!window.acknowledge(id(9), now), "nobody has sent it");
    assert!(window.acknowledge(id(2), now));
    assert_eq!((safe(&mut told), window.unanswered()), (Some(Ok(())), 0));
    assert!(window.has_taken());
}

#[test]
fn a_pong_makes_safe_what_was_written_before_its_ping_and_nothing_behind_it() {
    let (mut window, now) = (Window::new(false), Instant::now());
    let mut first = written(&mut window, &[1, 2], now);
    let (answer, mut half) = oneshot::channel();
    let page = window.begin(2, answer);
    window.write(page, id(3), now);
    let ping = window.ping(now);
    window.write(page, id(4), now);
    let mut behind = written(&mut window, &[5], now);
    assert!(!window.pong(b"unasked"), "nobody has sent that");
    assert!(window.pong(&ping));
    assert!(!window.pong(&ping), "it was answered already");
    assert_eq!(safe(&mut first), Some(Ok(())));
    assert_eq!((safe(&mut half), safe(&mut behind)), (None, None));
    window.ping(now);
    let last = window.ping(now);
    assert!(window.pong(&last), "a peer may answer the newest alone");
    assert_eq!((safe(&mut half), safe(&mut behind)), (Some(Ok(())), Some(Ok(()))));
    assert!(!window.has_ping());
}

#[test]
fn a_pong_acknowledges_nothing_where_messages_must_be() {
    let (mut window, now) = (Window::new(true), Instant::now());
    let mut told = written(&mut window, &[1], now);
    let ping = window.ping(now);
    assert!(window.pong(&ping));
    assert_eq!((safe(&mut told), window.unanswered()), (None, 1));
    assert!(!window.has_taken());
}

#[test]
fn of_a_connection_that_ends_only_what_was_acknowledged_from_the_first_on_is_safe() {
    let (mut window, now) = (Window::new(true), Instant::now());
    let mut told = written(&mut window, &[1, 2, 3, 4], now);
    for number in [1, 2, 4] {
        window.acknowledge(id(number), now);
    }
    window.fail("gone");
    assert_eq!(safe(&mut told), Some(Err(2)));
    assert_eq!(window.unanswered(), 0);
    let mut window = Window::new(false);
    let mut told = written(&mut window, &[1], now);
    window.ping(now);
    window.fail("gone");
    assert_eq!(safe(&mut told), Some(Err(0)));
}

#[test]
fn a_message_that_two_owners_of_its_lane_have_given_is_acknowledged_for_both() {
    let (mut window, now) = (Window::new(true), Instant::now());
    let mut before = written(&mut window, &[1], now);
    let mut after = written(&mut window, &[1, 2], now);
    window.acknowledge(id(1), now);
    assert_eq!((safe(&mut before), safe(&mut after)), (Some(Ok(())), None));
    window.acknowledge(id(2), now);
    assert_eq!(safe(&mut after), Some(Ok(())));
}

#[test]
fn a_peer_is_late_that_owes_a_pong_or_leaves_its_oldest_message_for_longer_than_its_time() {
    let (patience, begin) = (Duration::from_secs(10), Instant::now());
    let at = |seconds| begin + Duration::from_secs(seconds);
    let mut window = Window::new(true);
    assert_eq!(window.late(at(99), patience), None, "it owes nothing");
    let _told = written(&mut window, &[1, 2, 3], begin);
    assert_eq!(window.late(at(10), patience), None);
    assert_eq!(window.late(at(11), patience), Some(Late::Ack));
    window.acknowledge(id(1), at(9));
    assert_eq!(window.late(at(19), patience), None, "it goes on");
    window.acknowledge(id(3), at(18));
    assert_eq!(window.late(at(20), patience), Some(Late::Ack), "the second is left out");
    let ping = window.ping(at(12));
    window.acknowledge(id(2), at(13));
    assert_eq!(window.late(at(22), patience), None);
    assert_eq!(window.late(at(23), patience), Some(Late::Pong));
    window.pong(&ping);
    assert_eq!(window.late(at(99), patience), None);
}

#[test]
fn a_message_that_is_left_out_is_missed_though_other_lanes_are_acknowledged_all_the_time() {
    let (patience, begin) = (Duration::from_secs(10), Instant::now());
    let at = |seconds| begin + Duration::from_secs(seconds);
    let mut window = Window::new(true);
    let mut theirs = written(&mut window, &[1, 2, 3], begin);
    let mut late = None;
    for second in 0..30 {
        let number = 100 + u128::from(second);
        let mut other = written(&mut window, &[number], at(second));
        if second == 0 {
            window.acknowledge(id(1), at(0));
            window.acknowledge(id(3), at(0));
        }
        window.acknowledge(id(number), at(second));
        assert_eq!(safe(&mut other), Some(Ok(())), "its lane goes on");
        late = late.or_else(|| window.late(at(second), patience).map(|late| (second, late)));
    }
    assert_eq!(late, Some((11, Late::Ack)));
    window.fail("given up");
    assert_eq!(safe(&mut theirs), Some(Err(1)), "the second comes again");
}

/// Lanes of the property, and messages of each.
const LANES: usize = 3;
const MESSAGES: usize = 20;

/// What goes over the wire.
enum Frame {
    Message(usize, usize),
    Ping([u8; 8]),
}

/// A relay of a lane: how far it has come, and the page that it waits for.
#[derive(Default)]
struct Relay {
    cursor: usize,
    page: Option<(usize, Told)>,
}

/// Relays, the wire and the peer at its end.
struct World {
    window: Window,
    require_ack: bool,
    now: Instant,
    relays: [Relay; LANES],
    /// Given and not written yet.
    queue: VecDeque<(PageNumber, usize, usize)>,
    wire: VecDeque<Frame>,
    /// What the peer has read, in order.
    read: Vec<(usize, usize)>,
    unanswered: Vec<Frame>,
}

fn name(lane: usize, number: usize) -> Uuid {
    id((lane * 1_000 + number) as u128)
}

impl World {
    fn new(require_ack: bool) -> Self {
        Self {
            window: Window::new(require_ack),
            require_ack,
            now: Instant::now(),
            relays: Default::default(),
            queue: VecDeque::new(),
            wire: VecDeque::new(),
            read: Vec::new(),
            unanswered: Vec::new(),
        }
    }

    fn give(&mut self, lane: usize, length: usize) {
        let relay = &mut self.relays[lane];
        let upto = (relay.cursor + length).min(MESSAGES);
        if relay.page.is_some() || relay.cursor == upto {
            return;
        }
        let (answer, told) = oneshot::channel();
        let page = self.window.begin(upto - relay.cursor, answer);
        self.queue.extend((relay.cursor..upto).map(|number| (page, lane, number)));
        relay.page = Some((upto, told));
    }

    fn write(&mut self, count: usize) {
        for (page, lane, number) in self.queue.drain(..count.min(self.queue.len())) {
            self.window.write(page, name(lane, number), self.now);
            self.wire.push_back(Frame::Message(lane, number));
        }
    }

    fn ping(&mut self) {
        let ping = self.window.ping(self.now);
        self.wire.push_back(Frame::Ping(ping));
    }

    fn read(&mut self, count: usize) {
        for frame in self.wire.drain(..count.min(self.wire.len())) {
            if let Frame::Message(lane, number) = frame {
                self.read.push((lane, number));
            }
            self.unanswered.push(frame);
        }
    }

    fn answer(&mut self, choice: usize) {
        if self.unanswered.is_empty() {
            return;
        }
        match self.unanswered.swap_remove(choice % self.unanswered.len()) {
            Frame::Message(lane, number) => {
                self.window.acknowledge(name(lane, number), self.now);
            }
            Frame::Ping(ping) => {
                self.window.pong(&ping);
            }
        }
    }

    fn break_off(&mut self) {
        self.window.fail("gone");
        self.window = Window::new(self.require_ack);
        self.queue.clear();
        self.wire.clear();
        self.unanswered.clear();
    }

    /// What relays do with what they are told; nothing may be in front of a cursor that the peer has not read.
    fn settle(&mut self) {
        let read: BTreeSet<(usize, usize)> = self.read.iter().copied().collect();
        for (lane, relay) in self.relays.iter_mut().enumerate() {
            if let Some((upto, told)) = &mut relay.page {
                match safe(told) {
                    Some(Ok(())) => relay.cursor = *upto,
                    Some(Err(safe)) => relay.cursor += safe,
                    None => continue,
                }
                relay.page = None;
            }
            assert!((0..relay.cursor).all(|number| read.contains(&(lane, number))));
        }
    }

    fn is_done(&self) -> bool {
        self.relays.iter().all(|relay| relay.cursor == MESSAGES)
    }
}

proptest! {
    #[test]
    fn whatever_is_acknowledged_or_breaks_off_the_peer_ends_with_the_outbox_in_order(
        require_ack: bool,
        deeds in vec((0..8_u8, 0..64_usize), 0..200),
    ) {
        let mut world = World::new(require_ack);
        for (deed, size) in deeds {
            match deed {
                0 | 1 => world.give(size % LANES, size / LANES),
                2 => world.write(size % 8),
                3 => world.ping(),
                4 => world.read(size % 8),
                5 | 6 => world.answer(size),
                _ => if size % 4 == 0 { world.break_off() },
            }
            world.settle();
        }
        for _ in 0..MESSAGES * 4 {
            (0..LANES).for_each(|lane| world.give(lane, 7));
            world.write(usize::MAX);
            world.ping();
            world.read(usize::MAX);
            while !world.unanswered.is_empty() {
                world.answer(0);
            }
            world.settle();
        }
        prop_assert!(world.is_done());
        for lane in 0..LANES {
            // As a client does it: what is at or below the newest is a repeat.
            let mut newest = 0;
            for (_, number) in world.read.iter().filter(|(its, _)| *its == lane) {
                prop_assert!(*number <= newest, "message {newest} of lane {lane} was passed over");
                newest = newest.max(number + 1);
            }
            prop_assert_eq!(newest, MESSAGES);
        }
    }
}
