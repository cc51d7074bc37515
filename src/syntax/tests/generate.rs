//! Programs at random. Every choice is a byte of `choices`, and 0, which is also what comes when they are
//! used up, always chooses the simplest: so proptest's shrinking of the bytes shrinks the program.

/// Writes a program.
pub struct Generator<'a> {
    choices: &'a [u8],
    next: usize,
    out: String,
    /// How many comments have been written; each is unique.
    pub comments: usize,
    /// Whether a newline is a blank here.
    free: bool,
    depth: usize,
}

const NAMES: &[&str] =
    &["x", "y1", "unet", "in", "from", "as", "over", "with", "graph", "watch", "σ", "frozen", "step", "a_b"];

impl<'a> Generator<'a> {
    /// A program from these choices.
    pub fn program(choices: &'a [u8]) -> (String, usize) {
        let mut g = Generator { choices, next: 0, out: String::new(), comments: 0, free: false, depth: 0 };
        if g.one_in(4) {
            g.out.push_str("## About this file.\n\n");
        }
        let n = g.up_to(6);
        g.lines(n, |g| g.item());
        (g.out, g.comments)
    }

    fn byte(&mut self) -> usize {
        let byte = self.choices.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        usize::from(byte)
    }

    fn up_to(&mut self, n: usize) -> usize {
        self.byte() % (n + 1)
    }

    /// True for the last of `n` values.
    fn one_in(&mut self, n: usize) -> bool {
        self.byte() % n == n - 1
    }

    fn put(&mut self, s: &str) {
        self.out.push_str(s);
    }

    fn comment(&mut self) {
        let mark = if self.one_in(6) { "##" } else { "#" };
        self.out.push_str(&format!("{mark} c{}.\n", self.comments));
        self.comments += 1;
    }

    /// A blank; where newlines are free, sometimes one, or a comment.
    fn gap(&mut self) {
        match self.byte() % 16 {
            13 if self.free => self.put("\n"),
            14 if self.free => {
                self.put(" ");
                self.comment();
            }
            15 if self.free => {
                self.put("\n\n ");
                self.comment();
                self.put("\t");
            }
            12 => self.put("  "),
            _ => self.put(" "),
        }
    }

    /// A place where a line may break though newlines are not free, as after an operator.
    fn joint(&mut self) {
        let free = std::mem::replace(&mut self.free, true);
        self.gap();
        self.free = free;
    }

    /// `n` lines with blank lines and comments between them.
    fn lines(&mut self, n: usize, line: impl Fn(&mut Self)) {
        let free = std::mem::replace(&mut self.free, false);
        for _ in 0..n {
            for _ in 0..self.up_to(1) {
                self.put("\n");
            }
            if self.one_in(6) {
                self.comment();
            }
            line(self);
            match self.byte() % 8 {
                7 => {
                    self.put(" ");
                    self.comment();
                }
                6 => self.put("\n\n\n"),
                _ => self.put("\n"),
            }
        }
        self.free = free;
    }

    fn braces(&mut self, most: usize, line: impl Fn(&mut Self)) {
        self.put("{");
        if self.one_in(8) {
            self.put(" ");
            self.comment();
        } else {
            self.put("\n");
        }
        let n = 1 + self.up_to(most);
        self.depth += 1;
        self.lines(n, line);
        self.depth -= 1;
        self.put("}");
    }

    /// A list with commas inside brackets.
    fn list(&mut self, open: &str, close: &str, least: usize, most: usize, element: impl Fn(&mut Self)) {
        self.put(open);
        let free = std::mem::replace(&mut self.free, true);
        let n = least + self.up_to(most - least);
        for i in 0..n {
            if i > 0 {
                self.put(",");
            }
            self.gap();
            element(self);
        }
        if n > 0 && self.one_in(5) {
            self.put(",");
        }
        if self.one_in(3) {
            self.gap();
        }
        self.free = free;
        self.put(close);
    }

    fn name(&mut self) {
        let i = self.byte() % NAMES.len();
        self.put(NAMES[i]);
    }

    /// A name that may start a statement or be bound.
    fn plain_name(&mut self) {
        let i = self.byte() % 3;
        self.put(["x", "y1", "unet"][i]);
    }

    fn doc(&mut self) {
        if self.one_in(4) {
            self.put("## Documentation.\n##\n##   More.\n");
        }
    }

    fn item(&mut self) {
        match self.byte() % 8 {
            0 | 1 => self.let_(),
            2 => {
                self.doc();
                self.fn_decl();
            }
            3 => self.put("use std.nn.{A,\n B as C}"),
            4 => self.put("use \"./f.taper\" as f"),
            5 => {
                self.doc();
                self.put("space latent");
            }
            6 => self.put("assert 1 < 2, \"message\""),
            _ => {
                self.doc();
                let head = ["block B", "pipeline P"][self.byte() % 2];
                self.put(head);
                if self.one_in(2) {
                    self.params();
                }
                self.gap();
                self.braces(4, |g| g.member());
            }
        }
    }

