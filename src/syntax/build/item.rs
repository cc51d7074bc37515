//! Items of a file, members of a block, types.

use std::sync::Arc;

use pest::iterators::Pair;

use super::{Builder, Parts};
use crate::syntax::ast::*;
use crate::syntax::grammar::Rule;

impl Builder<'_> {
    /// An item, if the pair is one.
    pub fn item(&mut self, pair: Pair<Rule>) -> Item {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::use_item => self.use_item(pair),
            Rule::block_item => Item::Block(Arc::new(self.block(pair))),
            Rule::fn_decl => Item::Fn(Arc::new(self.fn_decl(pair, true))),
            Rule::space_item => {
                let doc = self.doc(span.start);
                match Parts::of(pair).find(|p| p.as_rule() == Rule::name) {
                    Some(name) => Item::Space(Space { doc, name: self.ident(&name), span }),
                    None => Item::Error(span),
                }
            }
            Rule::assert_stmt => Item::Assert(self.assert(pair)),
            Rule::let_stmt => {
                let doc = self.doc(span.start);
                Item::Let(Let { doc, ..self.let_stmt(pair) })
            }
            _ => Item::Error(span),
        }
    }

    fn use_item(&mut self, pair: Pair<Rule>) -> Item {
        let span = self.span(&pair);
        let (mut from, mut names, mut alias) = (None, Vec::new(), None);
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::string => from = Some(UseFrom::File(self.unescape(&part), self.span(&part))),
                Rule::path => from = Some(UseFrom::Path(self.idents(part))),
                Rule::use_names => names = Parts::of(part).map(|p| self.use_name(p)).collect(),
                Rule::name => alias = Some(self.ident(&part)),
                _ => {}
            }
        }
        match from {
            Some(from) => Item::Use(Use { from, names, alias, span }),
            None => Item::Error(span),
        }
    }

    fn use_name(&mut self, pair: Pair<Rule>) -> UseName {
        let span = self.span(&pair);
        let mut idents = self.idents(pair).into_iter();
        let name = idents.next().unwrap_or(Ident { name: "".into(), span });
        UseName { name, alias: idents.next() }
    }

    fn block(&mut self, pair: Pair<Rule>) -> Block {
        let span = self.span(&pair);
        let mut block = Block {
            doc: self.doc(span.start),
            pipeline: false,
            name: Ident { name: "".into(), span },
            params: Vec::new(),
            members: Vec::new(),
            span,
        };
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::kw_pipeline => block.pipeline = true,
                Rule::name => block.name = self.ident(&part),
                Rule::params => block.params = self.params(part),
                Rule::members => block.members = self.members(part),
                _ => {}
            }
        }
        block
    }

    /// `(a: int = 1, …)`.
    pub fn params(&mut self, pair: Pair<Rule>) -> Vec<Param> {
        Parts::of(pair).map(|p| self.param(p)).collect()
    }

    fn param(&mut self, pair: Pair<Rule>) -> Param {
        let span = self.span(&pair);
        let mut param = Param { name: Ident { name: "".into(), span }, ty: None, default: None, span };
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::name => param.name = self.ident(&part),
                Rule::type_ => param.ty = Some(self.type_(part)),
                Rule::expr => param.default = Some(self.expr(part)),
                _ => {}
            }
        }
        param
    }

    fn members(&mut self, pair: Pair<Rule>) -> Vec<Member> {
        let start = self.span(&pair).start as usize;
        if let Some(members) = self.grafts.members.remove(&start) {
            return members;
        }
        self.depth += 1;
        let members = Parts::of(pair).map(|p| self.member(p)).collect();
        self.depth -= 1;
        members
    }

    /// A member, if the pair is one.
    pub fn member(&mut self, pair: Pair<Rule>) -> Member {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::graph => Member::Graph(Arc::new(self.graph(pair))),
            Rule::train => Member::Train(Arc::new(self.train(pair))),
            Rule::fn_decl => Member::Fn(Arc::new(self.fn_decl(pair, true))),
            Rule::member_for => self.member_for(pair),
            Rule::member_if => self.member_if(pair),
            Rule::assert_stmt => Member::Assert(self.assert(pair)),
            Rule::reveal_stmt => match Parts::of(pair).find(|p| p.as_rule() == Rule::expr) {
                Some(expr) => Member::Reveal(self.expr(expr), span),
                None => Member::Error(span),
            },
            Rule::field => self.field(pair),
            _ => Member::Error(span),
        }
    }

    fn graph(&mut self, pair: Pair<Rule>) -> Graph {
        let span = self.span(&pair);
        let mut graph = Graph {
            doc: self.doc(span.start),
            name: None,
            params: Vec::new(),
            result: None,
            body: Body::default(),
            span,
            head: span,
        };
        for part in Parts::of(pair) {
            let end = self.span(&part).end;
            match part.as_rule() {
                Rule::name => graph.name = Some(self.ident(&part)),
                Rule::params => graph.params = self.params(part),
                Rule::result => graph.result = self.result(part),
                Rule::body => {
                    graph.body = self.body(part);
                    continue;
                }
                _ => {}
            }
            graph.head.end = end;
        }
        graph
    }

    fn train(&mut self, pair: Pair<Rule>) -> Train {
        let span = self.span(&pair);
        let mut train = Train {
            doc: self.doc(span.start),
            name: None,
            options: Vec::new(),
            body: Body::default(),
            span,
            head: span,
        };
        for part in Parts::of(pair) {
            let end = self.span(&part).end;
            match part.as_rule() {
                Rule::name => train.name = Some(self.ident(&part)),
                Rule::call => train.options = self.args(part),
                Rule::body => {
                    train.body = self.body(part);
                    continue;
                }
                _ => {}
            }
            train.head.end = end;
        }
        train
    }

    fn member_for(&mut self, pair: Pair<Rule>) -> Member {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        parts.eat(Rule::kw_for);
        let pattern = parts.eat(Rule::patterns);
        parts.eat(Rule::kw_in);
        match (pattern, parts.eat(Rule::expr), parts.eat(Rule::members)) {
            (Some(pattern), Some(iter), Some(members)) => {
                let (pattern, iter) = (self.patterns(pattern), self.expr(iter));
                Member::For(MemberFor { pattern, iter, body: self.members(members), span })
            }
            _ => Member::Error(span),
        }
    }

    fn member_if(&mut self, pair: Pair<Rule>) -> Member {
        let span = self.span(&pair);
        let (mut arms, mut otherwise, mut cond) = (Vec::new(), Vec::new(), None);
        for part in Parts::of(pair) {
            let start = self.span(&part).start;
            match part.as_rule() {
                Rule::expr => cond = Some((self.expr(part), start)),
                Rule::members => match cond.take() {
                    Some((cond, start)) => arms.push((cond, self.members(part), start)),
                    None => otherwise = self.members(part),
                },
                _ => {}
            }
        }
        for (i, (cond, then, start)) in arms.into_iter().enumerate().rev() {
            let start = if i == 0 { span.start } else { start };
            let span = crate::source::Span { start, ..span };
            otherwise = vec![Member::If(MemberIf { cond, then, otherwise, span })];
        }
        otherwise.pop().unwrap_or(Member::Error(span))
    }

    fn field(&mut self, pair: Pair<Rule>) -> Member {
        let span = self.span(&pair);
        let doc = self.doc(span.start);
        let (mut target, mut value, mut from, mut layout, mut frozen) = (None, None, None, None, false);
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::place => target = Some(self.place(part)),
                Rule::expr => value = Some(self.expr(part)),
                Rule::from_clause => {
                    from = Parts::of(part).find(|p| p.as_rule() == Rule::expr).map(|p| self.expr(p));
                }
                Rule::layout_clause => {
                    layout = Parts::of(part).find(|p| p.as_rule() == Rule::path).map(|p| self.idents(p));
                }
                Rule::kw_frozen => frozen = true,
                _ => {}
            }
        }
        match (target, value) {
            (Some(target), Some(value)) => {
                Member::Field(Field { doc, target, value, from, layout, frozen, span })
            }
            _ => Member::Error(span),
        }
    }

    /// `a[i].b`.
    pub fn place(&mut self, pair: Pair<Rule>) -> Place {
        let span = self.span(&pair);
        let mut place = Place { root: Ident { name: "".into(), span }, steps: Vec::new(), span };
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::name => place.root = self.ident(&part),
                Rule::access => place.steps.extend(self.idents(part).into_iter().map(PlaceStep::Field)),
                Rule::expr => place.steps.push(PlaceStep::Index(self.expr(part))),
                _ => {}
            }
        }
        place
    }

    /// `-> type`.
    pub fn result(&mut self, pair: Pair<Rule>) -> Option<Type> {
        Parts::of(pair).find(|p| p.as_rule() == Rule::type_).map(|p| self.type_(p))
    }

    fn type_(&mut self, pair: Pair<Rule>) -> Type {
        let span = self.span(&pair);
        let mut kind = TypeKind::Tuple(Vec::new());
        let mut space = None;
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::tensor_type => kind = self.tensor_type(part),
                Rule::tuple_type => {
                    kind = TypeKind::Tuple(Parts::of(part).filter_map(|p| self.type_field(p)).collect());
                }
                Rule::name => kind = TypeKind::Named(self.ident(&part)),
                Rule::path => space = Some(self.idents(part)),
                _ => {}
            }
        }
        Type { kind, space, span }
    }

    fn tensor_type(&mut self, pair: Pair<Rule>) -> TypeKind {
        let (mut name, mut dims) = (None, Vec::new());
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::name => name = Some(self.ident(&part)),
                Rule::dim => dims.extend(self.dim(part)),
                _ => {}
            }
        }
        TypeKind::Tensor(name, dims)
    }

    fn dim(&mut self, pair: Pair<Rule>) -> Option<DimExpr> {
        Parts::of(pair).find_map(|p| match p.as_rule() {
            Rule::name => Some(DimExpr::Spread(self.ident(&p))),
            Rule::expr => Some(DimExpr::One(self.expr(p))),
            _ => None,
        })
    }

    fn type_field(&mut self, pair: Pair<Rule>) -> Option<(Option<Ident>, Type)> {
        let mut name = None;
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::name => name = Some(self.ident(&part)),
                Rule::type_ => return Some((name, self.type_(part))),
                _ => {}
            }
        }
        None
    }
}
