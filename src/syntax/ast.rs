//! The syntax tree. Every node carries its span; bodies are shared (`Arc`) because elaboration keeps them
//! in function values.

use std::sync::Arc;

use crate::source::Span;

/// A name as written.
pub type Name = Arc<str>;

/// A name with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    /// The text.
    pub name: Name,
    /// Where.
    pub span: Span,
}

/// A comment line (`# …`), for the formatter. Documentation (`## …`) is part of what it documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// The text, `#` included, without the newline.
    pub text: String,
    /// Where.
    pub span: Span,
    /// Whether nothing but blanks stands before it on its line.
    pub own_line: bool,
}

/// A whole file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct File {
    /// `##` lines that stand before everything else, followed by a blank line: about the file itself.
    pub doc: Option<String>,
    /// What the file defines, in order.
    pub items: Vec<Item>,
    /// The comments, in order.
    pub comments: Vec<Comment>,
}

/// A top-level item.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `use std.nn.{Conv2d, Linear}` or `use "./decoder.taper".{Decoder}`.
    Use(Use),
    /// `block` or `pipeline`.
    Block(Arc<Block>),
    /// `fn name(…) = …`.
    Fn(Arc<FnDecl>),
    /// `space name`.
    Space(Space),
    /// `name = expr`: a constant of the file.
    Let(Let),
    /// `assert cond, "…"` at the top of a file.
    Assert(Assert),
    /// What could not be parsed; a diagnostic says why.
    Error(Span),
}

/// An import.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// Where the module is.
    pub from: UseFrom,
    /// The names taken; empty when the module itself is imported (`use std.nn`, called `nn`).
    pub names: Vec<UseName>,
    /// `as other` on a whole module.
    pub alias: Option<Ident>,
    /// The statement.
    pub span: Span,
}

/// The place an import names.
#[derive(Clone, Debug, PartialEq)]
pub enum UseFrom {
    /// `std.data.fashion_mnist`: the last part may be a module or a name of the module before it.
    Path(Vec<Ident>),
    /// `"./decoder.taper"`, relative to this file.
    File(String, Span),
}

/// One name of an import.
#[derive(Clone, Debug, PartialEq)]
pub struct UseName {
    /// The name in the module.
    pub name: Ident,
    /// `as other`.
    pub alias: Option<Ident>,
}

/// `space sd_latent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// Documentation.
    pub doc: Option<String>,
    /// Its name.
    pub name: Ident,
    /// The statement.
    pub span: Span,
}

/// `block Name(config) { members }` or `pipeline Name(config) { members }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// `##` lines before it, joined by newlines, without the marks.
    pub doc: Option<String>,
    /// Whether it is a `pipeline`.
    pub pipeline: bool,
    /// Its name.
    pub name: Ident,
    /// Configuration parameters.
    pub params: Vec<Param>,
    /// Fields, graphs, trains, functions, and static control around fields.
    pub members: Vec<Member>,
    /// The whole declaration.
    pub span: Span,
}

/// A parameter of a block, function, graph or train header.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Ident,
    /// `: type`.
    pub ty: Option<Type>,
    /// `= default`. The default `infer` (a name) marks a width learned at the first use.
    pub default: Option<Expr>,
    /// The whole parameter.
    pub span: Span,
}

/// A member of a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Member {
    /// `path = expr [from "…"] [as std.layouts.X] [frozen]`.
    Field(Field),
    /// `graph [name](inputs) [-> type] { … }`.
    Graph(Arc<Graph>),
    /// `train [name] (options) { … }`.
    Train(Arc<Train>),
    /// `fn name(…)`.
    Fn(Arc<FnDecl>),
    /// `for pattern in list { members }`.
    For(MemberFor),
    /// `if cond { members } else { members }`.
    If(MemberIf),
    /// `assert cond, "…"`.
    Assert(Assert),
    /// `reveal expr`.
    Reveal(Expr, Span),
    /// What could not be parsed.
    Error(Span),
}

/// A field: what has weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Documentation.
    pub doc: Option<String>,
    /// What is assigned.
    pub target: Place,
    /// The value.
    pub value: Expr,
    /// `from "unet/model.safetensors"`.
    pub from: Option<Expr>,
    /// `as std.layouts.NAME`.
    pub layout: Option<Vec<Ident>>,
    /// `frozen`.
    pub frozen: bool,
    /// The statement.
    pub span: Span,
}

/// Something that can be assigned: `down_blocks[i].resnets[j]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The first name.
    pub root: Ident,
    /// `[i]` and `.name`, in order.
    pub steps: Vec<PlaceStep>,
    /// The whole.
    pub span: Span,
}

/// One step of a [`Place`].
#[derive(Clone, Debug, PartialEq)]
pub enum PlaceStep {
    /// `.name`.
    Field(Ident),
    /// `[expr]`.
    Index(Expr),
}

