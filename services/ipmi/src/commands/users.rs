//! Accounts (sections 22.26 to 22.30).

use ipmi_rs_core::app::auth::PrivilegeLevel;
use ipmi_rs_core::connection::{IpmiCommand, Message, NetFn, NotEnoughData};
use zeroize::Zeroizing;

use super::{plain_answer, request};
use crate::target::{KEY_BYTES_MAX, USER_BYTES_MAX};
use crate::{Error, Repeat, Session};

/// The channel that a request comes by.
const THIS_CHANNEL: u8 = 0x0e;
/// Ids have six bits; 0 is reserved, 1 is the user without a name.
const IDS: u8 = 0x3f;
/// The longer field for a password, which came with IPMI 2.0.
const LONG: u8 = 0x80;
const SHORT_BYTES: usize = 16;
const NAME: &str = "get user name";
const PASSWORD: &str = "set user password";
/// "Password test failed": of the right size, and of another size than the one stored.
const WRONG_PASSWORD: [u8; 2] = [0x80, 0x81];

/// An account on a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number; 1 is the user without a name.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// What it may do on this channel, if it may do anything. Numbers of [`PrivilegeLevel`].
    pub privilege: Option<u8>,
    /// Whether it may send messages, rather than only open sessions.
    pub messaging: bool,
    /// Whether it is enabled, if the BMC tells.
    pub enabled: Option<bool>,
}

