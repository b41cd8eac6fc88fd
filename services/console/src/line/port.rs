//! Where a console's line goes.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use domain::inventory::Endpoint;
use serialport::{DataBits, Parity, StopBits};

use crate::config;

/// The port of SSH.
const SSH_PORT: u16 = 22;
/// The port of IPMI over LAN.
const IPMI_PORT: u16 = 623;

/// Where a console's line goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Port {
    /// Serial over LAN of this BMC; without its nodes and the version of its account, which change nothing of
    /// the line.
    Sol(Box<Endpoint>),
    /// A serial port of the head, or any other terminal.
    Serial(Serial),
    /// A console server: TCP as it is, or telnet.
    Tcp { host: String, port: u16, telnet: bool },
    /// A UNIX socket, as QEMU's.
    Unix(PathBuf),
    /// A program of the BMC's, over SSH.
    Ssh(Ssh),
}

/// A serial port and how it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Serial {
    pub(crate) device: String,
    pub(crate) speed: u32,
    pub(crate) data_bits: DataBits,
    pub(crate) parity: Parity,
    pub(crate) stop_bits: StopBits,
}

/// Whom to log in to, and what to type then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ssh {
    pub(crate) user: Option<String>,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) entry: Option<String>,
}

impl Port {
    /// Serial over LAN of a BMC.
    pub(crate) fn sol(endpoint: &Endpoint) -> Self {
        Self::Sol(Box::new(Endpoint { nodes: Vec::new(), credential_version: 0, ..endpoint.clone() }))
    }

    /// What a setting means for a BMC at this address and a node of this name; none: serial over LAN.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn new(place: &config::Place, bmc: &str, name: &str) -> anyhow::Result<Option<Self>> {
        let line = place.line.replace("{bmc}", bmc).replace("{name}", name);
        if line == "sol" {
            return Ok(None);
        }
        let (kind, rest) = line.split_once(':').with_context(|| unknown(&line))?;
        let port = match kind {
            "serial" => Self::Serial(Serial::new(rest, &place.seropts)?),
            "unix" => {
                ensure!(rest.starts_with('/'), "{rest:?} is no full path");
                Self::Unix(rest.into())
            }
            "tcp" | "telnet" => {
                let (host, port) = split_port(rest, None)?;
                Self::Tcp { host, port, telnet: kind == "telnet" }
            }
            "ssh" => {
                let (user, rest) = rest.split_once('@').map_or((None, rest), |(it, rest)| (Some(it), rest));
                let (host, port) = split_port(rest, Some(SSH_PORT))?;
                let plain = |it: &str| !it.is_empty() && !it.starts_with('-');
                ensure!(
                    plain(&host) && user.is_none_or(plain),
                    "{line:?} names nobody to log in as, or no host"
                );
                Self::Ssh(Ssh { user: user.map(str::to_owned), host, port, entry: place.entry.clone() })
            }
            _ => bail!(unknown(&line)),
        };
        Ok(Some(port))
    }

    /// How OpenCHAMI's remote-console names it: kind, host, port.
    pub(crate) fn shown_by_parts(&self) -> (&'static str, String, u16) {
        match self {
            Self::Sol(bmc) => {
                ("ipmi", bmc.address.clone().unwrap_or_default(), bmc.port.unwrap_or(IPMI_PORT))
            }
            Self::Serial(it) => ("serial", it.device.clone(), 0),
            Self::Tcp { host, port, telnet: true } => ("telnet", host.clone(), *port),
            Self::Tcp { host, port, telnet: false } => ("tcp", host.clone(), *port),
            Self::Unix(path) => ("unix", path.display().to_string(), 0),
            Self::Ssh(it) => ("ssh", it.host.clone(), it.port),
        }
    }

    /// What is typed once the line is there.
    pub(crate) fn entry(&self) -> Option<&str> {
        match self {
            Self::Ssh(it) => it.entry.as_deref(),
            _ => None,
        }
    }
}

