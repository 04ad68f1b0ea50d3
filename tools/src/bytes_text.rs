//! Bytes of keys and values in JSON: text where they are text, `{"hex": "00ff"}` where not, null where there are none.

use serde_json::{Value, json};

/// The bytes' JSON.
pub fn json(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::from(text),
        Some((bytes, Err(_))) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_bytes_and_from_nothing() {
        assert_eq!(json(None), Value::Null);
        assert_eq!(json(Some(b"")), json!(""));
        assert_eq!(json(Some("\u{fc}\"".as_bytes())), json!("\u{fc}\""));
        assert_eq!(json(Some(b"\x00\xff")), json!({"hex": "00ff"}));
    }
}
