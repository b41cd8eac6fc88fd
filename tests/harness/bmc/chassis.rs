//! A node's power, as its BMC sees it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::process::Process;
use crate::vm::Vm;

/// How long QEMU may take to be gone.
const OFF_MAX: Duration = Duration::from_secs(10);

/// The power switch of a machine.
#[derive(Debug)]
pub struct Chassis {
    vm: Vm,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    machine: Option<Process>,
    boot_device: Option<String>,
    done: Vec<&'static str>,
}

impl Chassis {
    pub(super) fn new(vm: Vm) -> Self {
        Self { vm, state: Mutex::default() }
    }

    /// Whether the machine runs.
    pub async fn is_on(&self) -> bool {
        self.state.lock().await.machine.as_ref().is_some_and(Process::is_running)
    }

    /// What was done to it, in order: `on`, `off`, `reset`, `soft`.
    pub async fn done(&self) -> Vec<&'static str> {
        self.state.lock().await.done.clone()
    }

    /// The boot device the BMC was told, if it was.
    pub async fn boot_device(&self) -> Option<String> {
        self.state.lock().await.boot_device.clone()
    }

    /// Presses the power button of a machine that is off.
    ///
    /// # Errors
    ///
    /// If QEMU does not start.
    pub async fn press_button(&self) -> anyhow::Result<()> {
        self.state.lock().await.on(&self.vm)
    }

    /// Pulls the plug of a machine.
    ///
    /// # Errors
    ///
    /// If QEMU does not end.
    pub async fn pull_plug(&self) -> anyhow::Result<()> {
        self.state.lock().await.off().await
    }

    /// Answers the program that the simulator runs, on this socket.
    pub(super) fn serve(self: &Arc<Self>, socket: &Path) -> anyhow::Result<JoinSet<()>> {
        let listener =
            UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))?;
        let chassis = Arc::clone(self);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            loop {
                let answered = match listener.accept().await {
                    Ok((stream, _)) => chassis.answer(stream).await,
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = answered {
                    eprintln!("chassis: {error:#}");
                }
            }
        });
        Ok(serving)
    }

    async fn answer(&self, stream: UnixStream) -> anyhow::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.context("read a command")?;
        let answer = match self.obey(&line).await {
            Ok(answer) => answer,
            Err(error) => format!("refused: {error:#}\n"),
        };
        stream.write_all(answer.as_bytes()).await.context("answer")?;
        stream.shutdown().await.context("end an answer")
    }

    /// `get power boot` or `set power 1` (ipmi_sim_cmd(5), chassis_control).
    async fn obey(&self, line: &str) -> anyhow::Result<String> {
        let mut words = line.split_whitespace();
        let mut state = self.state.lock().await;
        let operation = words.next().unwrap_or_default();
        let mut answer = String::new();
        while let Some(what) = words.next() {
            match (operation, what) {
                ("get", "power") => {
                    let on = state.machine.as_ref().is_some_and(Process::is_running);
                    answer.push_str(&format!("power:{}\n", u8::from(on)));
                }
                ("get", "boot") => {
                    answer.push_str(&format!("boot:{}\n", state.boot_device.as_deref().unwrap_or("default")));
                }
                ("set", "power") if words.next() == Some("1") => state.on(&self.vm)?,
                ("set", "power") => state.off().await?,
                ("set", "reset") => {
                    words.next();
                    state.done.push("reset");
                    if state.machine.is_some() {
                        state.off().await?;
                        state.on(&self.vm)?;
                    }
                }
                ("set", "boot") => state.boot_device = words.next().map(str::to_owned),
                ("set", "shutdown") => {
                    words.next();
                    state.done.push("soft");
                    self.vm.tell("system_powerdown").await?;
                }
                // The lamp: how long it shines, and `force`.
                ("set", "identify") => while words.next().is_some() {},
                _ => bail!("{operation} {what} is not known here"),
            }
        }
        Ok(answer)
    }
}

impl State {
    fn on(&mut self, vm: &Vm) -> anyhow::Result<()> {
        if !self.machine.as_ref().is_some_and(Process::is_running) {
            self.machine = Some(vm.start()?);
            self.done.push("on");
        }
        Ok(())
    }

    async fn off(&mut self) -> anyhow::Result<()> {
        if let Some(machine) = self.machine.take() {
            machine.stop(Signal::SIGKILL, OFF_MAX).await?;
            self.done.push("off");
        }
        Ok(())
    }
}