    fn params(&mut self) {
        self.list("(", ")", 0, 3, |g| {
            g.name();
            if g.one_in(2) {
                g.put(":");
                g.gap();
                g.type_();
            }
            if g.one_in(3) {
                g.put(" =");
                g.gap();
                g.expr();
            }
        });
    }

    fn type_(&mut self) {
        let free = std::mem::replace(&mut self.free, false);
        match self.byte() % 6 {
            0 => self.put("int"),
            1 => self.put("[..d]"),
            2 => self.put("[n, 2*h + 1, (w - 1) // 3]"),
            3 => self.put("i64[n, 77] in std.latent"),
            4 => self.put("image[1, 28, 28] in unit"),
            _ => self.list("(", ")", 1, 3, |g| g.put("mu: [n, k]")),
        }
        self.free = free;
    }

    fn fn_decl(&mut self) {
        self.put("fn f");
        self.fn_rest();
    }

    fn fn_rest(&mut self) {
        self.params();
        if self.one_in(4) {
            self.put(" -> ");
            self.type_();
        }
        if self.one_in(2) {
            self.put(" ");
            self.braces(3, |g| g.stmt());
        } else {
            self.put(" =");
            self.joint();
            self.expr();
        }
    }

    fn member(&mut self) {
        let deep = self.depth > 4;
        match self.byte() % 8 {
            2 => {
                self.doc();
                self.put("graph ");
                if self.one_in(2) {
                    self.put("encode");
                }
                self.params();
                if self.one_in(3) {
                    self.put(" -> ");
                    self.type_();
                }
                self.put(" ");
                self.braces(4, |g| g.stmt());
            }
            3 => {
                self.put("train ");
                if self.one_in(2) {
                    self.put("first ");
                }
                if self.one_in(2) {
                    self.list("(", ")", 1, 3, |g| {
                        g.put("steps = ");
                        g.expr();
                    });
                }
                self.put(" ");
                self.braces(4, |g| g.stmt());
            }
            4 => {
                self.doc();
                self.fn_decl();
            }
            5 if !deep => {
                self.put("for i, m in ");
                self.expr();
                self.put(" ");
                self.braces(2, |g| g.member());
            }
            6 if !deep => {
                self.put("if ");
                self.expr();
                self.put(" ");
                self.braces(2, |g| g.member());
                if self.one_in(2) {
                    self.put("\nelse if x ");
                    self.braces(1, |g| g.member());
                }
                if self.one_in(2) {
                    self.put(" else ");
                    self.braces(1, |g| g.member());
                }
            }
            7 => self.put("reveal x"),
            _ => {
                self.doc();
                self.place();
                self.put(" =");
                self.joint();
                self.expr();
                if self.one_in(3) {
                    let gap = ["\n   ", " "][self.byte() % 2];
                    self.put(gap);
                    self.put("from \"w.safetensors\"");
                }
                if self.one_in(4) {
                    self.put(" as std.layouts.X");
                }
                if self.one_in(4) {
                    self.put(" frozen");
                }
            }
        }
    }

    fn place(&mut self) {
        self.plain_name();
        for _ in 0..self.up_to(2) {
            if self.one_in(2) {
                self.put("[i + 1]");
            } else {
                self.put(".for");
            }
        }
    }

    fn pattern(&mut self) {
        match self.byte() % 5 {
            1 => self.put("x, y1"),
            2 => self.put("(x, (y1, _))"),
            3 => self.put("x, _"),
            4 => self.put("(x,)"),
            _ => self.plain_name(),
        }
    }

    fn let_(&mut self) {
        self.pattern();
        self.put(" =");
        self.joint();
        self.expr();
        if self.one_in(6) {
            self.put(",");
            self.joint();
            self.expr();
        }
    }