impl Session {
    /// Lists the accounts that have a name.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        let (mut users, mut id, mut count) = (Vec::new(), 1, 1);
        while id <= count {
            let access = self.ask("get user access", GetAccess(id), Repeat::WhenSilent).await?;
            count = access.count.min(IDS);
            let name = match self.ask(NAME, GetName(id), Repeat::WhenSilent).await {
                Err(Error::Completion { .. }) => String::new(), // A number that nobody has.
                other => other?,
            };
            if !name.is_empty() {
                let Access { privilege, messaging, enabled, .. } = access;
                users.push(User { id, name, privilege, messaging, enabled });
            }
            id += 1;
        }
        Ok(users)
    }

    /// Names an account.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; [`Error::Invalid`] for a name longer than 16 bytes.
    pub async fn set_user_name(&self, id: u8, name: &str) -> Result<(), Error> {
        if name.len() > USER_BYTES_MAX {
            return Err(Error::Invalid { reason: "the user name is longer than 16 bytes" });
        }
        self.ask("set user name", SetName { id, name: name.to_owned() }, Repeat::WhenSilent).await
    }

    /// Gives an account another password. The session stays as it is, also if it is this account's.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`]; [`Error::Invalid`] for a password longer than 20 bytes.
    pub async fn set_user_password(&self, id: u8, password: &str) -> Result<(), Error> {
        self.password(id, Operation::Set, password).await
    }

    /// Whether this is the account's password. Not every BMC can tell.
    ///
    /// # Errors
    ///
    /// As for [`Self::set_user_password`].
    pub async fn test_user_password(&self, id: u8, password: &str) -> Result<bool, Error> {
        match self.password(id, Operation::Test, password).await {
            Ok(()) => Ok(true),
            Err(error) if error.completion().is_some_and(|it| WRONG_PASSWORD.contains(&it)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Enables or disables an account.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn set_user_enabled(&self, id: u8, enabled: bool) -> Result<(), Error> {
        self.password(id, if enabled { Operation::Enable } else { Operation::Disable }, "").await
    }

    /// Sets what an account may do on the channel that the session runs over, and lets it send messages
    /// there.
    ///
    /// # Errors
    ///
    /// As for [`Session::request`].
    pub async fn set_user_privilege(&self, id: u8, privilege: PrivilegeLevel) -> Result<(), Error> {
        self.ask("set user access", SetAccess { id, privilege: privilege.into() }, Repeat::WhenSilent).await
    }

    async fn password(&self, id: u8, operation: Operation, password: &str) -> Result<(), Error> {
        if password.len() > KEY_BYTES_MAX {
            return Err(Error::Invalid { reason: "the password is longer than 20 bytes" });
        }
        let password = Zeroizing::new(password.to_owned());
        self.ask(PASSWORD, SetPassword { id, operation, password }, Repeat::WhenSilent).await
    }
}

struct GetAccess(u8);
request!(GetAccess, App, 0x44, |it| vec![THIS_CHANNEL, it.0 & IDS]);

#[derive(Debug, PartialEq, Eq)]
struct Access {
    /// How many accounts there can be.
    count: u8,
    privilege: Option<u8>,
    messaging: bool,
    enabled: Option<bool>,
}

impl IpmiCommand for GetAccess {
    type Output = Access;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<Access, NotEnoughData> {
        let ([count, enabled, _fixed, access], _) = data.split_first_chunk().ok_or(NotEnoughData)?;
        let privilege = access & 0x0f;
        Ok(Access {
            count: count & IDS,
            privilege: (1..=5).contains(&privilege).then_some(privilege),
            messaging: access & 0x10 != 0,
            enabled: match enabled >> 6 {
                1 => Some(true),
                2 => Some(false),
                _ => None,
            },
        })
    }
}

struct GetName(u8);
request!(GetName, App, 0x46, |it| vec![it.0 & IDS]);

impl IpmiCommand for GetName {
    type Output = String;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<String, NotEnoughData> {
        let name = data.iter().take(USER_BYTES_MAX).take_while(|byte| **byte != 0);
        let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
        Ok(name.map(shown).collect())
    }
}

struct SetName {
    id: u8,
    name: String,
}
request!(SetName, App, 0x45, |it| {
    let mut data = [&[it.id & IDS], it.name.as_bytes()].concat();
    data.resize(1 + USER_BYTES_MAX, 0);
    data
});
plain_answer!(SetName);

struct SetAccess {
    id: u8,
    privilege: u8,
}
// Bit 7: change what follows. Messages are allowed; link authentication and call-back belong to other
// channels.
request!(SetAccess, App, 0x43, |it| vec![0x90 | THIS_CHANNEL, it.id & IDS, it.privilege & 0x0f]);
plain_answer!(SetAccess);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Disable,
    Enable,
    Set,
    Test,
}

struct SetPassword {
    id: u8,
    operation: Operation,
    password: Zeroizing<String>,
}
plain_answer!(SetPassword);

impl From<SetPassword> for Message {
    fn from(it: SetPassword) -> Self {
        let code = match it.operation {
            Operation::Disable => 0,
            Operation::Enable => 1,
            Operation::Set => 2,
            Operation::Test => 3,
        };
        let long = it.password.len() > SHORT_BYTES;
        let mut data = vec![it.id & IDS | if long { LONG } else { 0 }, code];
        if matches!(it.operation, Operation::Set | Operation::Test) {
            data.extend(it.password.as_bytes());
            data.resize(2 + if long { KEY_BYTES_MAX } else { SHORT_BYTES }, 0);
        }
        Self::new_request(NetFn::App, 0x47, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(operation: Operation, text: &str) -> Vec<u8> {
        let password = Zeroizing::new(text.to_owned());
        Message::from(SetPassword { id: 2, operation, password }).data().to_vec()
    }

    #[test]
    fn a_password_has_the_field_that_it_fits_in() {
        assert_eq!(password(Operation::Set, "secret")[..9], [2, 2, b's', b'e', b'c', b'r', b'e', b't', 0]);
        assert_eq!(password(Operation::Set, "sixteen bytes !!").len(), 18);
        let long = password(Operation::Set, "seventeen bytes !");
        assert_eq!((long.len(), long.first()), (22, Some(&0x82)));
        assert_eq!(password(Operation::Disable, ""), [2, 0]);
    }

    #[test]
    fn an_account_is_read() {
        let access = GetAccess::parse_success_response(&[10, 0x42, 1, 0x34]);
        let expected = Access { count: 10, privilege: Some(4), messaging: true, enabled: Some(true) };
        assert_eq!(access, Ok(expected));
        let none = GetAccess::parse_success_response(&[10, 0x02, 1, 0x0f]);
        assert_eq!(none.map(|it| (it.privilege, it.enabled)), Ok((None, None)));
        assert_eq!(GetName::parse_success_response(b"oper\0\0\0"), Ok("oper".into()));
        assert_eq!(GetName::parse_success_response(b"\x1b[2J\0"), Ok("?[2J".into()));
    }
}
