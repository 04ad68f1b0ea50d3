//! The command line: a flag for each everyday key of the table, `--set KEY=VALUE` for every other.

use super::error::{ConfigError, ConfigErrors, Place};
use super::reference;
use super::table::definitions;
use clap::{Arg, ArgAction, Command, error::ErrorKind};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line says.
pub(super) enum Parsed {
    Print(String),
    Flags(Flags),
}

/// The flags given, in keys of the table.
#[derive(Default)]
pub(super) struct Flags {
    pub(super) config_file: Option<PathBuf>,
    pub(super) given: Vec<(Place, String, String)>,
}

pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, ConfigErrors> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return from_clap_error(&error),
    };
    if matches.get_flag("print-config-reference") {
        return Ok(Parsed::Print(reference::reference()));
    }
    let mut flags = Flags { config_file: matches.get_one::<PathBuf>("config").cloned(), ..Flags::default() };
    for definition in definitions() {
        let Some((flag, _)) = definition.flag else { continue };
        if let Some(text) = matches.get_one::<String>(flag) {
            let place = Place::Flag(format!("--{flag}"));
            flags.given.push((place, definition.key.to_owned(), text.trim().to_owned()));
        }
    }
    for pair in matches.get_many::<String>("set").into_iter().flatten() {
        let place = Place::Flag("--set".to_owned());
        let Some((key, text)) = pair.split_once('=') else {
            let reason = format!("{pair:?} is not KEY=VALUE");
            return Err(ConfigErrors(vec![ConfigError { place, key: None, reason }]));
        };
        flags.given.push((place, key.trim().to_owned(), text.trim().to_owned()));
    }
    Ok(Parsed::Flags(flags))
}

fn command() -> Command {
    let mut command = Command::new("iolite-broker")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A broker that speaks Kafka's protocol: every record on stable media before its producer hears yes.")
        .after_help("--help lists every key of the configuration with its default.")
        .after_long_help(reference::keys_for_help())
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Read the configuration from this TOML file [environment: IOLITE_CONFIG]"),
        );
    for definition in definitions() {
        let Some((flag, value_name)) = definition.flag else { continue };
        let default = match definition.default {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        let help = format!("{}{default} [key: {}]", definition.words.trim(), definition.key);
        // A value may begin with a dash: what is wrong with it is said by its key, not by the parser of flags.
        let argument = Arg::new(flag).long(flag).value_name(value_name).help(help).allow_hyphen_values(true);
        command = command.arg(argument);
    }
    command
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
                .help("Set any key of the configuration; may be given again and again"),
        )
        .arg(
            Arg::new("print-config-reference")
                .long("print-config-reference")
                .action(ArgAction::SetTrue)
                .help("Print the reference of all keys as Markdown"),
        )
}

fn from_clap_error(error: &clap::Error) -> Result<Parsed, ConfigErrors> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Ok(Parsed::Print(error.render().to_string()));
    }
    // Its first paragraph says what is wrong, a line with a tip what would be right; the rest repeats the usage.
    let text = error.render().to_string();
    let wrong = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let reason = tip.map_or_else(|| wrong.to_owned(), |tip| format!("{wrong}; {tip}"));
    let place = Place::Flag("(command line)".to_owned());
    Err(ConfigErrors(vec![ConfigError { place, key: None, reason }]))
}
