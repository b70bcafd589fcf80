//! Text from servers made harmless. What a server says in an error may hold any character; none may move a terminal's
//! cursor, end a CDATA section or make XML ill-formed.

/// One line: line breaks and tabs become spaces, control characters become their visible pictures.
pub fn line(text: &str) -> String {
    let joined = text.replace("\r\n", " ");
    joined.trim_end().chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { visible(c) }).collect()
}

/// Several lines for a CDATA section: line breaks and tabs stay, and `]]>` is taken apart.
pub fn cdata(text: &str) -> String {
    let unix = text.replace("\r\n", "\n").replace('\r', "\n");
    let shown: String = unix.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { visible(c) }).collect();
    shown.replace("]]>", "]] >")
}

/// The character itself, or what stands for it where it must not be written: the pictures of Unicode's block 2400 for
/// C0 and DEL, U+FFFD for C1, for what XML 1.0 forbids (production 2, `Char`) and for what turns the direction of text.
fn visible(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_is_shown_and_does_nothing() {
        for (dirty, want) in [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "␛[31mred␛[0m"),
            ("two\nlines\r\nthree", "two lines three"),
            ("nul\0 bell\u{7} del\u{7f} csi\u{9b}", "nul␀ bell␇ del␡ csi\u{fffd}"),
            ("\u{202e}txt.exe", "\u{fffd}txt.exe"),
        ] {
            assert_eq!(line(dirty), want);
        }
        assert_eq!(cdata("a]]>b\r\nc\u{1b}"), "a]] >b\nc␛");
    }
}
