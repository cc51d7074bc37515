//! What a file may cost: nesting of any depth is parsed or refused, and elaboration ends within its limits.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use taper::source::{FileId, MemorySources};
use taper::{CheckOptions, Checked};

/// Far more than an optimised build takes; tests are not optimised, and share the machine.
const SOON: Duration = Duration::from_secs(20);

/// The stack of a thread that a host makes without thinking of it.
const STACK: usize = 2 << 20;

fn on_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(f).expect("a thread");
    thread.join().expect("no panic, and no overflow");
}

fn check(text: &str) -> Checked {
    taper::check(&MemorySources::single("p.taper", text), "p.taper", &CheckOptions::default())
}

/// Every construct that nests, `n` deep: named, with a text.
fn nested(n: usize) -> Vec<(&'static str, String)> {
    let around =
        |open: &str, inner: &str, close: &str| format!("x = {}{inner}{}\n", open.repeat(n), close.repeat(n));
    let in_graph =
        |body: String| format!("pipeline P {{\n graph f(x: [n, 4]) -> [n, 4] {{\n{body}\n }}\n}}\n");
    vec![
        ("parentheses", around("(", "1", ")")),
        ("parentheses left open", around("(", "1", "")),
        ("parentheses never opened", around("", "1", ")")),
        ("lists", around("[", "1", "]")),
        ("indices", around("a[", "0", "]")),
        ("calls", around("f(", "1", ")")),
        ("calls in a row", around("", "f", "()")),
        ("fields in a row", around("", "f", ".a")),
        ("indices in a row", around("", "f", "[0]")),
        ("records", around("{a: ", "1", "}")),
        ("braces", around("{", "", "}")),
        ("brackets of all kinds", around("([{a: f(", "1", ")}])")),
        ("brackets that cross", around("([", "1", ")]")),
        ("minus", around("-", "1", "")),
        ("minus apart", around("- ", "1", "")),
        ("not", around("not ", "true", "")),
        ("sums", around("", "1", " + 1")),
        ("powers", around("", "1", " ^ 1")),
        ("comparisons", around("", "1", " < 1")),
        ("arrows", around("", "f", " -> f")),
        ("functions", around("fn (a) = ", "1", "")),
        ("functions with bodies", around("fn (a) { ", "1", " }")),
        ("functions in functions", format!("{}1{}", "fn f() {\n".repeat(n), "\n}".repeat(n))),
        ("ifs", around("if true { ", "1", " } else { 2 }")),
        ("else ifs", around("if false { 1 } else ", "{ 2 }", "")),
        ("loops", around("loop a = 1 for _ in [1] { ", "a", " }")),
        ("comprehensions", around("[", "1", " for a in b]")),
        ("clauses", format!("x = [1{}]", " for a in b".repeat(n))),
        ("patterns", format!("{}a{} = 1\n", "(".repeat(n), ")".repeat(n))),
        ("types", format!("fn f(a: {}int{}) = 1\n", "(".repeat(n), ")".repeat(n))),
        ("dimensions", format!("fn f(a: [{}n{}]) = 1\n", "(".repeat(n), ")".repeat(n))),
        ("defaults", around("fn (a = ", "1", ") = 1")),
        ("for in for", in_graph(format!("{}x{}", "for i in [1] {\n".repeat(n), "\n}".repeat(n)))),
        ("if in if", in_graph(format!("{}x{}", "if true {\n".repeat(n), "\n}".repeat(n)))),
        ("arrows in a graph", in_graph(format!("x{}", " -> relu".repeat(n)))),
        ("blocks", format!("{}{}", "block A() {\n".repeat(n), "}\n".repeat(n))),
        ("member ifs", format!("block A() {{\n{}a = 1{}\n}}\n", "if true {\n".repeat(n), "\n}".repeat(n))),
        ("member else ifs", format!("block A() {{\nif a {{ }}{}\n}}\n", " else if b { }".repeat(n))),
        ("comments", "#".repeat(n) + &"\n#".repeat(n) + "\n"),
        ("documentation", "## a\n".repeat(n)),
        ("strings", format!("x = {}\n", "\"".repeat(n))),
        ("escapes", format!("x = \"{}\"\n", "\\\"".repeat(n))),
        ("a name", format!("{} = {}\n", "a".repeat(n), "b".repeat(n))),
        ("digits", format!("x = {}\n", "1".repeat(n))),
        ("imports", format!("use {}a\n", "a.".repeat(n))),
        ("dots", around(".", "1", "")),
        ("commas", around("1, ", "1", "")),
        ("blank lines", "\n".repeat(n)),
    ]
}

