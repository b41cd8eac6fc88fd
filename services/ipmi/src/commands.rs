//! The commands `ipmi-rs-core` does not have, each as one of its `IpmiCommand`s.

pub mod boot;
pub mod chassis;
pub mod dcmi;
pub mod fru;
pub mod lan;
pub(crate) mod payload;
pub mod sdr;
pub mod sel;
pub mod sensors;
pub(crate) mod text;
pub mod users;

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
pub(crate) use request;

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
pub(crate) use plain_answer;
