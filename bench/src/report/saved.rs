//! Reports in files.

use std::fs;
use std::path::{Path, PathBuf};

use super::model::FORMAT;
use super::{Report, page};
use crate::limits::REPORT_FILE_BYTES_MAX;

/// Why a report can't be saved or read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file can't be read or written.
    #[error("{path} can't be read or written")]
    Io { path: PathBuf, source: std::io::Error },
    /// It is no report.
    #[error("{path} is no report of iolite-bench: {reason}")]
    Malformed { path: PathBuf, reason: String },
    /// It was written by another version.
    #[error(
        "{path} is a report in format {found}; this iolite-bench reads format {FORMAT}: use the version that wrote it ({tool})"
    )]
    Format { path: PathBuf, found: u64, tool: String },
}

/// Writes `STEM.json` and `STEM.html`.
pub fn write(report: &Report, stem: &Path) -> Result<[PathBuf; 2], ReportError> {
    let named = |ending: &str| {
        let mut name = stem.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (json, html) = (named(".json"), named(".html"));
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| ReportError::Io { path, source }
    };
    if let Some(parent) = json.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(io(&json))?;
    }
    let text = serde_json::to_string(report).expect("a report is made of plain data");
    fs::write(&json, text).map_err(io(&json))?;
    fs::write(&html, page(std::slice::from_ref(report))).map_err(io(&html))?;
    Ok([json, html])
}

/// Reads a saved report.
pub fn read(path: &Path) -> Result<Report, ReportError> {
    let io = |source| ReportError::Io { path: path.to_owned(), source };
    let malformed = |reason: String| ReportError::Malformed { path: path.to_owned(), reason };
    let bytes = fs::metadata(path).map_err(io)?.len();
    if bytes > REPORT_FILE_BYTES_MAX {
        return Err(malformed(format!("it has {bytes} bytes")));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let found = value["format"].as_u64().ok_or_else(|| malformed("it names no format".into()))?;
    if found != u64::from(FORMAT) {
        let tool = value["tool"].as_str().unwrap_or("unknown").to_owned();
        return Err(ReportError::Format { path: path.to_owned(), found, tool });
    }
    serde_json::from_value(value).map_err(|error| malformed(error.to_string()))
}
