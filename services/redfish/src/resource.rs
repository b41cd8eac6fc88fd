//! A system or chassis as far as power goes, read leniently: makers differ in case, type and what they leave out.

use http::HeaderValue;
use serde_json::Value;

use crate::Error;

/// What a BMC says of a machine's power (schema Resource, PowerState).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// On.
    On,
    /// Off.
    Off,
    /// On its way from off to on.
    PoweringOn,
    /// On its way from on to off.
    PoweringOff,
    /// It does not say, or says something else.
    Unknown,
}

/// Where a boot may come from (schema ComputerSystem, BootSource).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootSource {
    /// The network.
    Pxe,
    /// The disk.
    Disk,
    /// The optical drive.
    Cd,
    /// The firmware's set-up.
    Setup,
}

/// A system or chassis.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its path.
    pub path: String,
    /// Its own name for itself.
    pub id: String,
    /// Its power.
    pub power: PowerState,
    /// Where a reset is asked for; none: it cannot be reset.
    pub reset_target: Option<String>,
    /// The resets it allows; none are said: the usual ones may be tried.
    pub resets: Vec<String>,
    /// The boot sources it allows, likewise.
    pub boot_sources: Vec<String>,
    /// Whether its light is on, as far as it says.
    pub identifying: Option<bool>,
    /// The TCP port on which its serial line is offered over SSH, if it is.
    pub ssh_console_port: Option<u16>,
    pub(crate) has_location_light: bool,
    pub(crate) etag: Option<HeaderValue>,
    pub(crate) action_info: Option<String>,
}

impl PowerState {
    fn read(value: &Value) -> Self {
        match value.as_str().unwrap_or_default().to_ascii_lowercase().as_str() {
            "on" | "paused" => Self::On,
            "off" => Self::Off,
            "poweringon" => Self::PoweringOn,
            "poweringoff" => Self::PoweringOff,
            _ => Self::Unknown,
        }
    }
}

impl BootSource {
    fn words(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Pxe => ("Pxe", &["Pxe", "PXE", "UefiHttp"]),
            Self::Disk => ("Hdd", &["Hdd", "HDD"]),
            Self::Cd => ("Cd", &["Cd", "CD"]),
            Self::Setup => ("BiosSetup", &["BiosSetup", "BIOSSetup"]),
        }
    }

    /// The word for it that this BMC allows.
    pub(crate) fn among(self, allowed: &[String]) -> Result<String, Error> {
        let (usual, words) = self.words();
        if allowed.is_empty() {
            return Ok(usual.to_owned());
        }
        let is_it = |it: &&String| words.contains(&it.as_str());
        let found = allowed.iter().find(|it| *it == usual).or_else(|| allowed.iter().find(is_it));
        found.cloned().ok_or_else(|| Error::Unsupported { wanted: usual, allowed: allowed.to_vec() })
    }
}

impl Resource {
    pub(crate) fn read(path: &str, body: &Value, etag: Option<HeaderValue>) -> Self {
        let actions = body["Actions"].as_object();
        let reset =
            actions.and_then(|it| it.iter().find(|it| it.0.starts_with('#') && it.0.ends_with(".Reset")));
        let named =
            reset.and_then(|it| it.1["target"].as_str()).filter(|it| !it.is_empty()).map(str::to_owned);
        // Where the action is there without its target, it is where the specification puts it.
        let usual = || reset.map(|it| format!("{}/Actions/{}", path.trim_end_matches('/'), &it.0[1..]));
        let boot = &body["Boot"];
        let written = || body["@odata.etag"].as_str().and_then(|it| it.parse().ok());
        let resets = reset.map_or_else(Vec::new, |it| words(&it.1["ResetType@Redfish.AllowableValues"]));
        let info = reset.and_then(|it| it.1["@Redfish.ActionInfo"].as_str()).filter(|_| resets.is_empty());
        Self {
            path: path.to_owned(),
            id: body["Id"].as_str().unwrap_or_default().to_owned(),
            power: PowerState::read(&body["PowerState"]),
            reset_target: named.or_else(usual),
            resets,
            boot_sources: words(&boot["BootSourceOverrideTarget@Redfish.AllowableValues"]),
            identifying: match (&body["LocationIndicatorActive"], body["IndicatorLED"].as_str()) {
                (Value::Bool(it), _) => Some(*it),
                (_, Some("Lit" | "Blinking")) => Some(true),
                (_, Some("Off")) => Some(false),
                _ => None,
            },
            ssh_console_port: number(&body["SerialConsole"]["SSH"]["Port"]),
            has_location_light: body["LocationIndicatorActive"].is_boolean(),
            etag: etag.or_else(written),
            action_info: info.map(str::to_owned),
        }
    }

