//! Whether there is a BMC, without an account.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::session::{Backoff, random};
use crate::wire::{Capabilities, Datagram, decode_pong, encode_ping};
use crate::{Error, Pool, SessionOptions, Target, Workarounds};

const STEP: &str = "ping";

/// Asks whether there is a BMC at the target's address and waits for the answer, for the time it took: by an
/// RMCP ping, or, with the workaround `ipmiping`, by asking for its capabilities. No password is needed or
/// sent.
///
/// # Errors
///
/// No answer within [`SessionOptions::deadline`].
pub async fn ping(pool: &Pool, target: &Target, options: &SessionOptions) -> Result<Duration, Error> {
    pool.start();
    let address = target.address;
    let mut inbox = pool.pick(address)?.listen(address);
    let by_ipmi = target.workarounds.has(Workarounds::IPMI_PING);
    let [tag] = random::<1>()?;
    let tag = tag & 0x7f; // 0xff would ask for no answer.
    let question = if by_ipmi { Capabilities::question(target.privilege) } else { encode_ping(tag) };
    let answers = |datagram: &[u8]| match Datagram::decode(datagram) {
        Ok(Datagram::V15(message)) => by_ipmi && Capabilities::decode(message).is_ok(),
        _ => !by_ipmi && decode_pong(datagram).is_ok_and(|pong| pong == (tag, true)),
    };
    let (start, waited) = (Instant::now(), options.deadline);
    let mut backoff = Backoff::new(options.first_wait, options.longest_wait, options.jitter_percent);
    while start.elapsed() < waited {
        inbox.send(&question).await.map_err(|source| Error::Io { step: STEP, address, source })?;
        let wait = backoff.wait(u16::from_le_bytes(random()?));
        let until = (Instant::now() + wait).min(start + waited);
        while let Ok(datagram) = timeout_at(until, inbox.recv()).await {
            if answers(&datagram) {
                return Ok(start.elapsed());
            }
        }
    }
    Err(Error::Timeout { step: STEP, address, waited })
}
