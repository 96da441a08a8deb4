//! [`BackOff`]: how long a client waits between two attempts to connect.
//!
//! The delay doubles with each attempt. The wait is a random part of the delay, so that the clients of a server
//! that has failed do not come back all at once. A client that only connects is no success: the delay starts
//! again only after a connection that has lived for as long as the delay. Otherwise a server that accepts and
//! closes at once would be called without a pause.

use std::time::Duration;

use crate::limits::YEAR;

/// The shortest delay. It keeps a client with a delay of zero from a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

/// The delays of one client. Its own thread uses them.
#[derive(Clone, Debug)]
pub(super) struct BackOff {
    first: Duration,
    longest: Duration,
    /// The longest possible wait before the next attempt.
    delay: Duration,
}

impl BackOff {
    pub(super) fn new(first: Duration, longest: Duration) -> BackOff {
        let first = first.clamp(SHORTEST, YEAR);
        BackOff { first, longest: longest.clamp(first, YEAR), delay: first }
    }

    /// Starts again with the first delay if a connection has lived for as long as the current delay. Returns
    /// `false` if it has not.
    pub(super) fn has_lived(&mut self, lived: Duration) -> bool {
        let long = lived >= self.delay;
        if long {
            self.delay = self.first;
        }
        long
    }

    /// Returns how long to wait before the next attempt. `random` is a number from 0 to 1.
    pub(super) fn next_wait(&mut self, random: f64) -> Duration {
        let wait = self.delay.mul_f64(random);
        self.delay = self.delay.saturating_mul(2).min(self.longest);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Returns the longest possible waits.
    fn waits(back_off: &mut BackOff, count: usize) -> Vec<Duration> {
        (0..count).map(|_| back_off.next_wait(1.0)).collect()
    }

    #[test]
    fn the_delay_doubles_up_to_the_longest() {
        let mut back_off = BackOff::new(ms(100), ms(1000));
        assert_eq!(waits(&mut back_off, 6), [ms(100), ms(200), ms(400), ms(800), ms(1000), ms(1000)]);
    }

    #[test]
    fn each_wait_is_a_random_part_of_the_delay_also_the_first() {
        let mut back_off = BackOff::new(ms(100), ms(1000));
        assert_eq!(back_off.next_wait(0.0), Duration::ZERO);
        assert_eq!(back_off.next_wait(0.5), ms(100));
        assert_eq!(back_off.next_wait(0.25), ms(100));
    }

    #[test]
    fn only_a_connection_that_has_lived_for_the_delay_resets_it() {
        let mut back_off = BackOff::new(ms(100), ms(1000));
        // The very first delay has to be lived for, too.
        assert!(!back_off.has_lived(ms(99)));
        assert_eq!(waits(&mut back_off, 3), [ms(100), ms(200), ms(400)]);
        assert!(!back_off.has_lived(ms(799)));
        assert_eq!(back_off.next_wait(1.0), ms(800));
        assert!(back_off.has_lived(ms(1000)));
        assert_eq!(waits(&mut back_off, 2), [ms(100), ms(200)]);
    }

    #[test]
    fn impossible_delays_count_as_the_nearest_possible() {
        assert_eq!(waits(&mut BackOff::new(Duration::ZERO, Duration::ZERO), 3), [ms(1); 3]);
        assert_eq!(waits(&mut BackOff::new(ms(50), ms(20)), 2), [ms(50); 2]);
        assert_eq!(waits(&mut BackOff::new(Duration::MAX, Duration::MAX), 2), [YEAR; 2]);
    }
}