#[test]
fn nested_texts_are_parsed_and_formatted_on_a_small_stack() {
    on_small_stack(|| {
        for n in [250, 5_000] {
            for (name, text) in nested(n) {
                let start = Instant::now();
                let (tree, diagnostics) = taper::syntax::parse(&text, FileId(0));
                assert!(diagnostics.len() <= 100, "{name}: {} diagnostics", diagnostics.len());
                let _ = taper::syntax::format(&text);
                drop(tree);
                let took = start.elapsed();
                assert!(took < SOON, "{name}, {n} deep: {took:?}");
            }
        }
    });
}

#[test]
fn nested_files_are_checked_or_refused_on_a_small_stack() {
    on_small_stack(|| {
        // The deepest that are taken, and far deeper ones.
        for n in [90, 190, 100_000] {
            for (name, text) in nested(n) {
                let start = Instant::now();
                let checked = check(&text);
                if n < 100_000 {
                    checked.render();
                }
                let took = start.elapsed();
                assert!(took < SOON, "{name}, {n} deep: {took:?}");
            }
        }
    });
}

/// Programs that are short and would take for ever, or all memory; each with what the message names.
fn greedy() -> Vec<(&'static str, String)> {
    let graph = |body: &str| format!("pipeline P {{\n graph f(x: [n, 4]) -> [n, 4] {{\n{body}\nx\n }}\n}}\n");
    let twice = |start: &str, step: &str| {
        graph(&format!("v = {start}\nfor _ in range(60) {{\n v = {step}\n}}\nassert v == v"))
    };
    let mut many = String::new();
    for i in 0..2_000 {
        writeln!(many, "v{i} = {i}").unwrap();
    }
    let names = |body: &str| graph(&format!("{many}{body}"));
    let dims: Vec<String> = (0..30).map(|i| format!("a{i}")).collect();
    let sums: Vec<String> = (0..30).map(|i| format!("a{i} + a{}", (i + 1) % 30)).collect();
    vec![
        ("a list of lists", twice("[1]", "[v, v]")),
        ("a tuple of tuples", twice("(1, 1)", "(v, v)")),
        ("a record of records", twice("{ a: 1 }", "{ a: v, b: v }")),
        ("a list that doubles", twice("[1]", "[..v, ..v]")),
        ("a text that doubles", twice("\"ab\"", "v + v")),
        ("negated lists", graph("v = [1]\nfor _ in range(60) {\n v = [v, v]\n}\nw = -v\nassert w == v")),
        ("a composition that doubles", graph("v = relu -> relu\nfor _ in range(60) {\n v = v -> v\n}\nx = x -> v")),
        ("a long range", graph("v = range(7_000_000)\nfor _ in range(1000) {\n v = range(7_000_000)\n}")),
        ("a range without end", graph("for i in range(0, 9_000_000_000_000_000_000, 1) { x = x + i }")),
        ("nested fors", graph("for i in range(3000) { for j in range(3000) { v = i } }")),
        ("a comprehension of three", graph("v = [1 for i in range(900) for j in range(900) for k in range(900)]")),
        ("a list looked at often", graph("v = range(900_000)\nfor i in range(900_000) { a = sum(v) }")),
        ("a list compared often", graph("v = range(900_000)\nfor i in range(900_000) { assert v == v }")),
        ("a list cut often", graph("v = range(900_000)\nfor i in range(900_000) { a = v[1:] }")),
        ("a list zipped often", graph("v = range(900_000)\nfor i in range(900_000) { a = zip(v, v) }")),
        ("a list unpacked in a call", graph("v = range(900_000)\nfor i in range(900_000) { a = max(..v) }")),
        ("a tensor of a list", graph("v = range(900_000)\nfor i in range(900_000) { x = x + sum(tensor(v)) }")),
        ("many nodes", graph("for i in range(2_000_000) { x = x + 1 }")),
        ("many gradients", graph(
            "y = x\nfor i in range(900) { y = tanh(y) }\nfor i in range(900_000) { x = x + grad(sum(y), x) }",
        )),
        ("many names", names("for i in range(900_000) { f = fn (a) = a }")),
        ("many names called", names("fn g(a) = a\nfor i in range(900_000) { b = g(i) }")),
        ("many names in comprehensions", names("for i in range(900_000) { b = [j for j in [1]] }")),
        ("a power of a dimension", graph("v = shape(x)[0] + 1\nfor _ in range(60) {\n v = v * v\n}")),
        ("a sum of dimensions", graph("v = shape(x)[0]\nfor i in range(900_000) {\n v = (v + i) // 2\n}")),
        ("a product of dimensions", format!(
            "pipeline P {{\n graph f(x: [{}]) -> [m] {{\n y = zeros([{}])\n flatten(y, start = 0)\n }}\n}}\n",
            dims.join(", "), sums.join(", "),
        )),
        ("many axes", graph("y = x\nfor _ in range(900_000) { y = y[none] }")),
        ("a shape of many axes", graph("y = zeros([1 for _ in range(900_000)])\nfor _ in range(9000) { y = y + 1 }")),
        ("a table of many rows", graph(
            "loop y = x for t in range(2_000_000) {\n for _ in range(900_000) { t = t + 1 }\n y\n}",
        )),
        ("a function of many rows", graph(
            "loop y = x for t in range(900_000) {\n for _ in range(900_000) { t = cos(t) }\n y\n}",
        )),
        ("many columns", graph(
            "loop y = x for t in [1, 2] {\n for i in range(900_000) { y = y + (t + i) }\n y\n}",
        )),
        ("many mistakes", graph("for i in range(900_000) { assert i < 0, str(i) }")),
        ("many revelations", graph("for i in range(900_000) { reveal i }")),
        ("many unknown names", (0..20_000).map(|i| format!("a{i} = b{i}\n")).collect()),
        ("long names", format!("{} = {}\n", "a".repeat(100_000), "a".repeat(99_999) + "b")),
        ("data read often", graph("for i in range(900_000) { a = dataset(\"fashion_mnist\").image }")),
        ("many instances", format!(
            "use std.nn.{{Linear}}\n{}", graph("for i in range(900_000) { a = Linear(4) }"),
        )),
        ("many fields", "use std.nn.{Linear}\npipeline P {\n for i in range(900_000) {\n l[i] = Linear(4)\n }\n graph f(x: [n, 4]) -> [n, 4] { x }\n}\n".into()),
        ("many weights", "pipeline P {\n for i in range(900_000) {\n l.a[i] = param([4])\n }\n graph f(x: [n, 4]) -> [n, 4] { x }\n}\n".into()),
        ("recursion that forks", "fn f(n) = if n > 900 { 1 } else { f(n + 1) + f(n + 1) }\nassert f(0) > 0\n".into()),
        ("recursion over lists", "fn f(v) = f([v, v])\nassert f([1]) == 1\n".into()),
    ]
}

#[test]
fn elaboration_ends() {
    for (name, text) in greedy() {
        let start = Instant::now();
        let checked = check(&text);
        let took = start.elapsed();
        assert!(took < SOON, "{name}: {took:?}");
        assert!(checked.has_errors() || name.contains("revel"), "{name} is taken");
        // However many mistakes there are, a person has to read them.
        assert!(checked.diagnostics.len() <= 5_000, "{name}: {} diagnostics", checked.diagnostics.len());
    }
}
