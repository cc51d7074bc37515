//! Named columns of numbers: as CSV, as Markdown, as curves over the first column.

use super::plot::{Line, Panel};

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// From the first row to the last.
    pub values: Vec<f64>,
}

/// A line of headings, then one for each row; numbers read back to the same bits.
pub fn csv(columns: &[Column]) -> String {
    let mut text = lines(columns, |c| c.name.clone()).join(",") + "\n";
    for row in rows(columns) {
        text += &(lines(&row, |v| format!("{v}")).join(",") + "\n");
    }
    text
}

/// A Markdown table; numbers with four digits after the point, whole ones without.
pub fn markdown(columns: &[Column]) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = row(lines(columns, |c| c.name.clone())) + &row(lines(columns, |_| "---:".into()));
    for values in rows(columns) {
        let cell = |v: &f64| if v.fract() == 0.0 { format!("{v}") } else { format!("{v:.4}") };
        text += &row(lines(&values, cell));
    }
    text
}

/// Curves over the first column; columns whose names begin alike, up to a `_`, share a panel.
pub fn panels(columns: &[Column]) -> Vec<Panel> {
    let Some((first, rest)) = columns.split_first() else { return Vec::new() };
    let mut panels: Vec<Panel> = Vec::new();
    for column in rest {
        let title = column.name.split('_').next().unwrap_or_default();
        let points = first.values.iter().copied().zip(column.values.iter().copied()).collect();
        let line = Line { name: column.name.clone(), points };
        match panels.iter_mut().find(|p| p.title == title) {
            Some(panel) => panel.lines.push(line),
            None => panels.push(Panel { title: title.into(), x: first.name.clone(), lines: vec![line] }),
        }
    }
    panels
}

fn lines<T>(of: &[T], cell: impl Fn(&T) -> String) -> Vec<String> {
    of.iter().map(cell).collect()
}

fn rows(columns: &[Column]) -> Vec<Vec<f64>> {
    let count = columns.iter().map(|c| c.values.len()).min().unwrap_or(0);
    (0..count).map(|i| columns.iter().filter_map(|c| c.values.get(i).copied()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<Column> {
        let column = |name: &str, values: &[f64]| Column { name: name.into(), values: values.into() };
        vec![column("steps", &[10.0, 20.0]), column("eta_0", &[1.0 / 3.0, 2.0]), column("eta_1", &[7.5, 8.0])]
    }

    #[test]
    fn tables_are_text() {
        assert_eq!(csv(&table()), "steps,eta_0,eta_1\n10,0.3333333333333333,7.5\n20,2,8\n");
        let expected =
            "| steps | eta_0 | eta_1 |\n| ---: | ---: | ---: |\n| 10 | 0.3333 | 7.5000 |\n| 20 | 2 | 8 |\n";
        assert_eq!(markdown(&table()), expected);
    }

    #[test]
    fn columns_of_one_name_share_a_panel() {
        let mut columns = table();
        columns.push(Column { name: "accuracy".into(), values: vec![0.5, 0.75] });
        let panels = panels(&columns);
        let shape: Vec<(&str, usize)> = panels.iter().map(|p| (p.title.as_str(), p.lines.len())).collect();
        assert_eq!(shape, [("eta", 2), ("accuracy", 1)]);
        assert_eq!(panels[1].lines[0].points, [(10.0, 0.5), (20.0, 0.75)]);
    }
}
