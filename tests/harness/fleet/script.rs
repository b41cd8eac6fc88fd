//! An iPXE script, as far as boot scripts need it: labels, `goto`, `||`, `&&` and the commands that load and wait.
//! Whatever else a script says is taken for done.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// So many lines are run before a script counts as endless.
const LINES_MAX: u32 = 100_000;

/// What a script wants done; the next step needs to know whether it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Kernel {
        url: String,
        parameters: String,
    },
    Initrd {
        url: String,
    },
    Chain {
        url: String,
    },
    Sleep(Duration),
    Dhcp,
    Boot,
    /// It leaves to the firmware.
    Exit,
}

/// A script that runs.
#[derive(Clone, Debug)]
pub(super) struct Script {
    lines: Vec<String>,
    at: usize,
    run: u32,
    /// What is left of the line, each with whether it is for a failure.
    rest: VecDeque<(bool, String)>,
    variables: HashMap<String, String>,
}

impl Script {
    /// Reads a script; `variables` by their names without braces. `${…/mac}` of any interface is `mac`.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub(super) fn parse(text: &str, variables: &[(&str, String)]) -> Result<Self, String> {
        if !text.starts_with("#!ipxe") {
            return Err("what came is no boot script".to_owned());
        }
        let lines = text.lines().map(|it| it.trim().to_owned()).collect();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Ok(Self { lines, at: 0, run: 0, rest: VecDeque::new(), variables })
    }

    /// The next thing to do.
    ///
    /// # Errors
    ///
    /// If the script goes somewhere that is not there, or does not end.
    pub(super) fn next(&mut self) -> Result<Order, String> {
        loop {
            let Some((_, command)) = self.rest.pop_front() else {
                let Some(line) = self.lines.get(self.at).cloned() else { return Ok(Order::Exit) };
                self.at += 1;
                self.run += 1;
                if self.run > LINES_MAX {
                    return Err("the script does not end".to_owned());
                }
                self.rest = if line.starts_with(['#', ':']) { VecDeque::new() } else { split(&line) };
                continue;
            };
            match self.order(&command)? {
                Some(order) => return Ok(order),
                None => self.skip(true),
            }
        }
    }

    /// Says what came of the last order.
    ///
    /// # Errors
    ///
    /// If it failed and the script has nothing for that: iPXE ends a script then.
    pub(super) fn done(&mut self, well: bool) -> Result<(), String> {
        let answered = self.rest.iter().any(|it| it.0);
        self.skip(well);
        if well || answered { Ok(()) } else { Err("the script failed".to_owned()) }
    }

    /// Leaves out what does not follow from how the last command went.
    fn skip(&mut self, well: bool) {
        while self.rest.front().is_some_and(|it| it.0 == well) {
            self.rest.pop_front();
        }
    }

    /// An order, or nothing for what is done here.
    fn order(&mut self, command: &str) -> Result<Option<Order>, String> {
        let command = self.expand(command);
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let mut plain = plain(&words);
        let url = || plain.clone().next().unwrap_or_default().to_owned();
        Ok(Some(match verb {
            "kernel" | "imgload" | "imgselect" => {
                let url = plain.next().unwrap_or_default().to_owned();
                Order::Kernel { url, parameters: plain.collect::<Vec<_>>().join(" ") }
            }
            "initrd" | "imgfetch" | "module" => Order::Initrd { url: url() },
            "chain" => Order::Chain { url: url() },
            "sleep" => Order::Sleep(Duration::from_secs(url().parse().unwrap_or(1))),
            "dhcp" | "ifconf" => Order::Dhcp,
            "boot" => Order::Boot,
            "exit" | "reboot" | "sanboot" | "poweroff" => Order::Exit,
            "goto" => {
                let label = format!(":{}", url());
                let found = self.lines.iter().position(|it| it.split_whitespace().next() == Some(&label));
                self.at = found.ok_or_else(|| format!("the script has no label {label}"))? + 1;
                self.rest.clear();
                return Ok(None);
            }
            "set" => {
                let value = words.get(1..).unwrap_or_default().join(" ");
                let name = words.first().and_then(|it| it.split(':').next()).unwrap_or_default();
                self.variables.insert(name.to_owned(), value);
                return Ok(None);
            }
            "isset" | "iseq" => {
                let well = match (verb, words.as_slice()) {
                    ("isset", [_, ..]) => true,
                    ("iseq", [left, right]) => left == right,
                    _ => false,
                };
                self.skip(well);
                return if self.rest.is_empty() { Ok(None) } else { self.next().map(Some) };
            }
            "inc" => {
                let name = words.first().copied().unwrap_or_default();
                let by: u64 = words.get(1).and_then(|it| it.parse().ok()).unwrap_or(1);
                let now: u64 = self.variables.get(name).and_then(|it| it.parse().ok()).unwrap_or(0);
                self.variables.insert(name.to_owned(), (now + by).to_string());
                return Ok(None);
            }
            _ => return Ok(None),
        }))
    }

    fn expand(&self, command: &str) -> String {
        let mut text = String::with_capacity(command.len());
        let mut rest = command;
        while let Some((before, after)) = rest.split_once("${") {
            text.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                rest = after;
                break;
            };
            // A setting's type is behind a colon (`uuid:raw`), its interface before a slash (`netX/mac`).
            let name = name.split(':').next().unwrap_or_default();
            let key = name.rsplit('/').next().unwrap_or_default();
            let value = self.variables.get(name).or_else(|| self.variables.get(key));
            text.push_str(value.map(String::as_str).unwrap_or_default());
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

/// A line's commands; each with whether it is for a failure of the one before.
fn split(line: &str) -> VecDeque<(bool, String)> {
    let mut commands = VecDeque::new();
    let mut failure = false;
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        if word == "||" || word == "&&" {
            commands.push_back((failure, words.join(" ")));
            words.clear();
            failure = word == "||";
        } else {
            words.push(word);
        }
    }
    commands.push_back((failure, words.join(" ")));
    commands
}

