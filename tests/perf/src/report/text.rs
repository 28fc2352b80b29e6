//! The report as a plain table.

use super::{Report, figure};

pub(super) fn render(report: &Report) -> String {
    let mut lines = vec![heading(report)];
    let mut last = "";
    for row in &report.rows {
        let workload = if row.workload == last {
            ""
        } else {
            &row.workload
        };
        last = &row.workload;
        let mut line = vec![
            workload.to_owned(),
            row.metric.name.to_owned(),
            row.metric.unit.to_owned(),
        ];
        let value = |value: &Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
        line.extend(row.values.iter().map(value));
        line.extend((1..report.labels.len()).map(|label| value(&row.ratio(label))));
        lines.push(line);
    }
    let mut text = aligned(&lines);
    for note in &report.notes {
        text.push_str(&format!("{note}\n"));
    }
    text
}

fn heading(report: &Report) -> Vec<String> {
    let mut heading: Vec<String> = ["workload", "figure", "unit"].map(str::to_owned).into();
    heading.extend(report.labels.iter().cloned());
    if let [first, others @ ..] = &report.labels[..] {
        heading.extend(others.iter().map(|other| format!("{other} / {first}")));
    }
    heading
}

/// Columns as wide as their widest cell: words to the left, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0..3 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{Report, tests::records};
    use super::*;

    #[test]
    fn table() {
        let expected = "\
workload  figure  unit         a  b & c  b & c / a
get-pod   rate    /s        1000   2000       2.00
          CPU     ms each  0.500  0.250      0.500
idle      CPU     ms each      0      -          -
Measured on 1 x <CPU>.
";
        assert_eq!(render(&Report::new(&records())), expected);
    }

    #[test]
    fn nothing_measured() {
        assert_eq!(render(&Report::new(&[])), "workload  figure  unit\n");
    }
}
