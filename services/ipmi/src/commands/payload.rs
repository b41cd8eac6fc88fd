//! Payloads beside IPMI messages: activating SOL and finding out who has it (sections 24.1 to 24.5).

use ipmi_rs_core::connection::{IpmiCommand, NotEnoughData};

use super::{plain_answer, request};

const SOL: u8 = 1;
/// Encryption and authentication of the payload. The bit for a start with the CTS line held back is clear:
/// nothing is to be configured between activation and the first character.
const PROTECTED: u8 = 0xc0;
/// Bits 3 and 2: alerts over the same serial port are deferred.
const ALERTS_DEFERRED: u8 = 0x04;
/// "Payload already active", by this or another session.
pub(crate) const ALREADY_ACTIVE: u8 = 0x80;

/// Activate Payload for SOL.
pub(crate) struct ActivateSol {
    pub(crate) instance: u8,
    /// Serial alerts wait while the line is active; otherwise they fail.
    pub(crate) alerts_deferred: bool,
}
request!(ActivateSol, App, 0x48, |it| {
    let alerts = if it.alerts_deferred { ALERTS_DEFERRED } else { 0 };
    vec![SOL, it.instance & 0x0f, PROTECTED | alerts, 0, 0, 0]
});

/// What a BMC grants (table 24-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activated {
    /// The largest payload to the BMC, SOL's header included.
    pub(crate) inbound_bytes: u16,
    /// The port at which it wants the payload.
    pub(crate) port: u16,
}

impl IpmiCommand for ActivateSol {
    type Output = Activated;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<Activated, NotEnoughData> {
        let ([_, _, _, _, low, high, _, _, port @ ..], _) =
            data.split_first_chunk::<10>().ok_or(NotEnoughData)?;
        Ok(Activated { inbound_bytes: u16::from_le_bytes([*low, *high]), port: u16::from_le_bytes(*port) })
    }
}

/// Deactivate Payload for SOL.
pub(crate) struct DeactivateSol {
    pub(crate) instance: u8,
}
request!(DeactivateSol, App, 0x49, |it| vec![SOL, it.instance & 0x0f, 0, 0, 0, 0]);
plain_answer!(DeactivateSol);

/// Get Payload Instance Info for SOL: the BMC's id of the session that has it, 0 for none.
pub(crate) struct SolOwner {
    pub(crate) instance: u8,
}
request!(SolOwner, App, 0x4b, |it| vec![SOL, it.instance & 0x0f]);

impl IpmiCommand for SolOwner {
    type Output = u32;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<u32, NotEnoughData> {
        let (id, _) = data.split_first_chunk().ok_or(NotEnoughData)?;
        Ok(u32::from_le_bytes(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activation_tells_size_and_port() {
        let data = [0, 0, 0, 0, 0x00, 0x01, 0x00, 0x01, 0x6f, 0x02, 0xff, 0xff];
        let expected = Activated { inbound_bytes: 256, port: 623 };
        assert_eq!(ActivateSol::parse_success_response(&data), Ok(expected));
        assert_eq!(ActivateSol::parse_success_response(&data[..9]), Err(NotEnoughData));
    }
}