    /// Takes the resets that an ActionInfo names.
    pub(crate) fn allow_by_info(&mut self, info: &Value) {
        let parameters = info["Parameters"].as_array().into_iter().flatten();
        let of_reset = parameters.filter(|it| it["Name"].as_str() == Some("ResetType"));
        self.resets = of_reset.flat_map(|it| words(&it["AllowableValues"])).collect();
    }

    /// The first of these resets that it allows; where it names none, the first.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if it names its resets and has none of these.
    pub fn choose(&self, wanted: &[&'static str]) -> Result<&'static str, Error> {
        let first = wanted.first().copied().ok_or(Error::Invalid("no reset is asked for"))?;
        if self.resets.is_empty() {
            return Ok(first);
        }
        let allowed = |it: &&&str| self.resets.iter().any(|reset| reset == **it);
        let found = wanted.iter().find(allowed).copied();
        found.ok_or_else(|| Error::Unsupported { wanted: first, allowed: self.resets.clone() })
    }
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A number that some makers write as text.
fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Number(it) => it.as_u64().and_then(|it| it.try_into().ok()),
        Value::String(it) => it.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_makers_leave_out_is_put_up_with() {
        let bare = Resource::read("/redfish/v1/Systems/1/", &json!({"PowerState": "ON"}), None);
        assert_eq!((bare.power, bare.reset_target.as_deref()), (PowerState::On, None));
        let body = json!({"Id": "1", "PowerState": "PoweringOff", "Actions": {"Oem": {}, "#ComputerSystem.Reset": {}},
            "SerialConsole": {"SSH": {"Port": "2200"}}, "IndicatorLED": "Lit"});
        let terse = Resource::read("/redfish/v1/Systems/1/", &body, None);
        assert_eq!(terse.reset_target.unwrap(), "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset");
        assert_eq!((terse.ssh_console_port, terse.identifying), (Some(2200), Some(true)));
        assert_eq!(terse.power, PowerState::PoweringOff);
        for state in [json!(null), json!(1), json!("Perhaps")] {
            let it = Resource::read("/x", &json!({"PowerState": state}), None);
            assert_eq!(it.power, PowerState::Unknown);
        }
    }

    #[test]
    fn a_reset_is_chosen_among_those_allowed() {
        let body = json!({"Actions": {"#ComputerSystem.Reset": {"target": "/reset",
            "ResetType@Redfish.AllowableValues": ["ForceOn", "ForceOff"]}}});
        let it = Resource::read("/x", &body, None);
        assert_eq!(it.choose(&["On", "ForceOn"]).unwrap(), "ForceOn");
        let refused = it.choose(&["GracefulShutdown"]).unwrap_err().to_string();
        assert!(refused.contains("GracefulShutdown") && refused.contains("ForceOn, ForceOff"), "{refused}");
        let silent = Resource::read("/x", &json!({"Actions": {"#ComputerSystem.Reset": {}}}), None);
        assert_eq!(silent.choose(&["On", "ForceOn"]).unwrap(), "On");
    }

    #[test]
    fn boot_sources_have_many_spellings() {
        let allowed = ["None", "PXE", "HDD"].map(str::to_owned);
        assert_eq!(BootSource::Pxe.among(&allowed).unwrap(), "PXE");
        assert_eq!(BootSource::Setup.among(&[]).unwrap(), "BiosSetup");
        assert!(BootSource::Cd.among(&allowed).is_err());
    }
}
