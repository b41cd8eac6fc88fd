//! Whether a caller may: polkit decides, about the bus name, never about a pid (pids are used again).

use std::collections::HashMap;

use nix::unistd::{Uid, User};
use zbus::message::{Flags, Header};
use zbus::names::UniqueName;
use zbus::{Connection, Variant, fdo, proxy};

use crate::log::audit;

/// Start, stop and restart services.
pub(crate) const MANAGE_SERVICES: &str = "org.pilothouse.supervisor1.manage-services";
/// Change the configuration.
pub(crate) const CONFIGURE: &str = "org.pilothouse.supervisor1.configure";

/// polkit may ask a person for a password.
const ALLOW_USER_INTERACTION: u32 = 1;

#[proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    #[zbus(name = "CheckAuthorization")]
    fn check_authorization(
        &self,
        subject: &(&str, HashMap<&str, Variant<'_>>),
        action_id: &str,
        details: &HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<(bool, bool, HashMap<String, String>)>;
}

/// Refuses a call unless polkit allows the action to whoever sent it.
///
/// # Errors
///
/// `AccessDenied`, also when polkit does not answer.
pub(crate) async fn require(
    connection: &Connection,
    header: &Header<'_>,
    action: &str,
    details: &HashMap<&str, &str>,
) -> fdo::Result<()> {
    let sender = sender(header)?;
    let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(sender.as_str()))]));
    let ask = async {
        let authority = AuthorityProxy::new(connection).await?;
        let flags = if interactive { ALLOW_USER_INTERACTION } else { 0 };
        authority.check_authorization(&subject, action, details, flags, "").await
    };
    let asked = ask.await;
    let result = if matches!(asked, Ok((true, ..))) { "ok" } else { "refused" };
    let who = uid_of(connection, header).await.map_or_else(|_| "unknown".to_owned(), account);
    audit!(who, result; "{}", shown(action, details));
    match asked {
        Ok((true, ..)) => Ok(()),
        Ok(_) => {
            Err(fdo::Error::AccessDenied(format!("{action} is not allowed to you; ask an administrator")))
        }
        Err(error) => {
            Err(fdo::Error::AccessDenied(format!("polkit cannot be asked about {action}: {error}")))
        }
    }
}

/// The uid of whoever sent a call, as the bus knows it.
///
/// # Errors
///
/// If the caller is gone.
pub(crate) async fn uid_of(connection: &Connection, header: &Header<'_>) -> fdo::Result<u32> {
    let bus = fdo::DBusProxy::new(connection).await?;
    bus.get_connection_unix_user(sender(header)?.clone().into()).await
}

/// `alice (uid:1000)`
fn account(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("uid:{uid}"), |it| format!("{} (uid:{uid})", it.name))
}

/// The action's last word, and what it is about: `manage-services service=dhcp verb=restart`.
fn shown(action: &str, details: &HashMap<&str, &str>) -> String {
    let word = action.rsplit('.').next().unwrap_or(action);
    let mut parts: Vec<String> = details.iter().map(|(name, value)| format!("{name}={value}")).collect();
    parts.sort_unstable();
    parts.insert(0, word.to_owned());
    parts.join(" ")
}

fn sender<'a>(header: &'a Header<'_>) -> fdo::Result<&'a UniqueName<'a>> {
    header.sender().ok_or_else(|| fdo::Error::AccessDenied("the call has no sender".to_owned()))
}