/// `for` around members.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberFor {
    /// The loop variables.
    pub pattern: Pattern,
    /// What is walked.
    pub iter: Expr,
    /// The members.
    pub body: Vec<Member>,
    /// The whole.
    pub span: Span,
}

/// `if` around members.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberIf {
    /// The condition.
    pub cond: Expr,
    /// If true.
    pub then: Vec<Member>,
    /// If false (`else if` is a nested [`MemberIf`]).
    pub otherwise: Vec<Member>,
    /// The whole.
    pub span: Span,
}

/// A graph: what flows.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Documentation.
    pub doc: Option<String>,
    /// `None` for the graph that `instance(x)` calls.
    pub name: Option<Ident>,
    /// Inputs.
    pub params: Vec<Param>,
    /// `-> type`.
    pub result: Option<Type>,
    /// The body.
    pub body: Body,
    /// The whole.
    pub span: Span,
    /// `graph name(…) -> …`, without the body.
    pub head: Span,
}

/// A training procedure.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Documentation.
    pub doc: Option<String>,
    /// Its name, if it has one.
    pub name: Option<Ident>,
    /// `steps = 10_000, batch = 128, …`.
    pub options: Vec<Arg>,
    /// One step.
    pub body: Body,
    /// The whole.
    pub span: Span,
    /// `train name (…)`, without the body.
    pub head: Span,
}

/// A function: `fn f(x) = expr`, `fn f(x) { … }`, or without a name as a value.
#[derive(Clone, Debug, PartialEq)]
pub struct FnDecl {
    /// Documentation.
    pub doc: Option<String>,
    /// `None` for a function value.
    pub name: Option<Ident>,
    /// Parameters.
    pub params: Vec<Param>,
    /// `-> type`.
    pub result: Option<Type>,
    /// The body; `= expr` is a body of one expression.
    pub body: Body,
    /// Whether the body was written in braces.
    pub braces: bool,
    /// The whole.
    pub span: Span,
}

/// Statements; the last expression is the value.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Body {
    /// In order.
    pub stmts: Vec<Stmt>,
    /// From brace to brace.
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// `pattern = expr`.
    Let(Let),
    /// An expression; several with commas between them are a tuple.
    Expr(Expr),
    /// `fn name(…)` inside a body.
    Fn(Arc<FnDecl>),
    /// `for pattern in list { … }`: unrolled.
    For(For),
    /// `watch name = expr`, or `watch name`.
    Watch(Watch),
    /// `reveal expr`.
    Reveal(Expr, Span),
    /// `assert cond, "…"`.
    Assert(Assert),
    /// `update name = expr`.
    Update(Update),
    /// `minimize loss over fields with optimizer`.
    Minimize(Minimize),
    /// `every N { … }`.
    Every(Every),
    /// What could not be parsed.
    Error(Span),
}

/// `pattern = expr`.
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// Documentation (on a top-level constant).
    pub doc: Option<String>,
    /// What is bound.
    pub pattern: Pattern,
    /// To what.
    pub value: Expr,
    /// The statement.
    pub span: Span,
}

/// What a binding binds.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// One name.
    Name(Ident),
    /// `_`.
    Ignore(Span),
    /// `a, b` or `(a, (b, c))`.
    Tuple(Vec<Pattern>, Span),
}

/// `for` in a body.
#[derive(Clone, Debug, PartialEq)]
pub struct For {
    /// The loop variables.
    pub pattern: Pattern,
    /// What is walked.
    pub iter: Expr,
    /// The body; names bound in it outlive it.
    pub body: Body,
    /// The whole.
    pub span: Span,
}

/// `watch name = expr`.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// What it is called.
    pub name: Ident,
    /// The value; `None` means the variable of that name. With a value, the name is bound too.
    pub value: Option<Expr>,
    /// The statement.
    pub span: Span,
}

/// `assert cond, "message"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assert {
    /// Must be statically true.
    pub cond: Expr,
    /// What to say otherwise.
    pub message: Option<Expr>,
    /// The statement.
    pub span: Span,
}

/// `update name = expr`.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// A `state` field.
    pub target: Place,
    /// Its next value.
    pub value: Expr,
    /// The statement.
    pub span: Span,
}

/// `minimize loss over a, b with optimizer`.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimize {
    /// A scalar, or one value per sample.
    pub loss: Expr,
    /// The fields; empty means all of the pipeline.
    pub over: Vec<Expr>,
    /// The optimizer.
    pub with: Option<Expr>,
    /// The statement.
    pub span: Span,
}

/// `every N { calls of graphs }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Every {
    /// Steps between.
    pub count: Expr,
    /// The graphs to run.
    pub body: Body,
    /// The statement.
    pub span: Span,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
}

