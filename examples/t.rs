use taper::source::*;
struct S;
impl Sources for S {
    fn read(&self, p: &str) -> Result<String, String> {
        std::fs::read_to_string(p).map_err(|e| e.to_string())
    }
}
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let t = std::time::Instant::now();
    let mut map = SourceMap::default();
    let mut d = vec![];
    let m = taper::resolve::load(&S, &path, &mut map, &mut d);
    eprintln!("load {:?}", t.elapsed());
    use taper::elaborate::*;
    use taper::shape::DType;
    let data = |_: &str, _: &str| {
        Ok(vec![
            DataField { name: "image".into(), dtype: DType::U8, shape: vec![1, 28, 28] },
            DataField { name: "label".into(), dtype: DType::I64, shape: vec![] },
        ])
    };
    let o = Options { set: vec![], train: vec![], data: &data, limits: Limits::default() };
    let e = elaborate(&map, &m, &o, &Request::default());
    eprintln!("elab {:?}", t.elapsed());
    d.extend(e.diagnostics);
    print!("{}", taper::diagnostic::render::render_all(&d, &map, false));
    if let Some(p) = e.program {
        println!("{} weights {}", p.name, p.weights.len());
        for e in &p.entries {
            println!(
                "{} {} nodes {:?}",
                e.name,
                e.graph.root().dag.node_count(),
                e.outputs.iter().map(|o| o.ty.to_string()).collect::<Vec<_>>()
            );
            if let Err(x) = taper::graph::validate::validate(&e.graph) {
                println!("INVALID {x}");
            }
        }
        for t in &p.trains {
            println!(
                "{} {} nodes {} extra {:?}",
                t.name,
                t.graph.root().dag.node_count(),
                t.extra.len(),
                t.watches
            );
            if let Err(x) = taper::graph::validate::validate(&t.graph) {
                println!("INVALID {x}");
            }
        }
    }
}
