//! What a run has shown, as data; and the ways to show it: terminal, JSON, one HTML page.

mod compare;
mod html;
mod model;
mod saved;
mod terminal;

pub use compare::{by_load, doubts, load_names, ratios};
pub use html::page;
pub use model::{
    Busy, CleanedUp, Contender, GENERATOR_BUSY, OwnMaximum, Report, Round, Settings, Settled, Status,
    Summary, SweepStep,
};
pub use saved::{read, write};
pub use terminal::{clear_progress, print, progress};

/// Seconds since 1970 as `20260131-235959`, in UTC.
pub fn time_in_a_name(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from a 1st of March, so that leap days end a year (Howard Hinnant's days_from_civil, reversed).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests;
