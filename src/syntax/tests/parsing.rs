use std::time::{Duration, Instant};

use super::samples;
use super::*;
use crate::syntax::ast::*;
use crate::syntax::{MAX_DEPTH, MAX_TREE, strip_spans};

#[test]
fn samples_parse() {
    for (_, text) in samples::ALL {
        clean(text);
    }
}

/// The value of the first constant of a text.
fn value(text: &str) -> Expr {
    match clean(text).items.into_iter().next() {
        Some(Item::Let(l)) => l.value,
        other => panic!("{other:?}"),
    }
}

/// An expression with every operator in parentheses.
fn shown(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Name(n) => n.to_string(),
        ExprKind::Int(i) => i.to_string(),
        ExprKind::Unary(UnaryOp::Neg, a) => format!("(-{})", shown(a)),
        ExprKind::Unary(UnaryOp::Not, a) => format!("(not {})", shown(a)),
        ExprKind::Binary(op, a, b) => format!("({} {} {})", shown(a), op.symbol(), shown(b)),
        ExprKind::Flow(a, b) => format!("({} -> {})", shown(a), shown(b)),
        ExprKind::Paren(a) => shown(a),
        ExprKind::Call(f, args) => {
            format!("{}[{}]", shown(f), args.iter().map(|a| shown(&a.value)).collect::<Vec<_>>().join(" "))
        }
        ExprKind::Tuple(all) => format!("<{}>", all.iter().map(shown).collect::<Vec<_>>().join(" ")),
        other => format!("{other:?}"),
    }
}

