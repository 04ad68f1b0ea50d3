//! The types that a value of the configuration may have, and how each is read from text and written back.
//!
//! Invariant: what [`ConfigValue::render`] writes, [`ConfigValue::parse`] reads to the same value; numbers are written
//! plain, as Kafka's tools expect them, and read with or without a unit (`64MiB`, `7d`).

use logic::group::Assignor;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The types of values, as `DescribeConfigs` tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// A number within 32 bits.
    Int,
    /// A number within 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Texts separated by commas.
    List,
}

/// The bounds of a value, from the table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What a bare number counts, by the last word of the key.
    pub unit: Unit,
    /// The lowest and highest number allowed.
    pub range: Option<(i64, i64)>,
    /// The only texts allowed.
    pub choices: &'static [&'static str],
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things: no suffix is understood.
    Count,
    /// Bytes: `KiB`, `MiB`, `GiB`, `TiB` are understood.
    Bytes,
    /// Milliseconds: `ms`, `s`, `m`, `h`, `d` are understood.
    Milliseconds,
}

impl Unit {
    /// The unit of a key is its end.
    #[must_use]
    pub const fn of_key(key: &str) -> Self {
        if ends_with(key, ".bytes") || ends_with(key, ".bytes.per.second") {
            Self::Bytes
        } else if ends_with(key, ".ms") {
            Self::Milliseconds
        } else {
            Self::Count
        }
    }

    fn suffixes(self) -> &'static [(&'static str, i64)] {
        match self {
            Self::Count => &[],
            Self::Bytes => &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)],
            Self::Milliseconds => {
                &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
            }
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Count => "a whole number",
            Self::Bytes => "a number of bytes such as 1048576 or 1MiB",
            Self::Milliseconds => "a number of milliseconds such as 5000 or 5s",
        }
    }
}

