//! Tests of a crew: threads lead, stand by and serve one guest each, while messages, calls and stops arrive.
//!
//! A lost message or a lost call leaves a guest that never ends. Then the crew does not end either, and the scheduler
//! reports a deadlock.

use std::sync::Arc;

use shuttle::thread;

use super::channel::{unbounded, Receiver};
use super::guest::Inbox;
use super::poll::break_polls;
use super::thread::Scarcity;
use super::{explore, explore_times, pick, Time};
use crate::crew::{step_aside, CrewGuard};
use crate::threads::pool::Pool;
use crate::threads::MachineThreads;

/// The threads of a machine, with one crew.
struct Ship {
    threads: Arc<MachineThreads>,
    pool: Arc<Pool>,
    /// Each guest has another one. `None` after the stop.
    crew: Option<Arc<CrewGuard>>,
}

impl Ship {
    fn new() -> Ship {
        let threads = MachineThreads::new();
        threads.open().unwrap();
        let pool = Pool::new(Arc::clone(&threads));
        let crew = CrewGuard::start(&pool, None, &Arc::default()).unwrap();
        Ship { threads, pool, crew: Some(Arc::new(crew)) }
    }

    /// Ends the threads as a machine does. Returns a channel that reports their end.
    fn stop(&mut self) -> Receiver<()> {
        let (sender, ended) = unbounded();
        self.threads.close(move || sender.send(()).unwrap());
        self.crew = None;
        self.pool.end_parked();
        ended
    }

    /// Runs `senders` on threads of their own, with one guest for each inbox. Stops when all senders have finished, or
    /// already while they run. Returns how much each guest has heard.
    fn sail(mut self, inboxes: &[Arc<Inbox>], senders: Vec<Sender>, stops_early: bool) -> Vec<usize> {
        let crew = self.crew.as_ref().expect("it has not stopped");
        inboxes.iter().for_each(|inbox| crew.begin(inbox.guest(Arc::clone(crew))));
        let senders: Vec<_> = senders
            .into_iter()
            .map(|sender| {
                let inboxes = inboxes.to_vec();
                thread::spawn(move || sender(&inboxes))
            })
            .collect();
        let early = stops_early.then(|| self.stop());
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let ended = early.unwrap_or_else(|| self.stop());
        ended.recv().expect("every thread ends");
        assert!(self.threads.join().is_empty());
        inboxes.iter().map(|inbox| inbox.check()).collect()
    }
}

type Sender = fn(&[Arc<Inbox>]);

fn two() -> Vec<Arc<Inbox>> {
    vec![Inbox::new(None), Inbox::new(None)]
}

fn send_three_to_first(inboxes: &[Arc<Inbox>]) {
    (0..3).for_each(|_| inboxes[0].send(|| ()));
    inboxes[0].end();
}

fn send_three_to_second(inboxes: &[Arc<Inbox>]) {
    (0..3).for_each(|_| inboxes[1].send(|| ()));
    inboxes[1].end();
}

#[test]
fn messages_that_arrive_at_any_time_reach_their_guests() {
    explore_times(|| {
        let heard = Ship::new().sail(&two(), vec![send_three_to_first, send_three_to_second], false);
        assert_eq!(heard, [3, 3]);
    });
}

/// Two closes at once come before, while or after the guest goes into its place.
#[test]
fn a_close_reaches_a_guest_wherever_it_is() {
    explore_times(|| {
        let close: Sender = |inboxes| inboxes[0].close();
        let send: Sender = |inboxes| inboxes[0].send(|| ());
        let send_and_close: Sender = |inboxes| {
            inboxes[1].send(|| ());
            inboxes[1].wait_for(1);
            inboxes[1].close();
        };
        let heard = Ship::new().sail(&two(), vec![close, close, send, send_and_close], false);
        assert!(heard[0] <= 1);
        assert_eq!(heard[1], 1);
    });
}

/// The callback of the first guest waits for one of the second, after both have heard something.
fn send_one_that_waits(inboxes: &[Arc<Inbox>], before: fn()) {
    inboxes[0].send(|| ());
    inboxes[0].wait_for(1);
    let second = Arc::clone(&inboxes[1]);
    inboxes[0].send(move || {
        before();
        second.wait_for(3);
    });
    inboxes[0].end();
}

/// The standby takes the baton from the thread that waits in a callback.
#[test]
fn a_callback_that_waits_for_another_guest_keeps_no_thread_from_it() {
    explore(Time::Runs, || {
        let wait: Sender = |inboxes| send_one_that_waits(inboxes, || ());
        assert_eq!(Ship::new().sail(&two(), vec![wait, send_three_to_second], false), [2, 3]);
    });
}

