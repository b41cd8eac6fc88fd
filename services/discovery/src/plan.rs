//! A request, read: whom to ask, where they belong, what they are called. Wrong ones are refused before anybody is
//! asked.

use std::net::IpAddr;

use domain::Nid;
use domain::document::is_label;

use crate::client::Request;
use crate::crawl::{HTTPS, RMCP};
use crate::error::Error;
use crate::model::nic::Wanted;
use crate::model::rule::Rule;
use crate::model::target::{self, Target};

/// What a discovery does.
pub(crate) struct Plan {
    pub(crate) request: Request,
    pub(crate) targets: Vec<Target>,
    /// Whether machines that only dhcp knows are asked too.
    pub(crate) has_unknown: bool,
    pub(crate) rule: Option<Rule>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) redfish_port: u16,
    pub(crate) ipmi_port: u16,
    /// What is to be looked at, whatever the BMCs tell.
    pub(crate) warnings: Vec<String>,
}

impl Plan {
    pub(crate) fn read(request: Request) -> Result<Self, Error> {
        let expanded = target::expand(&request.targets).map_err(Error::Targets)?;
        let rule = request.xname.as_deref().map(Rule::parse).transpose()?;
        let named = expanded.list.iter().filter(|it| !it.is_sought).count();
        if let Some(rule) = rule.as_ref().filter(|it| it.count() < named as u64) {
            return Err(Error::Places { rule: rule.text().to_owned(), count: rule.count(), targets: named });
        }
        if let Some(name) = &request.name {
            let is_one = expanded.list.len() == 1;
            if !is_label(&Nid(1).name(name)) || !(name.contains("{nid") || is_one) {
                return Err(Error::Name(short(name)));
            }
        }
        let ips = request.ip.as_deref().map(target::addresses).transpose().map_err(Error::Ip)?;
        for group in request.group.iter().chain(&request.class) {
            let is_word = |it: &str| it.bytes().all(|it| it.is_ascii_alphanumeric() || b"_.:-".contains(&it));
            if group.is_empty() || group.len() > 64 || !is_word(group) {
                return Err(Error::Group(short(group)));
            }
        }
        let wanted = match &request.nic {
            Some(text) => Some(Wanted::parse(text).ok_or_else(|| Error::Nic(short(text)))?),
            None => None,
        };
        let port = |given: Option<u16>, usual: u16, name: &'static str| match given {
            Some(0) => Err(Error::Port(name)),
            given => Ok(given.unwrap_or(usual)),
        };
        Ok(Self {
            redfish_port: port(request.redfish_port, HTTPS, "redfish_port")?,
            ipmi_port: port(request.ipmi_port, RMCP, "ipmi_port")?,
            targets: expanded.list,
            has_unknown: expanded.has_unknown,
            rule,
            ips: ips.unwrap_or_default(),
            wanted,
            warnings: Vec::new(),
            request,
        })
    }

    /// Whether the place of each target is known before it is asked: nobody is left out for being silent.
    pub(crate) fn is_in_order(&self) -> bool {
        self.targets.iter().all(|it| !it.is_sought)
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::Plan;

    fn read(text: Value) -> Result<Plan, String> {
        Plan::read(serde_json::from_value(text).unwrap()).map_err(|it| it.to_string())
    }

    #[test]
    fn the_bootcamp_s_nine_are_nine() {
        let plan = read(json!({"targets": ["172.16.0.101-109"], "xname": "x1000c1s7b{1-9}n0",
            "name": "nid{nid:03}", "nid": 1, "ip": "172.16.0.1-9", "nic": "NICChannel0"}));
        let plan = plan.unwrap();
        assert!(plan.targets.len() == 9 && plan.ips.len() == 9 && plan.is_in_order());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        for (more, named) in [
            (json!({"xname": "x1000c1s7b{1-2}n0"}), "xname"),
            (json!({"name": "node"}), "name"),
            (json!({"name": "a b{nid}"}), "name"),
            (json!({"ip": "10.0.0.x"}), "ip"),
            (json!({"group": "a b"}), "group"),
            (json!({"nic": "0"}), "nic"),
            (json!({"redfish_port": 0}), "redfish_port"),
            (json!({"targets": ["10.0.0.1-10.40.0.1"]}), "targets"),
        ] {
            let mut request = json!({"targets": ["10.0.0.1-3"]});
            request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let error = read(request).err().unwrap();
            assert!(error.starts_with(named), "{error}");
        }
    }
}
