//! What every picture is made of.

/// The beginning of a picture, with a white ground.
pub(crate) fn open(width: usize, height: usize, style: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>{style}</style>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    )
}

/// A page of words, each before its picture.
pub(crate) fn page(title: &str, parts: impl IntoIterator<Item = (String, String)>) -> String {
    let parts = parts.into_iter().map(|(words, picture)| format!("<pre>{}</pre>\n{picture}", escaped(&words)));
    let parts: String = parts.collect();
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n<body>\n{parts}</body></html>\n"
    )
}

/// Text as it may stand in a picture or a page.
pub(crate) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            control if control.is_control() && control != '\n' => out.push('\u{fffd}'),
            other => out.push(other),
        }
        out
    })
}

/// At most so many characters: of what is longer the beginning and the end, because lists grow at their end.
pub(crate) fn shortened(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    let head = room / 2;
    let tail = room.saturating_sub(head + 1);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(length - tail)).collect()
}
