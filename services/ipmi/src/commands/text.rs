//! Names as SDR and FRU hold them: a byte with kind and length, then that many bytes (section 43.15, FRU 13).

/// Reads `bytes` by the kind in bits 7 and 6 of `head`. Kind 0 is Unicode in SDRs and binary in FRUs; bytes
/// that are no text are shown as hexadecimal numbers.
pub(crate) fn decode_text(head: u8, bytes: &[u8]) -> String {
    let text = match head >> 6 {
        0b01 => decode_bcd_plus(bytes),
        0b10 => decode_packed(bytes),
        0b11 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) if text.chars().all(|it| !it.is_control()) => text.to_owned(),
            _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
    };
    let printable = |it: char| if it.is_control() { ' ' } else { it };
    // Many fill up with zeros or blanks.
    text.trim_end_matches(['\0', ' ']).trim_start().chars().map(printable).collect()
}

fn decode_bcd_plus(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789 -.???";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).map_or('?', |it| char::from(*it));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}

/// Four characters of six bits in three bytes, the first in the lowest bits.
fn decode_packed(bytes: &[u8]) -> String {
    let character = |bits: u32| char::from(b' ' + u8::try_from(bits & 0x3f).unwrap_or(0));
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk.iter().rev().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            (0..=chunk.len())
                .map(move |at| bits >> (6 * at))
                .take(chunk.len() + usize::from(chunk.len() == 3))
        })
        .map(character)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_text_is_read() {
        assert_eq!(decode_text(0xc6, b"CPU 1\0"), "CPU 1");
        assert_eq!(decode_text(0x43, &[0x12, 0x3a, 0x4b]), "123 4-");
        // The specification's own example: "IPMI".
        assert_eq!(decode_text(0x83, &[0x29, 0xdc, 0xa6]), "IPMI");
        assert_eq!(decode_text(0x02, b"ok"), "ok");
        assert_eq!(decode_text(0x02, &[0x01, 0xff]), "01ff");
        assert_eq!(decode_text(0xc3, b"\x1b[2"), " [2", "no control characters for a terminal");
        assert_eq!(decode_text(0xc0, b""), "");
    }
}