/// `str::ends_with`, which isn't const.
const fn ends_with(text: &str, end: &str) -> bool {
    let (text, end) = (text.as_bytes(), end.as_bytes());
    let mut index = 0;
    while index < end.len() {
        if text.len() < end.len() || text[text.len() - end.len() + index] != end[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// A type that a key may have.
pub trait ConfigValue: Sized {
    /// What `DescribeConfigs` calls it, where the rule's range doesn't say more.
    const TYPE: ConfigType;

    /// Reads a value, or says what would be right.
    fn parse(text: &str, rule: &Rule) -> Result<Self, String>;

    /// Writes the value as `DescribeConfigs` shows it; `None` where it is unset.
    fn render(&self) -> Option<String>;
}

pub(super) fn parse_number(text: &str, rule: &Rule) -> Result<i64, String> {
    let wanted = || format!("{text:?} is not {}", rule.unit.wanted());
    let with_suffix = rule.unit.suffixes().iter().find_map(|(suffix, factor)| {
        let digits = text.strip_suffix(suffix)?.trim_end();
        digits.ends_with(|last: char| last.is_ascii_digit()).then_some((digits, *factor))
    });
    let (digits, factor) = with_suffix.unwrap_or((text, 1));
    let number: i64 = digits.replace('_', "").parse().map_err(|_| wanted())?;
    let number = number.checked_mul(factor).ok_or_else(wanted)?;
    match rule.range {
        Some((low, _)) if number < low => Err(format!("{number} is too low: at least {low}")),
        Some((_, high)) if number > high => Err(format!("{number} is too high: at most {high}")),
        _ => Ok(number),
    }
}

macro_rules! number {
    ($($type:ty: $config_type:ident),+) => {$(
        impl ConfigValue for $type {
            const TYPE: ConfigType = ConfigType::$config_type;

            fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
                let number = parse_number(text, rule)?;
                Self::try_from(number)
                    .map_err(|_| format!("{number} is out of range: {} to {}", Self::MIN, Self::MAX))
            }

            fn render(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )+};
}

number!(i32: Int, u16: Int, u32: Int, i64: Long, u64: Long, usize: Long);

impl ConfigValue for bool {
    const TYPE: ConfigType = ConfigType::Boolean;

    fn parse(text: &str, _rule: &Rule) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }

    fn render(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl ConfigValue for Duration {
    const TYPE: ConfigType = ConfigType::Long;

    fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
        let number = parse_number(text, rule)?;
        u64::try_from(number).map(Self::from_millis).map_err(|_| format!("{number} is below 0"))
    }

    fn render(&self) -> Option<String> {
        Some(self.as_millis().to_string())
    }
}

impl ConfigValue for String {
    const TYPE: ConfigType = ConfigType::String;

    fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
        if rule.choices.is_empty() || rule.choices.contains(&text) {
            return Ok(text.to_owned());
        }
        Err(not_a_choice(text, rule.choices))
    }

    fn render(&self) -> Option<String> {
        Some(self.clone())
    }
}

fn not_a_choice(text: &str, choices: &[&str]) -> String {
    format!("{text:?} is not one of {}", choices.join(", "))
}

impl ConfigValue for PathBuf {
    const TYPE: ConfigType = ConfigType::List;

    fn parse(text: &str, _rule: &Rule) -> Result<Self, String> {
        match text {
            "" => Err("a directory must be named".to_owned()),
            text if text.contains(',') => {
                Err("one directory only; a comma isn't allowed in its name".to_owned())
            }
            text => Ok(Self::from(text)),
        }
    }

    fn render(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

/// An unset value is the empty text.
impl<T: ConfigValue> ConfigValue for Option<T> {
    const TYPE: ConfigType = T::TYPE;

    fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text, rule).map(Some) }
    }

    fn render(&self) -> Option<String> {
        self.as_ref().and_then(T::render)
    }
}

/// A host (name, address, or empty for every address of the machine) and a port (0 for any free one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without brackets, also where it is an IPv6 address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Whether it stands for every address of the machine, so that no client could connect to it by name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }

    /// The host as the socket functions want it.
    #[must_use]
    pub fn host_or_any(&self) -> &str {
        if self.host.is_empty() { "0.0.0.0" } else { &self.host }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

impl ConfigValue for Endpoint {
    const TYPE: ConfigType = ConfigType::String;

    fn parse(text: &str, _rule: &Rule) -> Result<Self, String> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("{text:?} is not HOST:PORT (such as 127.0.0.1:9092)"))?;
        let port = port.parse().map_err(|_| format!("{port:?} is not a port: 0 to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if bare.is_none() && host.contains([':', '[', ']', '/', '@', ' ']) {
            return Err(format!("{host:?} is not a host (an IPv6 address stands in brackets: [::1]:9092)"));
        }
        Ok(Self { host: bare.unwrap_or(host).to_owned(), port })
    }

    fn render(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// Where Kafka clients connect: an [`Endpoint`] that Kafka's tools see with its security protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener(pub Endpoint);

const PLAINTEXT: &str = "PLAINTEXT";

impl ConfigValue for Listener {
    const TYPE: ConfigType = ConfigType::List;

    fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
        match text.split_once("://") {
            _ if text.contains(',') => Err("one listener only is supported".to_owned()),
            None => Endpoint::parse(text, rule).map(Self),
            Some((PLAINTEXT, address)) => Endpoint::parse(address, rule).map(Self),
            Some((protocol, _)) => {
                Err(format!("{protocol} is not supported: PLAINTEXT is the only security protocol yet"))
            }
        }
    }

    fn render(&self) -> Option<String> {
        Some(format!("{PLAINTEXT}://{}", self.0))
    }
}

/// A list of cores as `taskset` writes it: `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(pub Vec<usize>);

/// More cores than any machine has: bounds what a range may unfold to.
const CORE_MAX: usize = 4095;

impl ConfigValue for CoreList {
    const TYPE: ConfigType = ConfigType::List;

    fn parse(text: &str, _rule: &Rule) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a list of cores such as 0,2-3");
        let core = |word: &str| match word.trim().parse() {
            Ok(core) if core <= CORE_MAX => Ok(core),
            _ => Err(wrong()),
        };
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (core(first)?, core(last)?);
            if first > last {
                return Err(wrong());
            }
            for core in first..=last {
                if cores.contains(&core) {
                    return Err(format!("core {core} is named twice in {text:?}"));
                }
                cores.push(core);
            }
        }
        Ok(Self(cores))
    }

    fn render(&self) -> Option<String> {
        Some(self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

/// Assignors by their names, the first one for groups that ask for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignorList(pub Vec<Assignor>);

impl ConfigValue for AssignorList {
    const TYPE: ConfigType = ConfigType::List;

    fn parse(text: &str, _rule: &Rule) -> Result<Self, String> {
        let mut assignors = Vec::new();
        for name in text.split(',').map(str::trim) {
            let assignor = Assignor::of_name(name)
                .ok_or_else(|| format!("{name:?} is not an assignor: there are uniform and range"))?;
            if assignors.contains(&assignor) {
                return Err(format!("{name} is named twice in {text:?}"));
            }
            assignors.push(assignor);
        }
        Ok(Self(assignors))
    }

    fn render(&self) -> Option<String> {
        Some(self.0.iter().map(|assignor| assignor.name()).collect::<Vec<_>>().join(","))
    }
}

macro_rules! choice {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $variant_doc])+ $variant,)+
        }

        impl ConfigValue for $name {
            const TYPE: ConfigType = ConfigType::String;

            fn parse(text: &str, _rule: &Rule) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(not_a_choice(text, &[$($text),+])),
                }
            }

            fn render(&self) -> Option<String> {
                Some(match self { $(Self::$variant => $text,)+ }.to_owned())
            }
        }
    };
}

choice! {
    /// How log lines look.
    LogFormat {
        /// For a person.
        Text = "text",
        /// For a machine: one JSON object a line.
        Json = "json",
    }
}

choice! {
    /// How a journal frame is made durable.
    SyncChoice {
        /// The device is asked at start which way suits it.
        Auto = "auto",
        /// A direct write with `O_DSYNC`: one operation, completed inline where the device has FUA.
        Dsync = "dsync",
        /// A direct write, then `fdatasync`: two operations, never held up by a busy core.
        WriteThenSync = "write-then-sync",
    }
}

choice! {
    /// What becomes of produces when the disk is full.
    FullDiskChoice {
        /// They are refused.
        Refuse = "refuse",
        /// They go on, and the oldest records go.
        DeleteOldest = "delete-oldest",
    }
}

choice! {
    /// Which groups change their kind while they have members.
    MigrationChoice {
        /// None.
        Disabled = "disabled",
        /// Classic groups may become consumer groups.
        Upgrade = "upgrade",
        /// Consumer groups may become classic ones.
        Downgrade = "downgrade",
        /// Both.
        Bidirectional = "bidirectional",
    }
}