/// Kinds of expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `10_000`.
    Int(i64),
    /// `1e-3`.
    Float(f64),
    /// `"…"`, unescaped.
    Str(Arc<str>),
    /// `true`, `false`.
    Bool(bool),
    /// `none`.
    None,
    /// A name.
    Name(Name),
    /// `[a, ..b]`.
    List(Vec<Element>),
    /// `[e for p in xs if c]`.
    Comprehension(Box<Comprehension>),
    /// `{ beta: b, ..other }` (a spread has no name).
    Record(Vec<(Option<Ident>, Expr)>),
    /// `(a, b)`, or `a, b` as a statement.
    Tuple(Vec<Expr>),
    /// `(a)`: kept for the formatter.
    Paren(Box<Expr>),
    /// `-a`, `not a`.
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `f(a, b = c)`.
    Call(Box<Expr>, Vec<Arg>),
    /// `x[i, a:b, .., none]`.
    Index(Box<Expr>, Vec<IndexItem>),
    /// `x.name`.
    Field(Box<Expr>, Ident),
    /// `a -> b`.
    Flow(Box<Expr>, Box<Expr>),
    /// `if c { a } else { b }`; `else if` is a body of one `if`.
    If(Box<If>),
    /// `fn (x) = …`.
    Fn(Arc<FnDecl>),
    /// `loop x for t in table { … }`.
    Loop(Arc<Loop>),
    /// What could not be parsed.
    Error,
}

/// An element of a list, perhaps spread (`..xs`).
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Whether `..` stands before it.
    pub spread: bool,
    /// The element.
    pub value: Expr,
}

/// `[element for pattern in iter if cond]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Comprehension {
    /// The element.
    pub element: Expr,
    /// One or more `for … in … if …`.
    pub clauses: Vec<Clause>,
}

/// One `for … in … if …` of a comprehension.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// The variables.
    pub pattern: Pattern,
    /// What is walked.
    pub iter: Expr,
    /// The filter.
    pub cond: Option<Expr>,
}

/// `if cond { … } else { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct If {
    /// The condition.
    pub cond: Expr,
    /// If true.
    pub then: Body,
    /// If false.
    pub otherwise: Option<Body>,
}

/// `loop a, b for pattern in table { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// The carries: a name, with a first value (`x = expr`) or the variable's present one.
    pub carries: Vec<(Ident, Option<Expr>)>,
    /// The per-step numbers.
    pub pattern: Pattern,
    /// The static table: a list of numbers or of tuples.
    pub table: Expr,
    /// One step; its value is the next carry.
    pub body: Body,
    /// The whole.
    pub span: Span,
}

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// `name = …`.
    pub name: Option<Ident>,
    /// `..list` (positional) or `..record` (named).
    pub spread: bool,
    /// The value.
    pub value: Expr,
}

/// An item between `[` and `]` of an index.
#[derive(Clone, Debug, PartialEq)]
pub enum IndexItem {
    /// `i`.
    At(Expr),
    /// `a:b`, `a:`, `:b`, `:`.
    Range(Option<Expr>, Option<Expr>, Span),
    /// `..`: all axes between.
    Rest(Span),
}

/// `-`, `not`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-`.
    Neg,
    /// `not`.
    Not,
}

/// Infix operators, loosest first: `or`, `and`, comparisons, `+ -`, `* / // %`, (unary), `^`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
}

impl BinaryOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        use BinaryOp::*;
        match self {
            Or => "or",
            And => "and",
            Eq => "==",
            Ne => "!=",
            Lt => "<",
            Le => "<=",
            Gt => ">",
            Ge => ">=",
            Add => "+",
            Sub => "-",
            Mul => "*",
            Div => "/",
            FloorDiv => "//",
            Rem => "%",
            Pow => "^",
        }
    }
}

/// A type in a signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// What it is.
    pub kind: TypeKind,
    /// `in space`, a dotted name.
    pub space: Option<Vec<Ident>>,
    /// Where.
    pub span: Span,
}

/// Kinds of type.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeKind {
    /// `[n, 4, h, w]`, `i64[n, 77]`, `image[1, 28, 28]`.
    Tensor(Option<Ident>, Vec<DimExpr>),
    /// `int`, `float`, `bool`, `string`, `list`, `record`, `function`, `block`, `tensor`, `text`, `image`.
    Named(Ident),
    /// `(mu: [n, k], logvar: [n, k])`.
    Tuple(Vec<(Option<Ident>, Type)>),
}

/// One entry of a shape: `2*h`, or `..d` for any number of dimensions.
#[derive(Clone, Debug, PartialEq)]
pub enum DimExpr {
    /// An integer expression over names.
    One(Expr),
    /// `..name`.
    Spread(Ident),
}
