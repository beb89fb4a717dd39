//! Text that came from guests and users, made fit for a terminal: no control characters, no endless
//! lines. Whoever prints such text passes it through here.

/// The text on one line of at most `max` characters.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    for (count, character) in text.chars().enumerate() {
        if count + 1 >= max && text.chars().nth(max).is_some() {
            line.push('…');
            break;
        }
        push(&mut line, character);
    }
    line
}

/// The text with its line breaks, and with every other control character made visible.
pub(crate) fn lines(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' {
            clean.push('\n');
        } else {
            push(&mut clean, character);
        }
    }
    clean
}

fn push(line: &mut String, character: char) {
    match character {
        '\n' => line.push_str("\\n"),
        '\t' => line.push_str("    "),
        control if control.is_control() => line.extend(control.escape_default()),
        other => line.push(other),
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} bytes"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// Rows in columns that are as wide as they need to be; the last one runs free. Cells may be
/// painted, which takes no room.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| width(c)).max();
    let widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
    let pad =
        |(cell, widest): (&String, &usize)| format!("{cell}{:1$}", "", widest - width(cell) + 2);
    rows.iter()
        .map(|row| row.iter().zip(&widths).map(pad).collect::<String>().trim_end().to_owned())
        .collect()
}

/// The columns that a text takes on the terminal, colour sequences not counted.
fn width(cell: &str) -> usize {
    let mut in_sequence = false;
    let visible = cell.chars().filter(|character| {
        let is_visible = !in_sequence && *character != '\x1b';
        in_sequence = if in_sequence { *character != 'm' } else { *character == '\x1b' };
        is_visible
    });
    visible.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\x1b[2Jb\r\nc\td", 80), "a\\u{1b}[2Jb\\r\\nc    d");
        assert_eq!(lines("a\nb\x07"), "a\nb\\u{7}");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(one_line("äöüß", 4), "äöüß");
        assert_eq!(one_line("äöüßa", 4), "äöü…");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "b".into()], vec!["long".into(), "c".into()]];
        assert_eq!(table(&rows), ["a     b", "long  c"]);
        let painted = [vec!["\x1b[1ma\x1b[0m".into(), "b".into()], vec!["cc".into(), "d".into()]];
        assert_eq!(table(&painted), ["\x1b[1ma\x1b[0m   b", "cc  d"]);
        assert!(table(&[]).is_empty());
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}
