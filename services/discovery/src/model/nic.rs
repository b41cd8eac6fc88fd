//! Which card a node boots from, and why.

use domain::MacAddr;

use crate::client::{Choice, Nic};

/// What the firmware says of where it boots from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boot {
    /// The order of its entries.
    pub(crate) order: Vec<String>,
    /// The entries.
    pub(crate) options: Vec<BootOption>,
    /// The place that was set for the next boot.
    pub(crate) target: Option<String>,
}

/// An entry of the boot order.
#[derive(Clone, Debug, Default)]
pub(crate) struct BootOption {
    pub(crate) reference: String,
    pub(crate) name: String,
    pub(crate) uefi_path: String,
    pub(crate) is_off: bool,
}

/// Which card somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Mac(MacAddr),
    /// From 1.
    Number(usize),
    Name(String),
}

impl Wanted {
    /// A MAC address, a number from 1, or a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let number = || text.parse().ok().filter(|it| *it > 0).map(Self::Number);
        let name = || (!text.is_empty() && text != "0").then(|| Self::Name(text.to_owned()));
        text.parse().ok().map(Self::Mac).or_else(number).or_else(name)
    }

    fn find(&self, nics: &[Nic]) -> Option<usize> {
        match self {
            Self::Mac(mac) => nics.iter().position(|it| it.mac == *mac),
            Self::Number(number) => (*number <= nics.len()).then(|| number - 1),
            Self::Name(name) => {
                let exact = nics.iter().position(|it| it.name.eq_ignore_ascii_case(name));
                let last = |it: &Nic| {
                    it.name.rsplit(['/', ' ']).next().is_some_and(|it| it.eq_ignore_ascii_case(name))
                };
                exact.or_else(|| nics.iter().position(last))
            }
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "{mac}"),
            Self::Number(number) => write!(f, "number {number}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// The card that a node boots from: the one that is wanted, else that of the boot order, of the next boot, one that is
/// set to boot, the first with a link, the first. None: there is none.
pub(crate) fn choose(nics: &[Nic], boot: &Boot, wanted: Option<&Wanted>) -> Option<Choice> {
    let choice = |nic: usize, why: String| Some(Choice { nic, why });
    let mut missed = String::new();
    if let Some(wanted) = wanted {
        if let Some(nic) = wanted.find(nics) {
            return choice(nic, format!("asked for as {wanted}"));
        }
        missed = format!("; there is none like {wanted}");
    }
    if let Some((nic, why)) = by_order(nics, boot) {
        return choice(nic, why + &missed);
    }
    if let Some(nic) = boot.target.as_ref().and_then(|it| named_in(nics, it)) {
        return choice(nic, format!("the next boot is set to it{missed}"));
    }
    let usable = |it: &Nic| !it.internal && it.enabled != Some(false);
    let boots = |it: &Nic| it.boot_mode.as_deref().is_some_and(|it| matches!(it, "PXE" | "HTTP"));
    let first = |fits: &dyn Fn(&Nic) -> bool| nics.iter().position(|it| usable(it) && fits(it));
    let several = |fits: &dyn Fn(&Nic) -> bool| nics.iter().filter(|it| usable(it) && fits(it)).count() > 1;
    let has_link = |it: &Nic| it.link == Some(true);
    if let Some(nic) = first(&|it| boots(it) && it.link != Some(false)) {
        return choice(nic, format!("the firmware boots from it by network{missed}"));
    }
    if let Some(nic) = first(&has_link) {
        let why = if several(&has_link) { "the first with a link" } else { "the only one with a link" };
        return choice(nic, format!("{why}{missed}"));
    }
    if let Some(nic) = first(&|_| true) {
        let why = match (several(&|_| true), nics[nic].link) {
            (false, _) => "the only one",
            (true, Some(_)) => "the first; none has a link",
            (true, None) => "the first; which of them has a link is not told",
        };
        return choice(nic, format!("{why}{missed}"));
    }
    (!nics.is_empty()).then(|| Choice { nic: 0, why: format!("the first; none is switched on{missed}") })
}

/// The card of the first entry of the boot order that names one.
fn by_order(nics: &[Nic], boot: &Boot) -> Option<(usize, String)> {
    let in_order =
        boot.order.iter().filter_map(|it| boot.options.iter().find(|option| option.reference == *it));
    let all: Vec<&BootOption> = in_order.filter(|it| !it.is_off).collect();
    let found = all.iter().find_map(|it| {
        let nic = named_in(nics, &it.uefi_path).or_else(|| named_in(nics, &it.name))?;
        Some((nic, it))
    });
    // Some firmware names the card itself in the order.
    let plain = || boot.order.iter().find_map(|it| Some((named_in(nics, it)?, it.clone())));
    let why = |name: &str| format!("the first network entry of the boot order, {name}");
    match found {
        Some((nic, option)) if option.name.is_empty() => Some((nic, why(&option.reference))),
        Some((nic, option)) => Some((nic, why(&format!("{} ({})", option.reference, option.name)))),
        None => plain().map(|(nic, name)| (nic, why(&name))),
    }
}

/// The card whose address or place stands in a text of the firmware.
fn named_in(nics: &[Nic], text: &str) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    let digits: String =
        text.chars().filter(|it| !matches!(it, ':' | '-')).collect::<String>().to_ascii_lowercase();
    let by_mac = nics.iter().position(|it| digits.contains(&it.mac.bare()));
    let begins = |it: &Nic| {
        it.uefi_path.as_ref().is_some_and(|path| !path.is_empty() && text.starts_with(path.as_str()))
    };
    by_mac.or_else(|| nics.iter().position(begins))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Boot, BootOption, Nic, Wanted, choose};

    fn nic(last: u8, name: &str, link: Option<bool>) -> Nic {
        Nic {
            mac: domain::MacAddr::new([0xec, 0xe7, 0xa7, 5, 0xa1, last]),
            name: name.to_owned(),
            link,
            enabled: None,
            boot_mode: None,
            uefi_path: None,
            internal: false,
        }
    }

    fn chosen(nics: &[Nic], boot: &Boot, wanted: Option<&str>) -> (usize, String) {
        let wanted = wanted.and_then(Wanted::parse);
        let it = choose(nics, boot, wanted.as_ref()).unwrap();
        (it.nic, it.why)
    }

    #[test]
    fn whoever_asks_for_a_card_gets_it() {
        let nics = [nic(1, "NIC.Embedded.1-1-1", Some(true)), nic(2, "NIC.Slot.3-1-1", None)];
        for wanted in ["2", "ec:e7:a7:05:a1:02", "nic.slot.3-1-1"] {
            let (at, why) = chosen(&nics, &Boot::default(), Some(wanted));
            assert!(at == 1 && why.starts_with("asked for"), "{wanted}: {why}");
        }
        let (at, why) = chosen(&nics, &Boot::default(), Some("eth7"));
        assert!(at == 0 && why.contains("none like \"eth7\""), "{why}");
    }

    #[test]
    fn the_boot_order_tells_more_than_a_link() {
        let nics = [nic(1, "NIC1", Some(true)), nic(2, "NIC2", None)];
        let option = |reference: &str, name: &str, path: &str| BootOption {
            reference: reference.to_owned(),
            name: name.to_owned(),
            uefi_path: path.to_owned(),
            is_off: false,
        };
        let mut boot = Boot {
            order: ["Boot0001", "Boot0003", "Boot0002"].map(str::to_owned).to_vec(),
            options: vec![
                option("Boot0001", "Disk", "PciRoot(0x0)/Sata(0x0)"),
                option("Boot0002", "PXE 1", "PciRoot(0x0)/MAC(ECE7A705A101,0x1)/IPv4(0.0.0.0)"),
                option("Boot0003", "PXE 2", "PciRoot(0x0)/MAC(ECE7A705A102,0x1)/IPv4(0.0.0.0)"),
            ],
            target: None,
        };
        let (at, why) = chosen(&nics, &boot, None);
        assert!(at == 1 && why.contains("Boot0003 (PXE 2)"), "{why}");
        boot.options[2].is_off = true;
        assert_eq!(chosen(&nics, &boot, None).0, 0);
        let boot = Boot { target: Some("PciRoot(0x0)/MAC(ECE7A705A102,0x1)".to_owned()), ..Boot::default() };
        assert_eq!(chosen(&nics, &boot, None), (1, "the next boot is set to it".to_owned()));
    }

    #[test]
    fn then_what_boots_then_what_has_a_link_then_the_first() {
        let mut nics = [nic(1, "1", None), nic(2, "2", Some(true)), nic(3, "3", None)];
        assert_eq!(chosen(&nics, &Boot::default(), None), (1, "the only one with a link".to_owned()));
        nics[2].boot_mode = Some("PXE".to_owned());
        assert_eq!(chosen(&nics, &Boot::default(), None).0, 2);
        let mut bare = [nic(1, "usb0", None), nic(2, "2", None), nic(3, "3", None)];
        bare[0].internal = true;
        let (at, why) = chosen(&bare, &Boot::default(), None);
        assert!(at == 1 && why.contains("not told"), "{why}");
        bare.iter_mut().for_each(|it| it.enabled = Some(false));
        assert_eq!(chosen(&bare, &Boot::default(), None).0, 0);
        assert!(choose(&[], &Boot::default(), None).is_none());
    }
}
