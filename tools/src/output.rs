//! What is printed on standard output: tables and lines for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Standard output.
pub struct Output {
    to: BufWriter<Stdout>,
    is_json: bool,
}

impl Output {
    /// Standard output, as it was asked for.
    pub fn new(arguments: OutputArgs) -> Self {
        Self { to: BufWriter::new(io::stdout()), is_json: arguments.json }
    }

    /// Prints something in one of its two forms.
    ///
    /// # Errors
    /// Standard output can't be written, or nobody reads it any more.
    pub fn show<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        for_people: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.is_json {
            serde_json::to_writer_pretty(&mut self.to, value).map_err(io::Error::from)?;
            writeln!(self.to)?;
        } else {
            self.to.write_all(for_people(value).as_bytes())?;
        }
        self.flush()
    }

    /// Prints one of many things: a line in either form.
    ///
    /// # Errors
    /// As with [`Self::show`].
    pub fn item<T: Serialize + Display>(&mut self, item: &T) -> Result<(), Failure> {
        match self.is_json {
            true => serde_json::to_writer(&mut self.to, item).map_err(io::Error::from)?,
            false => write!(self.to, "{item}")?,
        }
        Ok(writeln!(self.to)?)
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// As with [`Self::show`].
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.to.write_all(bytes)?)
    }

    /// Has everything printed by now reach whoever reads it.
    ///
    /// # Errors
    /// As with [`Self::show`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.to.flush()?)
    }
}

/// So many of something, in words.
pub fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

/// Columns with headings, as wide as what is in them.
pub struct Table {
    headings: Vec<Heading>,
    rows: Vec<Vec<String>>,
}

/// A column's name, and to which side it goes.
#[derive(Clone, Copy)]
pub enum Heading {
    /// Words.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

impl Table {
    /// An empty table.
    pub fn new(headings: &[Heading]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, which must have a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().collect();
        assert_eq!(row.len(), self.headings.len(), "a cell for each column");
        self.rows.push(row);
    }

    /// The table as lines, each behind `indent`.
    pub fn text(&self, indent: &str) -> String {
        let name = |heading: &Heading| match *heading {
            Heading::Left(name) | Heading::Right(name) => name.to_owned(),
        };
        let head: Vec<String> = self.headings.iter().map(name).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| lines.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut text = String::new();
        for row in lines {
            let cells = row.iter().zip(&self.headings).zip(&widths);
            let line: Vec<String> = cells
                .map(|((cell, heading), &width)| match heading {
                    Heading::Left(_) => format!("{cell:<width$}"),
                    Heading::Right(_) => format!("{cell:>width$}"),
                })
                .collect();
            text.push_str(format!("{indent}{}", line.join("  ")).trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table =
            Table::new(&[Heading::Left("topic"), Heading::Right("partitions"), Heading::Left("x")]);
        table.row(["a".to_owned(), "1".to_owned(), String::new()]);
        table.row(["größer".to_owned(), "10000000000".to_owned(), "end".to_owned()]);
        assert_eq!(
            table.text("  "),
            "  topic    partitions  x\n  a                 1\n  größer  10000000000  end\n"
        );
    }
}
