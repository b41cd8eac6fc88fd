//! What BMCs have seen.

use serde::Serialize;

/// What a BMC has seen since its start, or all of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Packets that came.
    pub packets: u64,
    /// Of these, such as were none of its business: malformed, of no session, seen before, or wrongly signed.
    pub refused_packets: u64,
    /// Sessions that were opened.
    pub sessions: u64,
    /// Handshakes that were refused.
    pub refused_sessions: u64,
    /// Sessions that were closed by their consoles.
    pub closed: u64,
    /// Sessions that have expired.
    pub expired: u64,
    /// Sessions there are now, those in their handshake as well.
    pub open: u64,
    /// How often the state was asked for.
    pub asked: u64,
    /// Commands to switch on.
    pub on: u64,
    /// Commands to switch off.
    pub off: u64,
    /// Commands to switch off and on.
    pub cycle: u64,
    /// Commands to reset.
    pub reset: u64,
    /// Commands to shut down.
    pub soft: u64,
    /// Boots that have begun.
    pub boots: u64,
    /// Nodes that are on now.
    pub are_on: u64,
    /// How often the console was opened.
    pub activations: u64,
    /// How often the console was closed, by whomever.
    pub deactivations: u64,
    /// Consoles that are open now.
    pub consoles: u64,
    /// Lines that the node wrote; the last one has this number.
    pub lines: u64,
    /// Of these, such as came while nobody had the console.
    pub unheard_lines: u64,
    /// Of these, such as went to who had stolen the console.
    pub stolen_lines: u64,
    /// Of these, such as found the BMC's buffer full.
    pub dropped_lines: u64,
    /// Characters that were never acknowledged, however often they were sent.
    pub lost_bytes: u64,
    /// Packets of the console that were sent again.
    pub repeats: u64,
    /// Characters that wait to be sent or acknowledged.
    pub waiting_bytes: u64,
    /// Serial breaks.
    pub breaks: u64,
    /// Characters that were typed and taken.
    pub typed_bytes: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.refused_packets += other.refused_packets;
        self.sessions += other.sessions;
        self.refused_sessions += other.refused_sessions;
        self.closed += other.closed;
        self.expired += other.expired;
        self.open += other.open;
        self.asked += other.asked;
        self.on += other.on;
        self.off += other.off;
        self.cycle += other.cycle;
        self.reset += other.reset;
        self.soft += other.soft;
        self.boots += other.boots;
        self.are_on += other.are_on;
        self.activations += other.activations;
        self.deactivations += other.deactivations;
        self.consoles += other.consoles;
        self.lines += other.lines;
        self.unheard_lines += other.unheard_lines;
        self.stolen_lines += other.stolen_lines;
        self.dropped_lines += other.dropped_lines;
        self.lost_bytes += other.lost_bytes;
        self.repeats += other.repeats;
        self.waiting_bytes += other.waiting_bytes;
        self.breaks += other.breaks;
        self.typed_bytes += other.typed_bytes;
    }
}
