//! Tables and JSON.

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// How a command may be told to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// A nodes.yaml; of discover alone
    Yaml,
}

/// Prints rows as a table with these headings, or the value itself as JSON.
pub(crate) fn print(format: Format, value: &Value, headings: &[&str], rows: &[Vec<String>]) {
    match format {
        Format::Json => println!("{value:#}"),
        Format::Table => print!("{}", table(headings, rows)),
    }
}

fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|it| it.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(shown(cell).chars().count());
        }
    }
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(headings.iter().map(|it| (*it).to_owned()).collect());
    for row in rows {
        text += &line(row.iter().map(|it| shown(it)).collect());
    }
    text
}

/// A cell's text; what comes from the network may hold what a terminal obeys.
pub(crate) fn cell(cell: &str) -> String {
    shown(cell)
}

fn shown(cell: &str) -> String {
    if cell.is_empty() { "-".into() } else { cell.replace(char::is_control, "?") }
}

/// The member of an object as text; empty if it is not there.
pub(crate) fn text(value: &Value, member: &str) -> String {
    match &value[member] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items
            .iter()
            .map(|it| it.as_str().map_or(it.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(","),
        other => other.to_string(),
    }
}

/// A turning wheel on stderr for what may take more than a second; nothing when stderr is no terminal.
pub(crate) fn progress(message: impl Into<String>) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message.into());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["nid001".to_owned(), String::new()], vec!["n".to_owned(), "a\x1b[2J".to_owned()]];
        assert_eq!(table(&["NAME", "X"], &rows), "NAME    X\nnid001  -\nn       a?[2J\n");
    }
}
