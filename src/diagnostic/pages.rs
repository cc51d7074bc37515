//! The page of every code, as `taper explain` shows it: `docs/errors/CODE.md`, embedded.

use super::Code;

/// The page of a code, in Markdown. Every code of [`codes::ALL`](super::codes::ALL) has one.
pub fn page(code: Code) -> Option<&'static str> {
    PAGES.iter().find(|(c, _)| *c == code.0).map(|(_, text)| *text)
}

macro_rules! pages {
    ($($code:literal)*) => {
        /// Every page with its code, in order.
        pub const PAGES: &[(&str, &str)] =
            &[$(($code, include_str!(concat!("../../docs/errors/", $code, ".md")))),*];
    };
}

#[rustfmt::skip]
pages! {
    "E0101" "E0102" "E0103" "E0104" "E0105" "E0106" "E0107"
    "E0201" "E0202" "E0203" "E0204" "E0205" "E0206" "E0207"
    "E0301" "E0302" "E0303" "E0304" "E0305" "E0306" "E0307" "E0308" "E0309" "E0310" "E0311"
    "E0401" "E0402" "E0403" "E0404" "E0405" "E0406" "E0407" "E0408"
    "E0501" "E0502"
    "E0601" "E0602" "E0603" "E0604" "E0605" "E0606" "E0607" "E0608"
    "E0701" "E0702" "E0703" "E0704" "E0705" "E0706"
    "E0801" "E0802" "E0803" "E0804" "E0805" "E0806" "E0807"
    "E0901" "E0902" "E0903" "E0904" "E0905" "E0906" "E0907"
    "E1001" "E1002" "E1003" "E1004"
    "W0001" "W0002" "W0003"
    "I0001"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::codes;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let codes: Vec<&str> = codes::ALL.iter().map(|(c, _)| c.0).collect();
        let pages: Vec<&str> = PAGES.iter().map(|(c, _)| *c).collect();
        assert_eq!(codes, pages);
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors")).unwrap();
        let mut files: Vec<String> =
            folder.map(|f| f.unwrap().file_name().to_string_lossy().into_owned()).collect();
        files.sort();
        let mut expected: Vec<String> = codes.iter().map(|c| format!("{c}.md")).collect();
        expected.sort();
        assert_eq!(files, expected, "a file of docs/errors that no code has, or a code without a file");
    }

    #[test]
    fn pages_have_the_title_and_an_example() {
        for (code, title) in codes::ALL {
            let text = page(*code).unwrap();
            assert!(text.starts_with(&format!("# {code}: {title}\n\n")), "{code}: the title");
            assert!(text.contains("```"), "{code}: an example");
            assert!(text.contains("\n## What to "), "{code}: what to do");
            assert_eq!(text.matches("```").count() % 2, 0, "{code}: fences close");
            for fence in text.split("```").skip(1).step_by(2).filter_map(|f| f.lines().next()) {
                let wrong = format!("taper,error={code}");
                assert!(["taper", "text", "console", &wrong].contains(&fence), "{code}: ```{fence}");
            }
            assert!(text.lines().all(|l| l.chars().count() <= 130), "{code}: long lines");
        }
    }
}