/// While all guests are silent, the standby goes to sleep.
#[test]
fn a_standby_that_sleeps_is_woken_when_a_callback_runs() {
    explore(Time::Runs, || {
        let wait: Sender = |inboxes| {
            // Each guest hears the first message on its own thread, and the second one on that of the leader.
            for heard in 1..=2 {
                for inbox in inboxes {
                    inbox.send(|| ());
                    inbox.wait_for(heard);
                }
            }
            (0..pick(128)).for_each(|_| thread::yield_now());
            let second = Arc::clone(&inboxes[1]);
            inboxes[0].send(move || second.wait_for(3));
            inboxes[1].send(|| ());
            inboxes.iter().for_each(|inbox| inbox.end());
        };
        assert_eq!(Ship::new().sail(&two(), vec![wait], false), [3, 3]);
    });
}

/// No deadline passes, so only `step_aside` passes the baton on.
#[test]
fn a_thread_that_steps_aside_keeps_no_thread_from_others() {
    explore_times(|| {
        let wait: Sender = |inboxes| send_one_that_waits(inboxes, step_aside);
        assert_eq!(Ship::new().sail(&two(), vec![wait, send_three_to_second], false), [2, 3]);
    });
}

/// The stop comes while guests are served, while a thread is taken over, and before and after the last guest has ended.
#[test]
fn after_a_stop_every_thread_ends_with_the_last_guest() {
    explore(Time::Runs, || {
        let wait: Sender = |inboxes| send_one_that_waits(inboxes, || ());
        assert_eq!(Ship::new().sail(&two(), vec![wait, send_three_to_second], true), [2, 3]);
    });
    for time in [Time::Stands, Time::Passes] {
        explore(time, || {
            let wait: Sender = |inboxes| send_one_that_waits(inboxes, step_aside);
            let close: Sender = |inboxes| {
                inboxes[1].wait_for(3);
                inboxes[1].close();
            };
            let send: Sender = |inboxes| (0..3).for_each(|_| inboxes[1].send(|| ()));
            assert_eq!(Ship::new().sail(&two(), vec![wait, send, close], true), [2, 3]);
        });
    }
}

/// Some starts of a thread fail, or all after the first. The leader serves the guests that get no thread.
#[test]
fn guests_for_whom_no_thread_can_be_started_are_served() {
    explore_times(|| {
        let ship = Ship::new();
        let _scarcity = Scarcity::begin(1);
        assert_eq!(ship.sail(&two(), vec![send_three_to_first, send_three_to_second], false), [3, 3]);
    });
    explore_times(|| {
        let ship = Ship::new();
        let _scarcity = Scarcity::begin(2);
        let close: Sender = |inboxes| {
            inboxes[1].send(|| ());
            inboxes[1].wait_for(1);
            inboxes[1].close();
        };
        assert_eq!(ship.sail(&two(), vec![send_three_to_first, close], true), [3, 1]);
    });
}

/// Each guest ends at a time that it names when it waits. Timers are set while others pass or are no longer needed.
#[test]
fn a_guest_goes_on_when_its_time_has_come() {
    explore_times(|| {
        let inboxes = vec![Inbox::new(Some(3)), Inbox::new(Some(1)), Inbox::new(Some(0))];
        let three: Sender = |inboxes| (0..3).for_each(|_| inboxes[0].send(|| ()));
        let one: Sender = |inboxes| inboxes[1].send(|| ());
        assert_eq!(Ship::new().sail(&inboxes, vec![three, one], false), [3, 1, 0]);
    });
}

#[test]
fn a_guest_that_cannot_be_watched_keeps_its_thread() {
    explore_times(|| {
        let inboxes = two();
        inboxes[0].refuse();
        let close: Sender = |inboxes| {
            inboxes[0].wait_for(3);
            inboxes[0].close();
        };
        let send: Sender = |inboxes| (0..3).for_each(|_| inboxes[0].send(|| ()));
        assert_eq!(Ship::new().sail(&inboxes, vec![send, close, send_three_to_second], false), [3, 3]);
    });
}

/// The poll fails at any time.
#[test]
fn when_the_poll_fails_every_guest_gets_a_thread() {
    explore_times(|| {
        let senders: Vec<Sender> = vec![send_three_to_first, send_three_to_second, |_| break_polls()];
        assert_eq!(Ship::new().sail(&two(), senders, false), [3, 3]);
    });
}

/// The sender waits for each message to be heard, so the leader hands the guest over to a thread of its own, which gives
/// it up again.
#[test]
fn a_guest_that_alone_sends_gets_a_thread() {
    explore_times(|| {
        let talk: Sender = |inboxes| {
            for heard in 1..7 {
                inboxes[0].send(|| ());
                inboxes[0].wait_for(heard);
            }
            send_three_to_second(inboxes);
            inboxes[0].end();
        };
        assert_eq!(Ship::new().sail(&two(), vec![talk], false), [6, 3]);
    });
}
