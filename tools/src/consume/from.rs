//! Where reading begins, as people say it.

use std::time::{Duration, SystemTime};

use client::Start;
use protocol::types::{Offset, Timestamp};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// A place, or a time on the clock.
    Start(Start),
    /// So long ago.
    Ago(Duration),
}

impl Beginning {
    /// The place, by what time it is now.
    pub fn start(self, now: SystemTime) -> Start {
        match self {
            Self::Start(start) => start,
            Self::Ago(ago) => {
                let then = now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
                let since = then.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Start::Time(Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
            }
        }
    }
}

/// Reads what somebody wrote.
pub fn parse(text: &str) -> Result<Beginning, String> {
    match text {
        "earliest" => return Ok(Beginning::Start(Start::Earliest)),
        "latest" => return Ok(Beginning::Start(Start::Latest)),
        _ => {}
    }
    if let Ok(offset) = text.parse::<i64>() {
        return match offset {
            0.. => Ok(Beginning::Start(Start::Offset(Offset(offset)))),
            _ => Err("offsets begin at 0".to_owned()),
        };
    }
    let understood = ago(text).map(Beginning::Ago).or_else(|| time(text).map(Beginning::Start));
    understood.ok_or_else(|| {
        "it must be earliest, latest, an offset, a time like 2026-01-31T12:00:00Z, or so long ago: 90s, 15m, 2h, 7d".to_owned()
    })
}

fn ago(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    count.checked_mul(seconds).map(Duration::from_secs)
}

/// A time of RFC 3339 in UTC, down to milliseconds.
fn time(text: &str) -> Option<Start> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let is_one = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && (1..=9).contains(&fraction.len());
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let is_number = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    // Negative times have other meanings on the wire, and no record is so old.
    let time = Timestamp((seconds * 1_000 + milliseconds).max(0));
    (is_one && is_number).then_some(Start::Time(time))
}

/// Three numbers of so many digits each.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut found = [0; 3];
    let mut parts = text.split(separator);
    for (place, digits) in digits.into_iter().enumerate() {
        let part = parts.next()?;
        let is_one = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        found[place] = part.parse().ok().filter(|_| is_one)?;
    }
    parts.next().is_none().then_some(found)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day; negative before.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Leap days before a year, from year 1 on.
    let leap_days = |year: i64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let of_years = (year - 1_970) * 365 + leap_days(year.max(1)) - leap_days(1_970);
    let of_months: i64 = (1..month.clamp(1, 13)).map(|earlier| days_of(year, earlier)).sum();
    of_years + of_months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Beginning) {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }

    fn at(milliseconds: i64) -> Beginning {
        Beginning::Start(Start::Time(Timestamp(milliseconds)))
    }

    #[test]
    fn people_say_it_in_many_ways() {
        check("earliest", Beginning::Start(Start::Earliest));
        check("latest", Beginning::Start(Start::Latest));
        check("0", Beginning::Start(Start::Offset(Offset(0))));
        check("170210", Beginning::Start(Start::Offset(Offset(170_210))));
        check("90s", Beginning::Ago(Duration::from_secs(90)));
        check("15m", Beginning::Ago(Duration::from_secs(900)));
        check("2h", Beginning::Ago(Duration::from_secs(7_200)));
        check("7d", Beginning::Ago(Duration::from_secs(604_800)));
        check("1970-01-01T00:00:00Z", at(0));
        check("1970-03-01T00:00:01.5Z", at(59 * 86_400_000 + 1_500));
        check("2000-02-29T23:59:59.999Z", at(951_868_799_999));
        check("2026-01-31T12:00:00Z", at(1_769_860_800_000));
        check("2100-12-31T00:00:00Z", at(4_133_894_400_000));
        check("1969-12-31T23:59:59.999Z", at(0));
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for text in [
            "",
            "-1",
            "soon",
            "1w",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00",
            "2026-1-31T12:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00.-1Z",
            "99999999999999999999d",
            "s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn so_long_ago_is_counted_from_now() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let start = |text| parse(text).expect("it is one").start(now);
        assert_eq!(start("600s"), Start::Time(Timestamp(400_000)));
        assert_eq!(start("1h"), Start::Time(Timestamp(0)));
        assert_eq!(start("earliest"), Start::Earliest);
    }
}