    fn stmt(&mut self) {
        let deep = self.depth > 4;
        match self.byte() % 12 {
            0..=3 => self.let_(),
            4 if !deep => {
                self.put("for ");
                self.pattern();
                self.put(" in ");
                self.expr();
                self.put(" ");
                self.braces(2, |g| g.stmt());
            }
            5 => self.put("watch x"),
            6 => {
                self.put("watch x = ");
                self.expr();
            }
            7 => {
                self.put("update ");
                self.place();
                self.put(" = ");
                self.expr();
            }
            8 => {
                self.put("minimize ");
                self.expr();
                let gap = ["\n  ", " "][self.byte() % 2];
                if self.one_in(2) {
                    self.put(gap);
                    self.put("over unet,");
                    self.joint();
                    self.put("y1.x");
                }
                if self.one_in(2) {
                    self.put(gap);
                    self.put("with adamw");
                    self.args();
                }
            }
            9 if !deep => {
                self.put("every ");
                self.expr();
                self.put(" ");
                self.braces(2, |g| g.stmt());
            }
            10 => {
                self.put("assert x, \"m\"");
            }
            11 if !deep => self.fn_decl(),
            _ => {
                self.plain_name();
                for _ in 0..self.up_to(2) {
                    let gap = ["\n  ", " "][self.byte() % 2];
                    self.put(gap);
                    self.put("->");
                    self.joint();
                    self.operand();
                }
                if self.one_in(4) {
                    self.put(",");
                    self.joint();
                    self.expr();
                }
            }
        }
    }

    fn expr(&mut self) {
        self.operand();
        if self.one_in(3) {
            for _ in 0..1 + self.up_to(3) {
                const OPS: &[&str] = &["+", "-", "*", "/", "//", "%", "^", "->", "and", "or", "^"];
                let op = OPS[self.byte() % OPS.len()];
                self.gap();
                self.put(op);
                self.joint();
                self.operand();
            }
        }
    }

    fn args(&mut self) {
        self.list("(", ")", 0, 4, |g| {
            match g.byte() % 5 {
                3 => {
                    g.put("in =");
                    g.gap();
                }
                4 => g.put(".."),
                _ => {}
            }
            g.expr();
        });
    }

    fn operand(&mut self) {
        match self.byte() % 12 {
            10 => self.put("-"),
            11 => self.put("not "),
            _ => {}
        }
        self.depth += 1;
        let simple = self.depth > 7;
        match self.byte() % 24 {
            4 => self.put("10_000"),
            5 => self.put("1.5e-3"),
            6 => self.put("\"a\\n\\\"é\\\\\""),
            7 => {
                let word = ["true", "false", "none"][self.byte() % 3];
                self.put(word);
            }
            8 | 9 if !simple => self.list("[", "]", 0, 4, |g| {
                if g.one_in(6) {
                    g.put("..");
                }
                g.expr();
            }),
            10 if !simple => {
                let free = std::mem::replace(&mut self.free, true);
                self.put("[");
                self.gap();
                self.expr();
                for _ in 0..1 + self.up_to(1) {
                    self.gap();
                    self.put("for x, y1 in ");
                    self.expr();
                    if self.one_in(2) {
                        self.gap();
                        self.put("if ");
                        self.expr();
                    }
                }
                self.put("]");
                self.free = free;
            }
            11 if !simple => {
                self.list("(", ")", 2, 3, |g| g.expr());
            }
            12 if !simple => self.list("(", ")", 1, 1, |g| g.expr()),
            13 if !simple => {
                let free = std::mem::replace(&mut self.free, true);
                self.put("{ a:");
                self.joint();
                self.expr();
                for _ in 0..self.up_to(2) {
                    self.put(",");
                    self.joint();
                    let head = ["for: ", ".."][self.byte() % 2];
                    self.put(head);
                    self.expr();
                }
                self.put("\n}");
                self.free = free;
            }
            14 | 15 if !simple => {
                self.put("(fn ");
                let free = std::mem::replace(&mut self.free, true);
                self.fn_rest();
                self.free = free;
                self.put(")");
            }
            16 if !simple => {
                self.put("(if ");
                self.expr();
                self.put(" ");
                self.braces(1, |g| g.stmt());
                if self.one_in(2) {
                    self.put(" else if x ");
                    self.braces(1, |g| g.stmt());
                }
                if self.one_in(2) {
                    self.put("\nelse ");
                    self.braces(1, |g| g.stmt());
                }
                self.put(")");
            }
            17 if !simple => {
                self.put("(loop x, y1 = ");
                self.expr();
                self.put(" for ");
                self.pattern();
                self.put(" in ");
                self.expr();
                self.put(" ");
                self.braces(2, |g| g.stmt());
                self.put(")");
            }
            _ => self.name(),
        }
        for _ in 0..self.up_to(3).saturating_sub(1) {
            match self.byte() % 4 {
                0 | 1 if !simple => self.args(),
                2 if !simple => self.list("[", "]", 1, 4, |g| match g.byte() % 5 {
                    1 => g.put(".."),
                    2 => g.put(":"),
                    3 => {
                        g.put("1:");
                        g.expr();
                    }
                    4 => g.put(":x"),
                    _ => g.expr(),
                }),
                _ => self.put(".for"),
            }
        }
        self.depth -= 1;
    }
}
