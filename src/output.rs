//! Standard output is the result, and this is the only file that writes to it.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::Value;

use crate::cli::Format;
use crate::exit::Failure;

/// A result as rows of cells; the same in every format but JSON, which prints `json` as it is.
#[derive(Debug)]
pub(crate) struct Report {
    /// Column titles, with units.
    pub(crate) header: Vec<&'static str>,
    /// Rows.
    pub(crate) rows: Vec<Vec<String>>,
    /// The whole answer, for `--format json`.
    pub(crate) json: Value,
    /// Lines below a table; not in CSV or JSON.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Prints the report. Numbers are aligned right.
    pub(crate) fn print(&self, format: Format) -> io::Result<()> {
        match format {
            Format::Json => line(&serde_json::to_string_pretty(&self.json)?),
            Format::Csv => self.print_csv(),
            Format::Human | Format::Md => {
                line(&self.text(format))?;
                for note in &self.notes {
                    line(note)?;
                }
                Ok(())
            }
        }
    }

    /// Its table alone.
    pub(crate) fn text(&self, format: Format) -> String {
        self.table(format).to_string()
    }

    fn table(&self, format: Format) -> Table {
        let mut table = Table::new();
        table
            .load_style(if format == Format::Md {
                ASCII_MARKDOWN
            } else {
                UTF8_BORDERS_ONLY
            })
            .set_header(&self.header)
            .add_rows(&self.rows);
        if format == Format::Human && io::stdout().is_terminal() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            let numeric = self.rows.iter().all(|row| {
                row.get(index).is_some_and(|cell| {
                    cell.starts_with(|c: char| c.is_ascii_digit() || c == '$' || c == '—')
                })
            });
            if numeric {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    fn print_csv(&self) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(io::stdout().lock());
        writer.write_record(&self.header)?;
        for row in &self.rows {
            writer.write_record(row)?;
        }
        writer.flush()
    }
}

/// Whether a result on standard output may have colour: it is a terminal and `NO_COLOR`
/// (<https://no-color.org>) is unset or empty.
pub(crate) fn may_colour(no_color: Option<&OsStr>) -> bool {
    io::stdout().is_terminal() && no_color.is_none_or(OsStr::is_empty)
}

/// Prints one line of a result. A closed pipe is the reader's right, not an error of ours.
pub(crate) fn line(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Standard output itself, for a verb that talks to a program.
pub(crate) fn pipe() -> impl io::Write {
    io::stdout().lock()
}

/// Prints over the last `lines` lines of a terminal.
pub(crate) fn redraw(lines: usize, text: &str) -> io::Result<()> {
    if lines == 0 {
        return line(text);
    }
    // Up so many lines, and clear from there on.
    line(&format!("\x1b[{lines}A\x1b[J{text}"))
}

/// Tells of progress on standard error.
pub(crate) fn say(text: &str) {
    // Nothing sensible can be done when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Tells what ended the program.
pub(crate) fn failure(failure: &Failure) {
    say(&format!("joulemark: {}", failure.told()));
}
