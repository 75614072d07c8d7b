//! Somebody else's plain text, such as what changed in an update, as paragraphs and lists. No markup is understood and none
//! gets through.

use maud::{Markup, html};

/// Longest text that is shown, in characters; what is beyond is cut off, and said to be.
pub const MAX_CHARS: usize = 6000;
/// Most paragraphs and lists.
const MAX_BLOCKS: usize = 200;

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// Lines that belong together.
    Paragraph(String),
    /// Lines that begin with `- ` or `* `.
    List(Vec<String>),
}

/// The parts of a text, and whether it was longer. Blank lines part paragraphs; a line below a list item that is indented
/// goes on with the item.
pub fn parse(text: &str) -> (Vec<Block>, bool) {
    let mut blocks: Vec<Block> = Vec::new();
    let mut chars = text.chars();
    let kept: String = chars.by_ref().take(MAX_CHARS).collect();
    let mut cut = chars.next().is_some();
    let mut apart = true;
    for line in kept.lines() {
        let indented = line.starts_with([' ', '\t']);
        let line = clean(line);
        if line.is_empty() {
            apart = true;
            continue;
        }
        let item = line.strip_prefix("- ").or_else(|| line.strip_prefix("* "));
        match (item, blocks.last_mut()) {
            (Some(item), Some(Block::List(items))) => items.push(item.trim().to_owned()),
            (Some(item), _) => blocks.push(Block::List(vec![item.trim().to_owned()])),
            (None, Some(Block::Paragraph(known))) if !apart => {
                known.push(' ');
                known.push_str(&line);
            }
            (None, Some(Block::List(items))) if !apart && indented => {
                if let Some(last) = items.last_mut() {
                    last.push(' ');
                    last.push_str(&line);
                }
            }
            (None, _) => blocks.push(Block::Paragraph(line)),
        }
        apart = false;
        if blocks.len() > MAX_BLOCKS {
            blocks.truncate(MAX_BLOCKS);
            cut = true;
            break;
        }
    }
    (blocks, cut)
}

/// Without control characters, and without those that turn the direction of what follows (Unicode, "Trojan source").
fn clean(line: &str) -> String {
    let line: String = line
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| {
            !c.is_control()
                && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        })
        .collect();
    line.trim().to_owned()
}

/// As HTML.
pub fn render(text: &str) -> Markup {
    let (blocks, cut) = parse(text);
    html! {
        @for block in &blocks {
            @match block {
                Block::Paragraph(text) => { p { (text) } }
                Block::List(items) => { ul { @for item in items { li { (item) } } } }
            }
        }
        @if cut { p { "\u{2026}" } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_lists_are_told_apart() {
        let (blocks, cut) = parse(
            "Faster and\nsafer.\n\n- Wi-Fi reconnects\n  after a night\n* <b>smaller</b>\n\nThanks.\r\n\r\n- one",
        );
        let item = |text: &str| text.to_owned();
        assert_eq!(
            blocks,
            [
                Block::Paragraph(item("Faster and safer.")),
                Block::List(vec![
                    item("Wi-Fi reconnects after a night"),
                    item("<b>smaller</b>")
                ]),
                Block::Paragraph(item("Thanks.")),
                Block::List(vec![item("one")]),
            ]
        );
        assert!(!cut);
    }

    #[test]
    fn no_markup_and_no_turned_text_gets_through() {
        let html = render("<script>alert(1)</script> \u{202e}gnp.exe\u{7}\n- <img src=x>").into_string();
        assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        assert!(!html.contains('\u{202e}') && !html.contains('\u{7}'), "{html}");
    }

    #[test]
    fn a_text_without_end_is_cut_off_and_said_to_be() {
        for text in ["a".repeat(MAX_CHARS + 1), "a\n\n".repeat(MAX_CHARS / 3)] {
            let (blocks, cut) = parse(&text);
            assert!(cut && blocks.len() <= MAX_BLOCKS);
            assert!(render(&text).into_string().ends_with("<p>\u{2026}</p>"));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_becomes_paragraphs_and_lists_only(text in "(\\PC|[\\n\\t<>&\"*-]){0,300}") {
            let html = render(&text).into_string();
            let plain = ["<p>", "</p>", "<ul>", "</ul>", "<li>", "</li>"]
                .iter()
                .fold(html, |html, tag| html.replace(tag, ""));
            proptest::prop_assert!(!plain.contains('<') && !plain.contains('>'), "{plain}");
        }
    }
}