/// Words without options; `--name` and `--timeout` take the word after them.
fn plain<'a>(words: &'a [&'a str]) -> impl Iterator<Item = &'a str> + Clone {
    let takes = |it: &str| matches!(it, "--name" | "-n" | "--timeout" | "-t");
    let mut begin = 0;
    while words.get(begin).is_some_and(|it| it.starts_with('-')) {
        begin += if takes(words[begin]) { 2 } else { 1 };
    }
    words.get(begin..).unwrap_or_default().iter().copied()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::{Order, Script};

    fn script(text: &str) -> Script {
        let variables = [("mac", "02:00:00:00:00:01".to_owned()), ("buildarch", "x86_64".to_owned())];
        Script::parse(text, &variables).unwrap()
    }

    #[test]
    fn a_boot_script_loads_and_boots() {
        let mut script = script(
            "#!ipxe\nkernel --name kernel http://a/k initrd=initrd x=${buildarch} || goto retry\n\
             initrd --name initrd http://a/i || goto retry\nboot || goto retry\n:retry\nsleep 30\nchain http://a/?mac=${netX/mac}\n",
        );
        let kernel = Order::Kernel { url: "http://a/k".into(), parameters: "initrd=initrd x=x86_64".into() };
        assert_eq!(script.next().unwrap(), kernel);
        script.done(true).unwrap();
        assert_eq!(script.next().unwrap(), Order::Initrd { url: "http://a/i".into() });
        script.done(false).unwrap();
        assert_eq!(script.next().unwrap(), Order::Sleep(Duration::from_secs(30)));
        script.done(true).unwrap();
        assert_eq!(script.next().unwrap(), Order::Chain { url: "http://a/?mac=02:00:00:00:00:01".into() });
        assert!(script.done(false).is_err(), "nothing is said for this case");
        assert_eq!(script.next().unwrap(), Order::Exit);
    }

    #[test]
    fn a_script_that_waits_goes_round() {
        let mut waiting =
            script("#!ipxe\ngoto ask\n:again\nsleep 10\n:ask\ndhcp || goto again\nboot ||\nexit\n");
        for expected in [Order::Dhcp, Order::Sleep(Duration::from_secs(10)), Order::Dhcp] {
            assert_eq!(waiting.next().unwrap(), expected);
            waiting.done(expected != Order::Dhcp).unwrap();
        }
        assert_eq!(waiting.next().unwrap(), Order::Sleep(Duration::from_secs(10)));
        assert!(Script::parse("<html>", &[]).is_err());
        let mut endless = script("#!ipxe\n:a\ngoto a\n");
        assert!(endless.next().unwrap_err().contains("does not end"));
    }

    #[test]
    fn conditions_and_numbers_are_worked_out() {
        let mut script = script(
            "#!ipxe\nset n:int32 0\niseq ${buildarch} i386 && goto no || goto yes\n:no\nexit\n:yes\ninc n 3\nsleep ${n}\n",
        );
        assert_eq!(script.next().unwrap(), Order::Sleep(Duration::from_secs(3)));
    }
}
