//! What IPMI tells where there is no Redfish: the BMC's own card, and the inventory of the board.

use ipmi::{Error, Pool, Session, SessionOptions, Target};

use crate::client::{Bmc, Protocol, System};
use crate::model::tidy;

/// Logs in and reads; what a BMC lacks is left out.
pub(super) async fn ask(pool: &Pool, target: &Target, options: SessionOptions) -> Result<Bmc, Error> {
    let session = Session::open_on(pool, target, options).await?;
    let mut bmc = Bmc { speaks: Some(Protocol::Ipmi), ..Bmc::default() };
    match session.lan_settings().await {
        Ok(settings) if settings.mac != [0; 6] => bmc.mac = Some(domain::MacAddr::new(settings.mac)),
        Ok(_) => {}
        Err(error) => tracing::debug!("{} does not tell its MAC address: {error}", target.address),
    }
    let mut system = System::default();
    match session.fru(0).await {
        Ok(fru) => {
            let product = fru.product.unwrap_or_default();
            let board = fru.board.unwrap_or_default();
            let of = |one: &str, other: &str| tidy(if one.trim().is_empty() { other } else { one });
            system.maker = of(&product.maker, &board.maker);
            system.model = of(&product.name, &board.name);
            let chassis = fru.chassis.unwrap_or_default();
            system.serial = of(&of(&product.serial, &chassis.serial), &board.serial);
        }
        Err(error) => tracing::debug!("{} does not tell its inventory: {error}", target.address),
    }
    match session.chassis_status().await {
        Ok(status) => system.power = if status.power_on { "On" } else { "Off" }.to_owned(),
        Err(error) => tracing::debug!("{} does not tell its power: {error}", target.address),
    }
    bmc.maker.clone_from(&system.maker);
    bmc.systems.push(system);
    if let Err(error) = session.close().await {
        tracing::debug!("{} did not confirm the end of the session: {error}", target.address);
    }
    Ok(bmc)
}
