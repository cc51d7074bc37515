//! Every program in the documentation, the standard library and the pipelines is what it says it is.
//!
//! A fence ```` ```taper ```` is a complete file that checks clean; ```` ```taper,error=E0401 ```` gives that
//! error and no other; `file=NAME` names a file that later fences of the page may import.

use std::collections::{BTreeSet, HashMap};

use taper::diagnostic::Severity;
use taper::{CheckOptions, Checked};

use crate::fences::{Disk, check, fences, files, root, shown};

/// The codes of all errors, each once.
fn errors(checked: &Checked) -> Vec<String> {
    let codes = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    codes.map(|d| d.code.to_string()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn programs_of_the_documentation() {
    let mut pages = files(&root().join("docs"), "md");
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let page = root().join(name);
        if page.exists() {
            pages.push(page);
        }
    }
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let mut others = HashMap::new();
        for fence in fences(&text).iter().filter(|f| f.language == "taper") {
            count += 1;
            let name = fence.attributes.get("file").map_or("main.taper", String::as_str);
            let checked = check(name, &fence.text, &others);
            let found = errors(&checked);
            let want: Vec<String> = fence.attributes.get("error").cloned().into_iter().collect();
            if found != want {
                let at = format!("{}:{}", shown(&page), fence.line);
                wrong.push(format!("{at}: expected {want:?}, found {found:?}\n{}", checked.render()));
            }
            others.insert(name.to_string(), fence.text.clone());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 0, "no program found");
}

#[test]
fn library_and_pipelines_are_clean_and_formatted() {
    let mut wrong = Vec::new();
    for dir in ["stdlib", "pipelines"] {
        for path in files(&root().join(dir), "taper") {
            let checked = taper::check(&Disk, &path.display().to_string(), &CheckOptions::default());
            if !checked.diagnostics.is_empty() {
                wrong.push(format!("{}:\n{}", shown(&path), checked.render()));
            }
            if dir == "pipelines" && checked.program.is_none() {
                wrong.push(format!("{} holds no pipeline", shown(&path)));
            }
            let text = std::fs::read_to_string(&path).unwrap();
            if taper::syntax::format(&text).ok().as_ref() != Some(&text) {
                wrong.push(format!("{} is not formatted: run `taper fmt`", shown(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a page says `name` in code.
fn mentions(page: &str, name: &str) -> bool {
    page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}("))
}

#[test]
fn every_operation_and_built_in_is_in_the_reference() {
    let page = std::fs::read_to_string(root().join("docs/language.md")).unwrap();
    let missing: Vec<&str> =
        taper::elaborate::known_names().into_iter().filter(|n| !mentions(&page, n)).collect();
    assert!(missing.is_empty(), "docs/language.md says nothing of {missing:?}");
}
