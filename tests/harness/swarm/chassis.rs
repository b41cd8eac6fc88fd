//! The simulated node's power: switched with a delay, as machines do.

use std::time::{Duration, Instant};

/// Completion codes (table 5-2).
const OK: u8 = 0x00;
const INVALID_FIELD: u8 = 0xcc;
const WRONG_STATE: u8 = 0xd5;
/// Boot flags: valid, and for more than the next boot (table 28-14).
const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;

/// How long a node takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// From the command until it is on.
    pub on: Duration,
    /// From the command until it is off.
    pub off: Duration,
    /// From the request until the operating system has shut down.
    pub soft: Duration,
}

/// A node's power and what its next boot is told.
#[derive(Debug)]
pub(super) struct Chassis {
    delays: Delays,
    on: bool,
    /// What comes next, and when.
    changes: Vec<(Instant, bool)>,
    pub(super) boot_flags: [u8; 5],
    pub(super) restore_policy: u8,
    identify_until: Option<Instant>,
    /// How often it has begun to boot, and from where the last time.
    pub(super) boots: u32,
    pub(super) booted_from: u8,
}

impl Chassis {
    pub(super) fn new(delays: Delays, on: bool) -> Self {
        Self {
            delays,
            on,
            changes: Vec::new(),
            boot_flags: [0; 5],
            restore_policy: 0,
            identify_until: None,
            boots: 0,
            booted_from: 0,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Switches without a command and without delay.
    pub(super) fn set(&mut self, on: bool) {
        self.changes.clear();
        self.turn(on);
    }

    /// Chassis Control (section 28.3).
    pub(super) fn control(&mut self, operation: u8, now: Instant) -> u8 {
        let Delays { on, off, soft } = self.delays;
        let changes = match operation & 0x0f {
            0 => vec![(now + off, false)],
            1 => vec![(now + on, true)],
            2 | 3 if !self.on => return WRONG_STATE,
            2 => vec![(now + off, false), (now + off + on, true)],
            3 => {
                self.boot();
                return OK;
            }
            5 => vec![(now + soft, false)],
            _ => return INVALID_FIELD,
        };
        self.changes = changes;
        self.settle(now);
        OK
    }

    /// Carries out what is due.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some((at, on)) = self.changes.first().copied()
            && at <= now
        {
            self.changes.remove(0);
            self.turn(on);
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.changes.first().map(|it| it.0)
    }

    /// Chassis Identify (section 28.5).
    pub(super) fn identify(&mut self, data: &[u8], now: Instant) {
        let seconds = data.first().copied().unwrap_or(15);
        let forever = data.get(1).is_some_and(|it| it & 1 != 0);
        let lasts =
            if forever { Duration::from_secs(u64::MAX >> 32) } else { Duration::from_secs(seconds.into()) };
        self.identify_until = Some(now + lasts);
    }

    /// Get Chassis Status (section 28.2), of a node that is said to be on or off.
    pub(super) fn status(&self, on: bool, now: Instant) -> [u8; 3] {
        let lit = self.identify_until.is_some_and(|it| now < it);
        [u8::from(on) | self.restore_policy << 5, 0, 0x40 | u8::from(lit) << 4]
    }

    fn turn(&mut self, on: bool) {
        if on && !self.on {
            self.boot();
        }
        self.on = on;
    }

    fn boot(&mut self) {
        self.boots += 1;
        let flags = self.boot_flags[0];
        self.booted_from = if flags & VALID == 0 { 0 } else { self.boot_flags[1] >> 2 & 0x0f };
        if flags & PERSISTENT == 0 {
            self.boot_flags[0] &= !VALID;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_takes_effect_after_its_delay() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut chassis = Chassis::new(Delays { on: second * 2, off: second, soft: second * 9 }, false);
        assert_eq!(chassis.control(2, now), WRONG_STATE, "a node that is off cannot be cycled");
        assert_eq!((chassis.control(1, now), chassis.is_on()), (OK, false));
        chassis.settle(now + second * 2);
        assert!(chassis.is_on());
        chassis.control(2, now);
        chassis.settle(now + second);
        assert_eq!((chassis.is_on(), chassis.due()), (false, Some(now + second * 3)));
        chassis.settle(now + second * 3);
        assert_eq!((chassis.is_on(), chassis.boots), (true, 2));
    }

    #[test]
    fn a_boot_device_counts_once_unless_it_is_to_stay() {
        let mut chassis = Chassis::new(Delays::default(), true);
        chassis.boot_flags = [VALID, 1 << 2, 0, 0, 0];
        chassis.control(3, Instant::now());
        assert_eq!(chassis.booted_from, 1);
        chassis.control(3, Instant::now());
        assert_eq!(chassis.booted_from, 0);
    }
}
