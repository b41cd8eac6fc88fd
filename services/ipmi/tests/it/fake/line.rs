//! The fake's serial line.

use std::sync::atomic::Ordering::SeqCst;

use ipmi::wire::{PayloadType, SolPacket, SolStatus};

use super::Bmc;

/// What a BMC takes that names another size than it means.
const CHARACTERS_TAKEN: usize = 60;

/// The serial line's two directions.
#[derive(Default)]
pub(super) struct Line {
    pub(super) active: bool,
    number: u8,
    flight: Option<SolPacket>,
    taken: (u8, u8),
    packets: u32,
}

impl Bmc {
    /// Sends what the node has written, or again what was not acknowledged.
    pub(super) async fn write_line(&mut self) {
        if !self.line.active {
            return;
        }
        self.script.repeats.fetch_add(1, SeqCst);
        if self.line.flight.is_none() {
            self.script.repeats.store(0, SeqCst);
            let mut output = self.script.output.lock().unwrap();
            let count = output.len().min(16);
            if count > 0 {
                self.line.number = self.line.number % 15 + 1;
                let data = output.drain(..count).collect();
                self.line.flight =
                    Some(SolPacket { sequence: self.line.number, data, ..SolPacket::default() });
            }
        }
        if let Some(packet) = self.line.flight.clone() {
            self.send_sealed(PayloadType::Sol, &packet.encode()).await;
        }
    }

    pub(super) async fn take_line(&mut self, packet: &SolPacket) {
        let flight = self.line.flight.as_ref().map(|flight| flight.sequence);
        if packet.acknowledges != 0 && flight == Some(packet.acknowledges) {
            self.line.flight = None;
            self.write_line().await;
        }
        if packet.sequence == 0 {
            return;
        }
        self.script.controls_seen.fetch_or(packet.flags.into(), SeqCst);
        if self.script.names_bytes.is_some() && packet.data.len() > CHARACTERS_TAKEN {
            return;
        }
        let mut flags = 0;
        if packet.sequence != self.line.taken.0 {
            self.line.packets += 1;
            let full = self.script.crowded && self.line.packets.is_multiple_of(3);
            let most = if full {
                0
            } else if self.script.crowded {
                5
            } else {
                255
            };
            flags = if full { SolStatus::NACK } else { 0 };
            let taken = &packet.data[..packet.data.len().min(most)];
            self.script.input.lock().unwrap().extend(taken);
            self.line.taken = (packet.sequence, u8::try_from(taken.len()).unwrap());
        }
        let (acknowledges, accepted) = self.line.taken;
        let answer = SolPacket { acknowledges, accepted, flags, ..SolPacket::default() };
        self.send_sealed(PayloadType::Sol, &answer.encode()).await;
    }
}
