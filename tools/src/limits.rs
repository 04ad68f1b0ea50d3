//! Every bound of the tool that is not an option.

use std::time::Duration;

/// The longest line that becomes a record.
pub const LINE_BYTES_MAX: usize = 64 << 20;
/// How much of standard input is read at once.
pub const INPUT_BYTES: usize = 64 * 1024;
/// How long a quiet standard input is left alone before it is looked at again. Whoever types does not notice.
pub const INPUT_PAUSE: Duration = Duration::from_millis(5);
/// How long records are waited for before somebody looks whether Ctrl-C was pressed.
pub const INTERRUPT_PAUSE: Duration = Duration::from_millis(100);

/// What the records of one batch may be decompressed to where they are shown.
pub const RECORDS_BYTES_MAX: usize = 256 << 20;

const _: () = assert!(INPUT_BYTES <= LINE_BYTES_MAX);
