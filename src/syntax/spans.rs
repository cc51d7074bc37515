//! Trees without spans, for comparing what two texts mean.

use std::sync::Arc;

use super::ast::*;
use crate::source::Span;

const NONE: Span = Span { file: crate::source::FileId(0), start: 0, end: 0 };

/// The tree with every span set to zero and without comments: equal for texts of equal meaning.
pub fn strip_spans(file: &File) -> File {
    File { doc: file.doc.clone(), items: file.items.iter().map(item).collect(), comments: Vec::new() }
}

fn item(i: &Item) -> Item {
    match i {
        Item::Use(u) => Item::Use(Use {
            from: match &u.from {
                UseFrom::Path(p) => UseFrom::Path(idents(p)),
                UseFrom::File(f, _) => UseFrom::File(f.clone(), NONE),
            },
            names: u
                .names
                .iter()
                .map(|n| UseName { name: ident(&n.name), alias: n.alias.as_ref().map(ident) })
                .collect(),
            alias: u.alias.as_ref().map(ident),
            span: NONE,
        }),
        Item::Block(b) => Item::Block(Arc::new(Block {
            doc: b.doc.clone(),
            pipeline: b.pipeline,
            name: ident(&b.name),
            params: params(&b.params),
            members: members(&b.members),
            span: NONE,
        })),
        Item::Fn(f) => Item::Fn(fn_decl(f)),
        Item::Space(s) => Item::Space(Space { doc: s.doc.clone(), name: ident(&s.name), span: NONE }),
        Item::Let(l) => Item::Let(let_(l)),
        Item::Assert(a) => Item::Assert(assert(a)),
        Item::Error(_) => Item::Error(NONE),
    }
}

fn ident(i: &Ident) -> Ident {
    Ident { name: i.name.clone(), span: NONE }
}

fn idents(list: &[Ident]) -> Vec<Ident> {
    list.iter().map(ident).collect()
}

fn params(list: &[Param]) -> Vec<Param> {
    list.iter()
        .map(|p| Param {
            name: ident(&p.name),
            ty: p.ty.as_ref().map(ty),
            default: p.default.as_ref().map(expr),
            span: NONE,
        })
        .collect()
}

fn members(list: &[Member]) -> Vec<Member> {
    list.iter().map(member).collect()
}

fn member(m: &Member) -> Member {
    match m {
        Member::Field(f) => Member::Field(Field {
            doc: f.doc.clone(),
            target: place(&f.target),
            value: expr(&f.value),
            from: f.from.as_ref().map(expr),
            layout: f.layout.as_deref().map(idents),
            frozen: f.frozen,
            span: NONE,
        }),
        Member::Graph(g) => Member::Graph(Arc::new(Graph {
            doc: g.doc.clone(),
            name: g.name.as_ref().map(ident),
            params: params(&g.params),
            result: g.result.as_ref().map(ty),
            body: body(&g.body),
            span: NONE,
            head: NONE,
        })),
        Member::Train(t) => Member::Train(Arc::new(Train {
            doc: t.doc.clone(),
            name: t.name.as_ref().map(ident),
            options: args(&t.options),
            body: body(&t.body),
            span: NONE,
            head: NONE,
        })),
        Member::Fn(f) => Member::Fn(fn_decl(f)),
        Member::For(f) => Member::For(MemberFor {
            pattern: pattern(&f.pattern),
            iter: expr(&f.iter),
            body: members(&f.body),
            span: NONE,
        }),
        Member::If(i) => Member::If(MemberIf {
            cond: expr(&i.cond),
            then: members(&i.then),
            otherwise: members(&i.otherwise),
            span: NONE,
        }),
        Member::Assert(a) => Member::Assert(assert(a)),
        Member::Reveal(e, _) => Member::Reveal(expr(e), NONE),
        Member::Error(_) => Member::Error(NONE),
    }
}

fn place(p: &Place) -> Place {
    let step = |s: &PlaceStep| match s {
        PlaceStep::Field(i) => PlaceStep::Field(ident(i)),
        PlaceStep::Index(e) => PlaceStep::Index(expr(e)),
    };
    Place { root: ident(&p.root), steps: p.steps.iter().map(step).collect(), span: NONE }
}

fn fn_decl(f: &FnDecl) -> Arc<FnDecl> {
    Arc::new(FnDecl {
        doc: f.doc.clone(),
        name: f.name.as_ref().map(ident),
        params: params(&f.params),
        result: f.result.as_ref().map(ty),
        body: body(&f.body),
        braces: f.braces,
        span: NONE,
    })
}

fn body(b: &Body) -> Body {
    Body { stmts: b.stmts.iter().map(stmt).collect(), span: NONE }
}