/// As conman shows it: hosts in angle brackets, files in quotation marks.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sol(bmc) => write!(f, "<{}>", bmc.address.as_deref().unwrap_or_default()),
            Self::Serial(it) => write!(f, "\"{}\"", it.device),
            Self::Tcp { host, port, .. } => write!(f, "<{host}:{port}>"),
            Self::Unix(path) => write!(f, "\"{}\"", path.display()),
            Self::Ssh(it) => write!(f, "<{}:{}>", it.host, it.port),
        }
    }
}

fn unknown(line: &str) -> String {
    format!(
        "{line:?} is no line; write sol, serial:/dev/ttyS1, tcp:HOST:PORT, telnet:HOST:PORT, unix:/PATH or \
         ssh:USER@HOST:PORT"
    )
}

/// A host and its port; the host may stand in square brackets, as an IPv6 address does.
fn split_port(text: &str, default: Option<u16>) -> anyhow::Result<(String, u16)> {
    let (host, port) = match text.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|it| *it > 0).with_context(|| {
            format!("{port:?} is no port of {host}; an IPv6 address stands in square brackets")
        })?),
        None => default,
    };
    ensure!(!host.is_empty(), "{text:?} names no host");
    Ok((host.to_owned(), port.with_context(|| format!("{text:?} names no port"))?))
}

impl Serial {
    /// A device, and conman's `seropts`: `115200,8n1`, where all but the speed may be left out.
    fn new(device: &str, options: &str) -> anyhow::Result<Self> {
        ensure!(device.starts_with("/dev/"), "{device:?} is no device; write serial:/dev/ttyS1");
        let wrong = || format!("{options:?} are no options of a serial port; write 115200,8n1");
        let (speed, character) = options.split_once(',').unwrap_or((options, "8n1"));
        let speed = speed.trim().parse().ok().filter(|it| *it > 0).with_context(wrong)?;
        let [data, parity, stop] = character.trim().as_bytes() else { bail!(wrong()) };
        let data_bits = match data {
            b'5' => DataBits::Five,
            b'6' => DataBits::Six,
            b'7' => DataBits::Seven,
            b'8' => DataBits::Eight,
            _ => bail!(wrong()),
        };
        let parity = match parity.to_ascii_lowercase() {
            b'n' => Parity::None,
            b'o' => Parity::Odd,
            b'e' => Parity::Even,
            _ => bail!(wrong()),
        };
        let stop_bits = match stop {
            b'1' => StopBits::One,
            b'2' => StopBits::Two,
            _ => bail!(wrong()),
        };
        Ok(Self { device: device.to_owned(), speed, data_bits, parity, stop_bits })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Port;
    use crate::config::Place;

    fn port(line: &str, seropts: &str) -> anyhow::Result<Option<Port>> {
        let place = Place { line: line.to_owned(), seropts: seropts.to_owned(), entry: None };
        Port::new(&place, "172.16.0.101", "nid001")
    }

    #[test]
    fn a_line_is_written_in_one_word() {
        assert!(port("sol", "").unwrap().is_none());
        for (line, shown, kind) in [
            ("serial:/dev/ttyS1", "\"/dev/ttyS1\"", "serial"),
            ("tcp:terminal1:4001", "<terminal1:4001>", "tcp"),
            ("telnet:[fd00::1]:23", "<fd00::1:23>", "telnet"),
            ("unix:/run/vm/{name}.sock", "\"/run/vm/nid001.sock\"", "unix"),
            ("ssh:root@{bmc}:2200", "<172.16.0.101:2200>", "ssh"),
            ("ssh:{bmc}", "<172.16.0.101:22>", "ssh"),
        ] {
            let port = port(line, "9600").unwrap().unwrap();
            assert_eq!((port.to_string().as_str(), port.shown_by_parts().0), (shown, kind));
        }
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in
            ["", "sol:x", "serial:ttyS1", "tcp:host", "tcp:host:0", "telnet::23", "unix:x", "ssh:@host"]
        {
            assert!(port(line, "115200,8n1").is_err(), "{line}");
        }
        assert!(port("ssh:-oProxyCommand=x", "").is_err());
        for options in ["", "fast", "9600,8x1", "9600,8n", "0,8n1"] {
            assert!(port("serial:/dev/ttyS0", options).is_err(), "{options}");
        }
    }
}
