//! Documents that know where they may break, and their layout in a width: Wadler, "A prettier printer"
//! (2003), with the line suffixes of Prettier for trailing comments.

use std::rc::Rc;

/// A shared document.
pub type D = Rc<Doc>;

/// A document.
#[derive(Debug)]
pub enum Doc {
    /// Text without newlines.
    Text(String),
    /// A newline if the group around it is broken, else this text.
    Line(&'static str),
    /// A newline always, after so many blank lines.
    Hard(usize),
    /// A comment that goes to the end of the line, whatever else the line still gets.
    Suffix(String),
    /// This if the group around it is broken.
    Broken(&'static str),
    /// Nothing, but the group around it is broken.
    Force,
    /// One after another.
    Concat(Vec<D>),
    /// Indented by one step after each newline.
    Nest(D),
    /// All on one line, or broken at each of its own lines.
    Group(D),
    /// A group whose forced newlines do not break the groups around it: a body in braces.
    Braces(D),
    /// What stands after `=`: on the same line; if it does not fit there and fits on the next, there.
    Value(D),
    /// Arguments: `head` on one line and `last` broken after it if that fits, else `plain`.
    Hug {
        /// Up to the last argument.
        head: D,
        /// The last argument.
        last: D,
        /// After it.
        tail: D,
        /// The same arguments, one to a line.
        plain: D,
    },
}

/// Columns of a line.
pub const WIDTH: usize = 100;
/// Columns of an indentation step.
const STEP: usize = 2;

/// Text.
pub fn text(s: impl Into<String>) -> D {
    Rc::new(Doc::Text(s.into()))
}

/// Nothing.
pub fn nil() -> D {
    text("")
}

/// One after another.
pub fn concat(parts: Vec<D>) -> D {
    Rc::new(Doc::Concat(parts))
}

/// A newline, or a space.
pub fn line() -> D {
    Rc::new(Doc::Line(" "))
}

/// A newline, or nothing.
pub fn soft() -> D {
    Rc::new(Doc::Line(""))
}

/// A newline after `blank` blank lines.
pub fn hard(blank: usize) -> D {
    Rc::new(Doc::Hard(blank))
}

/// Indented.
pub fn nest(d: D) -> D {
    Rc::new(Doc::Nest(d))
}

/// On one line if it fits.
pub fn group(d: D) -> D {
    Rc::new(Doc::Group(d))
}

/// A body in braces.
pub fn braces(d: D) -> D {
    Rc::new(Doc::Braces(d))
}

/// A trailing comment.
pub fn suffix(s: impl Into<String>) -> D {
    Rc::new(Doc::Suffix(s.into()))
}

/// A break of the group around.
pub fn force() -> D {
    Rc::new(Doc::Force)
}

/// What stands after `=`.
pub fn value(d: D) -> D {
    Rc::new(Doc::Value(d))
}

/// Only if broken.
pub fn broken(s: &'static str) -> D {
    Rc::new(Doc::Broken(s))
}

/// Whether a document takes several lines whatever its width.
pub fn many_lines(d: &Doc) -> bool {
    match d {
        Doc::Concat(all) => all.iter().any(|d| many_lines(d)),
        Doc::Nest(d) | Doc::Group(d) | Doc::Braces(d) | Doc::Value(d) => many_lines(d),
        Doc::Hug { plain, .. } => many_lines(plain),
        other => forced(other),
    }
}

/// Whether a newline inside must break the group around.
pub fn forced(d: &Doc) -> bool {
    match d {
        Doc::Hard(_) | Doc::Suffix(_) | Doc::Force => true,
        Doc::Concat(all) => all.iter().any(|d| forced(d)),
        Doc::Nest(d) | Doc::Group(d) | Doc::Value(d) => forced(d),
        Doc::Text(_) | Doc::Line(_) | Doc::Broken(_) | Doc::Braces(_) => false,
        Doc::Hug { head, .. } => forced(head),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Flat,
    Break,
}

/// Lays `doc` out.
pub fn print(doc: &D) -> String {
    let mut printer = Printer {
        out: String::new(),
        column: 0,
        indent: 0,
        suffix: String::new(),
        forced: Default::default(),
    };
    printer.run(doc);
    printer.newline(0, 0);
    let text = printer.out.trim_start_matches('\n').trim_end();
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

struct Printer {
    out: String,
    column: usize,
    /// Of the line that has just been started.
    indent: usize,
    suffix: String,
    /// What [`forced`] said of the groups met so far, by address: each is asked for by the groups around it.
    forced: std::collections::HashMap<*const Doc, bool>,
}

type Command<'a> = (usize, Mode, &'a Doc);

impl Printer {
    fn run(&mut self, doc: &D) {
        let mut stack: Vec<Command> = vec![(0, Mode::Break, doc)];
        while let Some((indent, mode, doc)) = stack.pop() {
            match doc {
                Doc::Text(s) => self.write(s),
                Doc::Line(s) if mode == Mode::Flat => self.write(s),
                Doc::Line(_) => self.newline(indent, 0),
                Doc::Hard(blank) => self.newline(indent, *blank),
                Doc::Suffix(s) => self.suffix.push_str(&format!("  {s}")),
                Doc::Broken(s) if mode == Mode::Break => self.write(s),
                Doc::Broken(_) | Doc::Force => {}
                Doc::Concat(all) => stack.extend(all.iter().rev().map(|d| (indent, mode, &**d))),
                // On one line, only braces inside have newlines, and they indent by themselves.
                Doc::Nest(d) if mode == Mode::Flat => stack.push((indent, mode, d)),
                Doc::Nest(d) => stack.push((indent + STEP, mode, d)),
                Doc::Group(d) | Doc::Braces(d) => {
                    let flat = !self.forced(d)
                        && (mode == Mode::Flat || self.fits(&[(indent, Mode::Flat, &**d)], &stack));
                    stack.push((indent, if flat { Mode::Flat } else { Mode::Break }, d));
                }
                Doc::Value(d) => {
                    let flat = [(indent, Mode::Flat, &**d)];
                    let here = self.column + 1;
                    let forced = many_lines(d);
                    let next = mode == Mode::Break
                        && !forced
                        && !self.fits_at(here, &flat, &stack)
                        && self.fits_at(indent + STEP, &flat, &stack);
                    if next {
                        self.newline(indent + STEP, 0);
                    } else {
                        self.write(" ");
                    }
                    stack.push((indent, mode, d));
                }
                Doc::Hug { head, last, tail, plain } => {
                    let (head, last, tail): (&Doc, &Doc, &Doc) = (head, last, tail);
                    let inner = match last {
                        Doc::Group(d) | Doc::Braces(d) => &**d,
                        other => other,
                    };
                    let all =
                        |m, last| [(indent, Mode::Flat, tail), (indent, m, last), (indent, Mode::Flat, head)];
                    let forced = self.forced(inner);
                    if !forced && (mode == Mode::Flat || self.fits(&all(Mode::Flat, last), &stack)) {
                        stack.extend(all(Mode::Flat, last));
                    } else if self.fits(&all(Mode::Break, inner), &stack) {
                        stack.extend(all(Mode::Break, inner));
                    } else {
                        stack.push((indent, Mode::Break, plain));
                    }
                }
            }
        }
    }

    fn forced(&mut self, d: &Doc) -> bool {
        *self.forced.entry(d).or_insert_with(|| forced(d))
    }

    fn write(&mut self, s: &str) {
        if s.is_empty() {
            return;
        }
        if self.column == 0 {
            self.out.extend(std::iter::repeat_n(' ', self.indent));
            self.column = self.indent;
        }
        self.out.push_str(s);
        self.column += s.chars().count();
    }

    fn newline(&mut self, indent: usize, blank: usize) {
        if !self.suffix.is_empty() {
            let suffix = std::mem::take(&mut self.suffix);
            let suffix = if self.column == 0 { suffix.trim_start() } else { &suffix };
            self.write(suffix);
        }
        let kept = self.out.trim_end_matches(' ').len();
        self.out.truncate(kept);
        for _ in 0..=blank {
            self.out.push('\n');
        }
        self.column = 0;
        self.indent = indent;
    }

    /// Whether `first` (in reverse order) and what follows it fit up to the next newline.
    fn fits(&self, first: &[Command], rest: &[Command]) -> bool {
        self.fits_at(if self.column == 0 { self.indent } else { self.column }, first, rest)
    }

    /// The same from column `at`.
    fn fits_at(&self, at: usize, first: &[Command], rest: &[Command]) -> bool {
        let mut left = WIDTH.saturating_sub(at);
        let mut stack: Vec<Command> = first.to_vec();
        let mut rest = rest.iter().rev();
        let mut own = true;
        loop {
            own &= !stack.is_empty();
            let Some((indent, mode, doc)) = stack.pop().or_else(|| rest.next().copied()) else { return true };
            match doc {
                Doc::Text(s) => match left.checked_sub(s.chars().count()) {
                    Some(n) => left = n,
                    None => return false,
                },
                Doc::Line(s) if mode == Mode::Flat => match left.checked_sub(s.len()) {
                    Some(n) => left = n,
                    None => return false,
                },
                Doc::Line(_) | Doc::Hard(_) => return true,
                Doc::Suffix(_) | Doc::Broken(_) | Doc::Force => {}
                Doc::Concat(all) => stack.extend(all.iter().rev().map(|d| (indent, mode, &**d))),
                Doc::Nest(d) => stack.push((indent, mode, d)),
                Doc::Value(d) => {
                    left = left.saturating_sub(1);
                    stack.push((indent, mode, d));
                }
                // A group that may still go on one line is measured so, one that only follows as if broken.
                Doc::Group(d) if own && mode == Mode::Break && !forced(d) => {
                    stack.push((indent, Mode::Flat, d))
                }
                Doc::Group(d) => stack.push((indent, mode, d)),
                Doc::Braces(d) => {
                    let known = self.forced.get(&Rc::as_ptr(d)).copied();
                    let broken = known.unwrap_or_else(|| forced(d));
                    stack.push((indent, if broken { Mode::Break } else { mode }, d));
                }
                Doc::Hug { head, last, tail, .. } => {
                    stack.push((indent, mode, tail));
                    stack.push((indent, mode, last));
                    stack.push((indent, mode, head));
                }
            }
        }
    }
}
