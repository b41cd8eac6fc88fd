//! Commands to a swarm as lines of JSON over a UNIX socket, an answer a line.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::{Fault, Rate, Swarm};

/// The longest command.
const LINE_MAX: u64 = 64 << 10;

/// What may be asked of a swarm; `bmcs` is `all`, or numbers and ranges of them: `3,10-19`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Something goes wrong.
    Fault {
        /// With these.
        bmcs: String,
        /// What.
        fault: Fault,
    },
    /// Nothing is wrong any more.
    Heal {
        /// With these.
        bmcs: String,
    },
    /// How quickly nodes write: `"off"`, `{"per_second": 2}`, `"full"`.
    Rate {
        /// The nodes of these.
        bmcs: String,
        /// The rate.
        rate: Rate,
    },
    /// Nodes are on, or off.
    Power {
        /// The nodes of these.
        bmcs: String,
        /// On.
        on: bool,
    },
    /// Nodes write a text.
    Write {
        /// The nodes of these.
        bmcs: String,
        /// The text.
        text: String,
    },
    /// What these have seen, one by one.
    Seen {
        /// These.
        bmcs: String,
    },
    /// What all of them have seen together.
    Total,
}

impl Swarm {
    /// Carries out a command.
    ///
    /// # Errors
    ///
    /// If it names BMCs that are not there.
    pub fn obey(&self, command: &Command) -> anyhow::Result<Value> {
        match command {
            Command::Fault { bmcs, fault } => self.inflict(self.numbers(bmcs)?, *fault),
            Command::Heal { bmcs } => self.heal(self.numbers(bmcs)?),
            Command::Rate { bmcs, rate } => self.set_rate(self.numbers(bmcs)?, *rate),
            Command::Power { bmcs, on } => self.set_power(self.numbers(bmcs)?, *on),
            Command::Write { bmcs, text } => {
                self.numbers(bmcs)?.into_iter().for_each(|it| self.write(it, text.as_bytes()));
            }
            Command::Seen { bmcs } => {
                let seen = |it| json!({"bmc": it, "address": self.address(it), "seen": self.seen(it)});
                return Ok(self.numbers(bmcs)?.into_iter().map(seen).collect());
            }
            Command::Total => return Ok(serde_json::to_value(self.total())?),
        }
        Ok(json!({"ok": true}))
    }

    /// The numbers that `all` or `3,10-19` means.
    ///
    /// # Errors
    ///
    /// If it means none that are there.
    pub fn numbers(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        if text == "all" {
            return Ok(self.all().collect());
        }
        let mut numbers = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |it: &str| it.trim().parse::<u32>().with_context(|| format!("{it:?} is no number"));
            let range = number(first)?..=number(last)?;
            let there = |it: &u32| self.all().contains(it);
            ensure!(
                there(range.start()) && there(range.end()),
                "{part}: there are the BMCs 1 to {}",
                self.count()
            );
            numbers.extend(range);
        }
        Ok(numbers)
    }

    /// Answers on a socket for ever.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        let mut talks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        talks.spawn(converse(Arc::clone(&self), stream));
                    }
                    Err(error) => eprintln!("swarm: {error}"),
                },
                Some(ended) = talks.join_next() => if let Ok(Err(error)) = ended {
                    eprintln!("swarm: {error:#}");
                },
            }
        }
    }
}

async fn converse(swarm: Arc<Swarm>, stream: UnixStream) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = String::new();
        if (&mut read).take(LINE_MAX).read_line(&mut line).await.context("read a command")? == 0 {
            return Ok(());
        }
        let command = serde_json::from_str(&line).context("read a command");
        let answer = command.and_then(|it| swarm.obey(&it));
        let answer = answer.unwrap_or_else(|it| json!({"error": format!("{it:#}")}));
        write.write_all(format!("{answer}\n").as_bytes()).await.context("answer")?;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{Options, Swarm};
    use super::{Command, Fault};

    #[test]
    fn commands_are_lines_of_json() {
        let text = r#"{"do": "fault", "bmcs": "2-3", "fault": {"slow_ms": 20}}"#;
        let command: Command = serde_json::from_str(text).unwrap();
        assert_eq!(command, Command::Fault { bmcs: "2-3".into(), fault: Fault::SlowMs(20) });
        let swarm = Swarm::start(Options { count: 3, ..Options::default() }).unwrap();
        assert_eq!(swarm.obey(&command).unwrap()["ok"], true);
        assert_eq!(swarm.numbers("1,2-3").unwrap(), [1, 2, 3]);
        for bad in ["0", "4", "2-9", "x", ""] {
            swarm.numbers(bad).unwrap_err();
        }
        let seen: Command = serde_json::from_str(r#"{"do": "seen", "bmcs": "1"}"#).unwrap();
        assert_eq!(swarm.obey(&seen).unwrap()[0]["seen"]["on"], 0);
        assert!(serde_json::from_str::<Command>(r#"{"do": "explode"}"#).is_err());
    }
}
