//! A QR code out of half blocks, for white on black.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// The code with its quiet zone, two modules to a character: a drawn half is a *light* module, because the screen is
/// black. `None` when the text is too long for a code.
pub fn code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let mut canvas = code.render::<Dense1x2>();
    Some(
        canvas
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .quiet_zone(true)
            .build(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a camera sees of white characters on a black screen, four pixels to a module.
    fn read(drawn: &str) -> String {
        const SCALE: usize = 4;
        let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        let light = |x: usize, y: usize| match lines[y / 2][x] {
            '█' => true,
            '▀' => y.is_multiple_of(2),
            '▄' => !y.is_multiple_of(2),
            ' ' => false,
            other => panic!("{other:?} in a QR code"),
        };
        let (width, height) = (lines[0].len() * SCALE, lines.len() * 2 * SCALE);
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
            if light(x / SCALE, y / SCALE) { 255 } else { 0 }
        });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_reader_reads_what_was_written() {
        for url in [
            "http://10.0.2.15/",
            "http://192.168.100.200/",
            "http://[2001:db8:1234:5678:9abc:def0:1234:5678]/",
        ] {
            assert_eq!(read(&code(url).unwrap()), url);
        }
    }

    #[test]
    fn a_quiet_zone_of_four_light_modules_surrounds_the_code() {
        let drawn = code("http://10.0.2.15/").unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[0].chars().chain(lines[1].chars()).all(|c| c == '█'));
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() == lines[0].chars().count())
        );
        assert!(
            lines[..lines.len() - 1]
                .iter()
                .all(|line| line.starts_with("████") && line.ends_with("████"))
        );
    }

    #[test]
    fn too_long_a_text_is_no_code() {
        assert_eq!(code(&"x".repeat(5000)), None);
    }
}
