#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

struct Bench {
    line: Line,
    seen: Seen,
    dice: Dice,
    now: Instant,
    storm: bool,
}

impl Bench {
    fn new() -> Self {
        let line = Line::new(1, Retries { count: 1, wait: Duration::from_secs(1) }, 0);
        Self { line, seen: Seen::default(), dice: Dice::new(1), now: Instant::now(), storm: false }
    }

    fn run(&mut self, what: impl FnOnce(&mut Line, &mut Around<'_>)) -> Vec<SolPacket> {
        let (now, storm, mut out) = (self.now, self.storm, Vec::new());
        let (seen, dice) = (&mut self.seen, &mut self.dice);
        what(&mut self.line, &mut Around { now, on: true, storm, seen, dice, out: &mut out });
        out.into_iter().map(|it| it.1).collect()
    }

    fn tick(&mut self, seconds: u64) -> Vec<SolPacket> {
        self.now += Duration::from_secs(seconds);
        self.run(Line::tick)
    }

    fn acknowledge(&mut self, packet: &SolPacket, accepted: u8) -> Vec<SolPacket> {
        let packet = SolPacket { acknowledges: packet.sequence, accepted, ..SolPacket::default() };
        self.run(|line, around| line.receive(&packet, around))
    }
}

#[test]
fn a_packet_is_sent_until_it_is_acknowledged_or_lost() {
    let mut bench = Bench::new();
    bench.line.activate(7);
    bench.line.set_rate(Rate::PerSecond(1.0), 0.0, bench.now);
    let first = bench.tick(0);
    assert_eq!((first.len(), first[0].sequence), (1, 1));
    assert_eq!(bench.tick(1), first, "the second line waits");
    let second = bench.acknowledge(&first[0], 60);
    assert_eq!((second[0].sequence, &second[0].data), (2, &lines::line(1, 2)));
    bench.line.set_rate(Rate::Off, 0.0, bench.now);
    assert_eq!(bench.tick(1), second);
    assert_eq!(bench.tick(1), []);
    assert_eq!((bench.seen.lost_bytes, bench.seen.repeats), (60, 2));
    bench.line.write(b"x", &mut bench.seen);
    assert_eq!(bench.tick(0)[0].flags, SolStatus::OVERRUN);
}

#[test]
fn what_was_not_taken_comes_again_under_a_new_number() {
    let mut bench = Bench::new();
    bench.line.activate(7);
    bench.line.write(b"abcdef", &mut bench.seen);
    let first = bench.tick(0);
    assert_eq!(bench.acknowledge(&first[0], 4), []);
    assert_eq!(bench.line.due(bench.now, true, false), Some(bench.now + Duration::from_secs(1)));
    let again = bench.tick(1);
    assert_eq!((again[0].sequence, again[0].data.as_slice()), (2, &b"ef"[..]));
}

#[test]
fn a_stolen_line_is_told_of_and_given_back() {
    let mut bench = Bench::new();
    bench.line.activate(7);
    bench.line.steal(true);
    assert_eq!(bench.tick(0)[0].flags, SolStatus::DEACTIVATED);
    bench.line.write(b"gone", &mut bench.seen);
    assert_eq!((bench.seen.stolen_lines, bench.line.owner()), (1, Some(THIEF)));
    bench.line.activate(8);
    assert_eq!((bench.tick(0), bench.line.owner()), (vec![], Some(8)));
}

#[test]
fn a_storm_refuses_what_is_typed_until_it_is_over() {
    let mut bench = Bench::new();
    bench.line.activate(7);
    let typed = SolPacket { sequence: 1, data: b"ls\n".to_vec(), ..SolPacket::default() };
    bench.storm = true;
    let refused = bench.run(|line, around| line.receive(&typed, around));
    assert_eq!((refused[0].flags, refused[0].accepted), (SolStatus::NACK, 0));
    assert_eq!(bench.tick(1).last().unwrap().flags, SolStatus::NACK);
    bench.storm = false;
    for _ in 0..2 {
        let taken = bench.run(|line, around| line.receive(&typed, around));
        assert_eq!((taken[0].acknowledges, taken[0].accepted), (1, 3));
    }
    assert_eq!(bench.line.typed(), b"ls\n", "once, though it came twice");
}

#[test]
fn at_full_speed_the_next_packet_follows_each_acknowledgement() {
    let mut bench = Bench::new();
    bench.line.activate(7);
    bench.line.set_rate(Rate::Full, 0.0, bench.now);
    let mut packet = bench.tick(0);
    for _ in 0..20 {
        assert_eq!(packet[0].data.len(), CHARACTERS_MAX);
        packet = bench.acknowledge(&packet[0], CHARACTERS_MAX as u8);
    }
    assert!(bench.seen.lines > 80, "{:?}", bench.seen);
}
