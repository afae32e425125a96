//! Values of global variables as records keep them: hex digits, two for each byte in memory order.

use std::{collections::BTreeMap, fmt::Write as _};

/// Upper-case digits of each value.
pub fn hex_globals(values: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    let hex = |bytes: &Vec<u8>| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02X}");
            text
        })
    };
    let values = values.iter();
    values
        .map(|(name, bytes)| (name.clone(), hex(bytes)))
        .collect()
}

/// The bytes behind the digits.
pub fn global_bytes(hex: &str) -> Vec<u8> {
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    let digits = pairs.iter().filter_map(|pair| str::from_utf8(pair).ok());
    digits
        .filter_map(|digits| u8::from_str_radix(digits, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let values = [("a".to_owned(), vec![0, 0x1f, 0xff])].into();
        let hex = hex_globals(&values);
        assert_eq!(hex["a"], "001FFF");
        assert_eq!(global_bytes(&hex["a"]), values["a"]);
    }
}
