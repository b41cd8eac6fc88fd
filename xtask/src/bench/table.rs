//! The figures: what was measured, what is promised, and what the services we follow do at this size.

use serde::Serialize;

/// One line.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) what: &'static str,
    /// As measured on such a machine with the services we follow.
    pub(super) real: &'static str,
    pub(super) target: &'static str,
    /// On the service's socket.
    pub(super) socket: Option<String>,
    /// Through the gateway.
    pub(super) gateway: Option<String>,
    /// Whether the target is met; none if nothing was measured.
    pub(super) met: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// The table as text.
pub(super) fn text(rows: &[Row]) -> String {
    let mut lines = vec![["", "OpenCHAMI", "target", "socket", "through the gateway", ""].map(str::to_owned)];
    for row in rows {
        let cell = |it: &Option<String>| it.clone().unwrap_or_else(|| "-".to_owned());
        let met = match row.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let last = [Some(met), row.note.as_deref()].into_iter().flatten().filter(|it| !it.is_empty());
        lines.push([
            row.what.to_owned(),
            row.real.to_owned(),
            row.target.to_owned(),
            cell(&row.socket),
            cell(&row.gateway),
            last.collect::<Vec<_>>().join("; "),
        ]);
    }
    let widths: Vec<usize> =
        (0..6).map(|at| lines.iter().map(|it| it[at].chars().count()).max().unwrap_or(0)).collect();
    let line = |cells: &[String; 6]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}