fn stmt(s: &Stmt) -> Stmt {
    match s {
        Stmt::Let(l) => Stmt::Let(let_(l)),
        Stmt::Expr(e) => Stmt::Expr(expr(e)),
        Stmt::Fn(f) => Stmt::Fn(fn_decl(f)),
        Stmt::For(f) => Stmt::For(For {
            pattern: pattern(&f.pattern),
            iter: expr(&f.iter),
            body: body(&f.body),
            span: NONE,
        }),
        Stmt::Watch(w) => {
            Stmt::Watch(Watch { name: ident(&w.name), value: w.value.as_ref().map(expr), span: NONE })
        }
        Stmt::Reveal(e, _) => Stmt::Reveal(expr(e), NONE),
        Stmt::Assert(a) => Stmt::Assert(assert(a)),
        Stmt::Update(u) => {
            Stmt::Update(Update { target: place(&u.target), value: expr(&u.value), span: NONE })
        }
        Stmt::Minimize(m) => Stmt::Minimize(Minimize {
            loss: expr(&m.loss),
            over: m.over.iter().map(expr).collect(),
            with: m.with.as_ref().map(expr),
            span: NONE,
        }),
        Stmt::Every(e) => Stmt::Every(Every { count: expr(&e.count), body: body(&e.body), span: NONE }),
        Stmt::Error(_) => Stmt::Error(NONE),
    }
}

fn let_(l: &Let) -> Let {
    Let { doc: l.doc.clone(), pattern: pattern(&l.pattern), value: expr(&l.value), span: NONE }
}

fn assert(a: &Assert) -> Assert {
    Assert { cond: expr(&a.cond), message: a.message.as_ref().map(expr), span: NONE }
}

fn pattern(p: &Pattern) -> Pattern {
    match p {
        Pattern::Name(i) => Pattern::Name(ident(i)),
        Pattern::Ignore(_) => Pattern::Ignore(NONE),
        Pattern::Tuple(all, _) => Pattern::Tuple(all.iter().map(pattern).collect(), NONE),
    }
}

fn args(list: &[Arg]) -> Vec<Arg> {
    list.iter()
        .map(|a| Arg { name: a.name.as_ref().map(ident), spread: a.spread, value: expr(&a.value) })
        .collect()
}

fn boxed(e: &Expr) -> Box<Expr> {
    Box::new(expr(e))
}

fn expr(e: &Expr) -> Expr {
    use ExprKind::*;
    let kind = match &e.kind {
        List(all) => List(all.iter().map(|x| Element { spread: x.spread, value: expr(&x.value) }).collect()),
        Comprehension(c) => Comprehension(Box::new(self::Comprehension {
            element: expr(&c.element),
            clauses: c
                .clauses
                .iter()
                .map(|c| Clause {
                    pattern: pattern(&c.pattern),
                    iter: expr(&c.iter),
                    cond: c.cond.as_ref().map(expr),
                })
                .collect(),
        })),
        Record(all) => Record(all.iter().map(|(n, e)| (n.as_ref().map(ident), expr(e))).collect()),
        Tuple(all) => Tuple(all.iter().map(expr).collect()),
        Paren(e) => Paren(boxed(e)),
        Unary(op, e) => Unary(*op, boxed(e)),
        Binary(op, a, b) => Binary(*op, boxed(a), boxed(b)),
        Call(f, a) => Call(boxed(f), args(a)),
        Index(x, items) => Index(boxed(x), items.iter().map(index_item).collect()),
        Field(x, name) => Field(boxed(x), ident(name)),
        Flow(a, b) => Flow(boxed(a), boxed(b)),
        If(i) => If(Box::new(self::If {
            cond: expr(&i.cond),
            then: body(&i.then),
            otherwise: i.otherwise.as_ref().map(body),
        })),
        Fn(f) => Fn(fn_decl(f)),
        Loop(l) => Loop(Arc::new(self::Loop {
            carries: l.carries.iter().map(|(n, e)| (ident(n), e.as_ref().map(expr))).collect(),
            pattern: pattern(&l.pattern),
            table: expr(&l.table),
            body: body(&l.body),
            span: NONE,
        })),
        Int(_) | Float(_) | Str(_) | Bool(_) | None | Name(_) | Error => e.kind.clone(),
    };
    Expr { kind, span: NONE }
}

fn index_item(i: &IndexItem) -> IndexItem {
    match i {
        IndexItem::At(e) => IndexItem::At(expr(e)),
        IndexItem::Range(a, b, _) => IndexItem::Range(a.as_ref().map(expr), b.as_ref().map(expr), NONE),
        IndexItem::Rest(_) => IndexItem::Rest(NONE),
    }
}

fn ty(t: &Type) -> Type {
    let kind = match &t.kind {
        TypeKind::Tensor(name, dims) => TypeKind::Tensor(
            name.as_ref().map(ident),
            dims.iter()
                .map(|d| match d {
                    DimExpr::One(e) => DimExpr::One(expr(e)),
                    DimExpr::Spread(i) => DimExpr::Spread(ident(i)),
                })
                .collect(),
        ),
        TypeKind::Named(i) => TypeKind::Named(ident(i)),
        TypeKind::Tuple(all) => {
            TypeKind::Tuple(all.iter().map(|(n, t)| (n.as_ref().map(ident), ty(t))).collect())
        }
    };
    Type { kind, space: t.space.as_deref().map(idents), span: NONE }
}
