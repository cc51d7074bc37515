use super::*;

/// Parses `text` and checks the diagnostics: each has this code, its first label this text, and its message,
/// labels or help contain these words.
fn expect(text: &str, expected: &[(&str, &str, &str)]) {
    let (_, diagnostics) = parse(text, FileId(0));
    let got: Vec<(&str, &str)> = diagnostics
        .iter()
        .map(|d| {
            let span = d.labels[0].span;
            (d.code.0, &text[span.start as usize..span.end as usize])
        })
        .collect();
    let wanted: Vec<(&str, &str)> = expected.iter().map(|(code, at, _)| (*code, *at)).collect();
    assert_eq!(got, wanted, "{}", drawn(text, &diagnostics));
    for (diagnostic, (_, _, words)) in diagnostics.iter().zip(expected) {
        let all = format!(
            "{}\n{}\n{}",
            diagnostic.message,
            diagnostic.labels.iter().map(|l| l.text.as_str()).collect::<Vec<_>>().join("\n"),
            diagnostic.help.as_deref().unwrap_or("")
        );
        assert!(all.contains(words), "`{words}` in\n{}", drawn(text, &diagnostics));
    }
}

#[test]
fn unclosed_brackets_point_at_the_opener() {
    expect(
        "block A() {\n  x = f(g(1)\n  y = Linear(4)\n}\nz = [1, 2\nfn f() = 1\n",
        &[("E0102", "(", "expected `)` before this"), ("E0102", "[", "add the missing `]`")],
    );
    expect("x = (1, [2, 3\n", &[("E0102", "[", "the file ends without `])`")]);
    expect(
        "block A() {\n  graph (x: int) {\n    y = x\n\n  graph foo(x) {\n    x\n  }\n}\nfn h(x) = x\n",
        &[("E0102", "{", "expected `}` before this")],
    );
    expect("block A() {\n  a = 1\n\nblock B() {\n  b = 1\n}\n", &[("E0102", "{", "`}`")]);
    expect("fn f() {\n  if a {\n    b\n}\nx = 1\n", &[("E0102", "{", "`}`")]);
    expect("x = 1)\ny = 2}\n", &[("E0101", ")", "closes nothing"), ("E0101", "}", "closes nothing")]);
    expect("x = [1, 2\n  3, 4]\n", &[("E0101", "3", "`,`")]);
}

#[test]
fn unclosed_strings_end_with_their_line() {
    expect(
        "x = \"abc\ny = \"a\\\"\nz = \"c\"\n",
        &[("E0103", "\"abc", "closing `\"`"), ("E0103", "\"a\\\"", "same line")],
    );
}

#[test]
fn misspelt_keywords() {
    expect(
        "blok A() {\n  grpah (x) {\n    lop y for t in ts { y }\n    wach y\n    minimise y ovr a\n    x\n  }\n  trian { x }\n}\npipline P {}\nspce s\n",
        &[
            ("E0104", "blok", "`block`"),
            ("E0104", "grpah", "`graph`"),
            ("E0104", "lop", "`loop`"),
            ("E0104", "wach", "`watch`"),
            ("E0104", "minimise", "`minimize`"),
            ("E0104", "trian", "`train`"),
            ("E0104", "pipline", "`pipeline`"),
            ("E0104", "spce", "`space`"),
        ],
    );
    expect(
        "x = fnn (a) = a\ny = [a fro a in b]\nz = if a { b } esle { c }\nfn f() {\n  minimize x ovr y\n}\n",
        &[
            ("E0104", "fnn", "`fn`"),
            ("E0104", "fro", "`for`"),
            ("E0104", "esle", "`else`"),
            ("E0104", "ovr", "`over`"),
        ],
    );
    expect(
        "import std.nn\ndef f(x) = x\nlet x = 3\nfn g() {\n  return 3\n}\n",
        &[
            ("E0104", "import", "`use"),
            ("E0104", "def", "`fn`"),
            ("E0104", "let", "without a keyword"),
            ("E0104", "return", "last expression"),
        ],
    );
}