#[test]
fn precedence() {
    for (text, tree) in [
        ("a + b * c ^ d ^ e", "(a + (b * (c ^ (d ^ e))))"),
        ("-a ^ -b", "(-(a ^ (-b)))"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b // c % d", "(((a / b) // c) % d)"),
        ("not a == b and c or d", "(((not (a == b)) and c) or d)"),
        ("a -> b + c -> d", "((a -> (b + c)) -> d)"),
        ("- - a * b", "((-(-a)) * b)"),
        ("a <= b + 1 and b != c", "((a <= (b + 1)) and (b != c))"),
        ("f(a)(b) -> g(c), d", "<(f[a][b] -> g[c]) d>"),
        ("in + from * as ^ step - graph(state, param)", "((in + (from * (as ^ step))) - graph[state param])"),
    ] {
        assert_eq!(shown(&value(&format!("x = {text}"))), tree, "{text}");
    }
}

#[test]
fn newlines_end_statements() {
    let Some(Item::Fn(f)) = clean("fn f() {\n  a = x\n  (a + 1) * 2\n}").items.into_iter().next() else {
        panic!()
    };
    assert_eq!(f.body.stmts.len(), 2);
    for same in ["x = a +\n b", "x =\n a + b", "x = a + # why\n\n b", "x = (a\n + b\n)"] {
        let expected = value("x = a + b");
        let mut got = value(same);
        if let ExprKind::Paren(inner) = got.kind {
            got = *inner;
        }
        assert_eq!(shown(&got), shown(&expected), "{same}");
    }
    assert_eq!(shown(&value("x = a\n  -> b\n\n  # then\n  -> c")), "((a -> b) -> c)");
    let list = clean("x = [\n  1,\n  fn (a) {\n    b = a\n    b\n  },\n]");
    assert_eq!(list.items.len(), 1);
    assert_eq!(clean("x = 1\r\n\r\ny = 2\r\n").items.len(), 2);
}

#[test]
fn words_are_names_where_they_can_be() {
    clean(
        "fn f(in: int, steps = 3, from = 1, as = 2, over = 3, with = 4, frozen = 5, step, image, text, state, param) {\n\
         graph = in + from\n  train = graph.if.for.loop\n  watch = as -> over\n  minimize = with\n  every = use\n\
         f(in = 3, for = 4, if = 5)\n  reveal = 3\n  reveal\n  update\n  block(pipeline)\n}",
    );
    clean(
        "block B(space: int) {\n  graph = Linear(3)\n  train.x = Linear(4)\n  graph (graph) { graph -> train.x }\n}",
    );
    clean("space = 3\nuse = 4\nblock = use\npipeline, x = block, 3");
}

#[test]
fn documentation() {
    let file =
        clean("## About.\n\n# c\n## One.\n##\n## Two.\n# d\nfn f() = 1\n## Const.\nx = 1 ## not doc\ny = 2");
    assert_eq!(file.doc.as_deref(), Some("About."));
    let docs = file.items.iter().map(|i| match i {
        Item::Fn(f) => f.doc.clone(),
        Item::Let(l) => l.doc.clone(),
        _ => None,
    });
    assert_eq!(docs.collect::<Vec<_>>(), [Some("One.\n\nTwo.".into()), Some("Const.".into()), None]);
    let comments: Vec<_> = file.comments.iter().map(|c| (c.text.as_str(), c.own_line)).collect();
    assert_eq!(comments, [("# c", true), ("# d", true), ("## not doc", false)]);
}

#[test]
fn literals() {
    assert_eq!(value("x = 10_000").kind, ExprKind::Int(10_000));
    assert_eq!(value("x = 1e-3").kind, ExprKind::Float(1e-3));
    assert_eq!(value("x = 2.50E+2").kind, ExprKind::Float(250.0));
    assert_eq!(value(r#"x = "a\n\"b\" \\ é""#).kind, ExprKind::Str("a\n\"b\" \\ é".into()));
    assert_eq!(value("x = σ").kind, ExprKind::Name("σ".into()));
}

#[test]
fn spans_lie_on_their_text() {
    let text = "x = f( a ) -> g  # c\n";
    let flow = value(text);
    assert_eq!(&text[flow.span.start as usize..flow.span.end as usize], "f( a ) -> g");
    let ExprKind::Flow(a, _) = &flow.kind else { panic!() };
    assert_eq!(&text[a.span.start as usize..a.span.end as usize], "f( a )");
}

/// Deep or long texts: each is parsed or refused, without overflow and in time that grows with the text.
#[test]
fn nesting_is_linear_and_bounded() {
    let n = 5_000;
    let cases: Vec<(&str, String)> = vec![
        ("parentheses", format!("x = {}1{}", "(".repeat(n), ")".repeat(n))),
        ("unclosed parentheses", format!("x = {}1", "(".repeat(n))),
        ("closing parentheses", format!("x = 1{}", ")".repeat(n))),
        ("mixed brackets", format!("x = {}", "([{".repeat(n))),
        ("crossed brackets", format!("x = {}{}", "([".repeat(n), ")]".repeat(n))),
        ("lists", format!("x = {}{}", "[".repeat(n), "]".repeat(n))),
        ("calls", format!("x = {}1{}", "f(".repeat(n), ")".repeat(n))),
        ("call chain", format!("x = f{}", "()".repeat(n))),
        ("fields", format!("x = f{}", ".a".repeat(n))),
        ("minus", format!("x = {}1", "-".repeat(n))),
        ("minus apart", format!("x = {}1", "- ".repeat(n))),
        ("not", format!("x = {}1", "not ".repeat(n))),
        ("sum", format!("x = 1{}", " + 1".repeat(n))),
        ("power", format!("x = 1{}", " ^ 1".repeat(n))),
        ("flow", format!("x = 1{}", " -> f".repeat(n))),
        ("functions", format!("x = {}1", "fn () = ".repeat(n))),
        ("ifs", format!("x = {}", "if ".repeat(n))),
        ("else if", format!("fn f() {{ if a {{ 1 }}{} }}", " else if b { 2 }".repeat(n))),
        ("member else if", format!("block B() {{ if a {{ x = 1 }}{} }}", " else if b { x = 2 }".repeat(n))),
        ("loops", format!("x = {}", "loop a = ".repeat(n))),
        ("loops with commas", format!("x = {}", "loop a, b = ".repeat(n))),
        ("bodies", format!("fn f() {}{}", "{ for x in y ".repeat(n), "}".repeat(n))),
        ("reveals", format!("fn f() {}{}", "{ reveal f(fn () ".repeat(n), ")}".repeat(n))),
        ("types", format!("fn f(x: {}int{}) = 1", "(".repeat(n), ")".repeat(n))),
        ("records", format!("x = {}1{}", "{a: ".repeat(n), "}".repeat(n))),
        ("patterns", format!("{}x{} = 1", "(".repeat(n), ")".repeat(n))),
        ("string", format!("x = \"{}\"", "a".repeat(n))),
        ("open strings", format!("x = {}", "\"\n".repeat(n))),
        ("graphs", "block B() {\n graph (x: int) {\n".repeat(n)),
        ("dots", format!("x = {}", "..".repeat(n))),
        ("commas", ",".repeat(n)),
        ("braces", format!("{}{}", "{".repeat(n), "}\n".repeat(n))),
        ("indented braces", format!("{}{}", "  {\n".repeat(n), " }\n".repeat(n))),
        ("comments", "#\n".repeat(n)),
        ("long list", format!("x = [{}]", "1, ".repeat(n))),
        ("many statements", format!("fn f() {{\n{}}}", "x = a + b(c) * d\n".repeat(n))),
        ("many mistakes", format!("fn f() {{\n{}}}", "x = a b\n".repeat(n))),
        ("blanks", format!("x = 1{}", " ".repeat(n))),
    ];
    for (name, text) in cases {
        let start = Instant::now();
        let (_, diagnostics) = parse(&text, FileId(0));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
        assert!(diagnostics.len() <= 100, "{name}: {}", diagnostics.len());
        let _ = crate::syntax::format(&text);
    }
    let deep = |n: usize| format!("x = {}1{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(MAX_DEPTH), FileId(0)).1.is_empty());
    let (_, diagnostics) = parse(&deep(MAX_DEPTH + 1), FileId(0));
    assert_eq!(diagnostics.iter().map(|d| d.code.0).collect::<Vec<_>>(), ["E0106"]);
    let (_, diagnostics) = parse(&format!("x = 1{}", " + 1".repeat(MAX_TREE)), FileId(0));
    assert_eq!(diagnostics.iter().map(|d| d.code.0).collect::<Vec<_>>(), ["E0106"]);
}

#[test]
fn what_parses_alone_parses_in_pieces() {
    // A mistake at the end sends the whole file through recovery; the rest must come out the same.
    for (name, text) in samples::ALL {
        let whole = strip_spans(&clean(text));
        let (file, diagnostics) = parse(&format!("{text}\nx = = 1\n"), FileId(0));
        assert_eq!(diagnostics.len(), 1, "{name}");
        let mut pieces = strip_spans(&file);
        assert!(matches!(pieces.items.pop(), Some(Item::Error(_))), "{name}");
        assert_eq!(pieces, whole, "{name}");
    }
}
