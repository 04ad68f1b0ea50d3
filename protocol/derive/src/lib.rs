//! The derive macro behind `protocol::messages`: a Kafka message is a plain struct, its history is attributes.
//!
//! `#[derive(Message)]` writes `Field` (read and write in any version), `Nullable`, `Default` (Kafka's defaults)
//! and, under test, `Arbitrary`. A struct marked `#[wire(request = Api)]` or `#[wire(response = Api)]` is a whole
//! message and gets `Message` too; its versions come from the API table, not from here.
//!
//! Attributes of a field, all optional, after `#[wire(...)]`:
//!
//! | attribute | meaning |
//! | --- | --- |
//! | `versions = "3+"`, `"0-12"`, `"7"` | versions that carry the field; the default is all |
//! | `nullable = "9+"` | versions in which an `Option` may be null; the default is all |
//! | `tag = 0` | a tagged field, left out when it holds its default |
//! | `marked` | a tagged struct that may be null, with the null in a varint, and never left out: Kafka takes a missing one for an empty one |
//! | `default = EXPR` | the value where nothing is carried; otherwise `Default::default()` |
//! | `ignorable` | a value set is dropped, not refused, when the version can't carry it |
//!
//! The macro knows nothing of Kafka's types: each field's type says how it is written.

mod attributes;
mod generate;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives reading and writing of a Kafka message, or of a struct inside one.
#[proc_macro_derive(Message, attributes(wire))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    attributes::parse(&input)
        .map(|message| generate::message(&message))
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
