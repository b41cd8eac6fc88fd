//! The commands `ipmi-rs-core` does not have, each as one of its `IpmiCommand`s.

pub mod boot;
pub mod chassis;
pub(crate) mod payload;

/// Gives a type its request: network function, command number and data.
macro_rules! request {
    ($type:ty, $netfn:ident, $command:literal, |$value:ident| $data:expr) => {
        impl From<$type> for ipmi_rs_core::connection::Message {
            fn from($value: $type) -> Self {
                Self::new_request(ipmi_rs_core::connection::NetFn::$netfn, $command, $data)
            }
        }
    };
}
use request;

/// Makes a type a command whose answer carries nothing.
macro_rules! plain_answer {
    ($type:ty) => {
        impl ipmi_rs_core::connection::IpmiCommand for $type {
            type Output = ();
            type Error = ipmi_rs_core::connection::NotEnoughData;

            fn parse_success_response(_data: &[u8]) -> Result<(), Self::Error> {
                Ok(())
            }
        }
    };
}
use plain_answer;
