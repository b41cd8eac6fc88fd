//! The figures: ours beside the peers', and what is promised.

use serde::Serialize;

/// What one program did in one row.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) who: String,
    /// The middle of all rounds.
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// Each round.
    pub(super) rounds: Vec<f64>,
    /// Processor time, in this unit; none where it says nothing.
    pub(super) cpu: Option<f64>,
    pub(super) cpu_unit: &'static str,
}

/// One line.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) target: &'static str,
    pub(super) ours: Option<Figure>,
    pub(super) peers: Vec<Figure>,
    /// Whether the target is met; none if it cannot be said, as a peer is not here.
    pub(super) met: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}

impl Figure {
    pub(super) fn of(who: &str, unit: &'static str, rounds: Vec<f64>) -> Self {
        let value = super::cost::median(rounds.iter().copied());
        Self { who: who.to_owned(), value, unit, rounds, cpu: None, cpu_unit: "" }
    }

    pub(super) fn with_cpu(self, cpu: f64, cpu_unit: &'static str) -> Self {
        Self { cpu: Some(cpu), cpu_unit, ..self }
    }

    fn text(&self) -> String {
        let cpu = self.cpu.map(|it| format!(" ({it:.3} {})", self.cpu_unit)).unwrap_or_default();
        let digits = match self.value {
            value if value >= 100.0 => 0,
            value if value >= 1.0 => 2,
            _ => 3,
        };
        format!("{} {:.digits$} {}{cpu}", self.who, self.value, self.unit)
    }
}

impl Row {
    /// The row as text, a line for each program.
    pub(super) fn text(&self) -> String {
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not judged",
        };
        let mut lines = vec![format!("{}: {}, {met}", self.what, self.target)];
        lines.extend(self.ours.iter().chain(&self.peers).map(|it| format!("    {}", it.text())));
        lines.extend(self.notes.iter().map(|it| format!("    {it}")));
        lines.join("\n") + "\n"
    }
}

/// The least or the most of the peers.
pub(super) fn best(
    peers: &[Figure],
    more_is_better: bool,
    pick: impl Fn(&Figure) -> Option<f64>,
) -> Option<f64> {
    let values = peers.iter().filter_map(pick);
    if more_is_better { values.max_by(f64::total_cmp) } else { values.min_by(f64::total_cmp) }
}
