//! The files on the pages of the error codes: wrong ones give their code and nothing else, right ones pass.

use taper::diagnostic::pages::PAGES;
use taper::source::MemorySources;
use taper::{CheckOptions, check};

/// The fenced blocks of a page: what stands after the fence, and the text.
fn fences(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split("```").skip(1).step_by(2).filter_map(|f| f.split_once('\n'))
}

#[test]
fn examples_give_what_they_say() {
    let mut broken = Vec::new();
    for (code, page) in PAGES {
        for (i, (kind, text)) in fences(page).enumerate() {
            let expected = match kind.strip_prefix("taper") {
                Some("") => None,
                Some(error) => Some(error.strip_prefix(",error=").unwrap_or(error)),
                None => continue,
            };
            let checked =
                check(&MemorySources::single("page.taper", text), "page.taper", &CheckOptions::default());
            let found: Vec<&str> =
                checked.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code.0).collect();
            let right = match expected {
                None => found.is_empty(),
                Some(code) => !found.is_empty() && found.iter().all(|f| *f == code),
            };
            if !right {
                let shown = checked.render();
                broken.push(format!(
                    "{code}, example {}: expected {expected:?}, found {found:?}\n{shown}",
                    i + 1
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn reveal_tells_what_its_page_says() {
    let (_, page) = PAGES.iter().find(|(c, _)| *c == "I0001").expect("the page of reveal");
    let (_, text) = fences(page).next().expect("an example");
    let checked = check(&MemorySources::single("page.taper", text), "page.taper", &CheckOptions::default());
    let told = checked.diagnostics.iter().find(|d| d.code.0 == "I0001").expect("it is told");
    assert!(told.message.contains("[n, 32, 14, 14]"), "{}", checked.render());
}