#[test]
fn numbers_out_of_range() {
    expect(
        "x = 9223372036854775808\ny = 1e999\nz = 1e-999\nw = 9223372036854775807 + 0e-999\n",
        &[
            ("E0105", "9223372036854775808", "9223372036854775807"),
            ("E0105", "1e999", "1.797e308"),
            ("E0105", "1e-999", "5e-324"),
        ],
    );
}

#[test]
fn misplaced_constructs() {
    expect(
        "graph f(x) { x }\ntrain { x }\nfor x in y { x }\nblock A() {\n  use std.nn\n  minimize x\n  graph (x) {\n    graph (y) { y }\n    block B() {}\n    use \"f\"\n  }\n}\nfn f() {\n  train (steps = 3) { x }\n  1\n}\n",
        &[
            ("E0107", "graph", "inside a `block`"),
            ("E0107", "train", "inside a `block`"),
            ("E0107", "for", "inside a `block`"),
            ("E0107", "use", "at the top of a file"),
            ("E0107", "minimize", "in the body"),
            ("E0107", "graph", "inside a `block`"),
            ("E0107", "block", "at the top of a file"),
            ("E0107", "use", "at the top of a file"),
            ("E0107", "train", "inside a `block`"),
        ],
    );
}

#[test]
fn stray_tokens() {
    expect(
        "x = a b\ny = a +\nz = 3 * * 4\nw = a; \nv = 'a'\nu = a && b\nt = 2 ** 3\nfor = 3\nfn f(for) = 1\ns = a < b < c\nr = \"\\q\"\nq = 3x\np = f(a = 1 2)\n",
        &[
            ("E0101", "b", "expected an operator, `,` or the end of the line"),
            ("E0101", "", "expected an expression"),
            ("E0101", "*", "expected an expression"),
            ("E0101", ";", "remove the `;`"),
            ("E0101", "'", "double quotes"),
            ("E0101", "&", "write `and`"),
            ("E0101", "*", "`^`"),
            ("E0101", "for", "reserved word"),
            ("E0101", "for", "reserved word"),
            ("E0101", "<", "`a < b and b < c`"),
            ("E0101", "\\q", "no escape"),
            ("E0101", "3x", "expected an expression"),
            ("E0101", "2", "`,`"),
        ],
    );
}

#[test]
fn one_mistake_does_not_hide_the_next() {
    let text = "\
block A() {
  a = Linear(3
  b = Linear(4)
  graph (x: [n, ) {
    x
  }
  graph g(x) {
    y = x x
    for i in range(3) {
      z = = 3
      ok = 1
    }
    w = if a { b c } else { d }
    v = fn (x) {
      u = )
      x
    }
  }
}
fn f(x) = x +
fn g(x) = \"
";
    expect(
        text,
        &[
            ("E0102", "(", ""),
            ("E0102", "[", ""),
            ("E0101", "x", ""),
            ("E0101", "=", ""),
            ("E0101", "c", ""),
            ("E0101", ")", ""),
            ("E0101", "", "end of the statement"),
            ("E0101", "", "end of the line"),
            ("E0103", "\"", ""),
        ],
    );
}

#[test]
fn habits_of_other_languages() {
    let text = "\
fn f(x: int) {
  x: int = 3
  if x == 1:
    y
  x += 1
  h = 1.
  k = .5
  l = x ? a : b
  m = if a b else c
  n = [1 2]
  o = lambda x: x
  p = “abc”
  q = {a = 1}
  e = {}
}
block B() {
  y = Linear(3),
  graph x: [n] { x }
}
";
    expect(
        text,
        &[
            ("E0101", ":", "types stand in signatures"),
            ("E0101", ":", "braces"),
            ("E0101", "=", "write `x = x + …`"),
            ("E0101", "", "digits on both sides"),
            ("E0101", ".", "digits on both sides"),
            ("E0101", "?", "if c"),
            ("E0101", "b", "`{`"),
            ("E0101", "2", "`,`"),
            ("E0104", "lambda", "`fn (x) = …`"),
            ("E0101", "“", "straight double quotes"),
            ("E0101", "{", "a record is written"),
            ("E0101", ",", "the end of the line"),
            ("E0101", ":", "expected `(`"),
        ],
    );
    expect("q = {a = 1}", &[("E0101", "{", "a record is written")]);
}
