//! The report as one page: a table, and bars drawn as SVG.

use super::{Better, METRICS, Metric, Report, Row, figure};

const STYLE: &str = "\
body { font: 15px/1.4 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse } td, th { padding: .15em .8em; text-align: right; border-bottom: 1px solid #ddd }
td:nth-child(-n+3), th:nth-child(-n+3) { text-align: left }
.good { color: #17692c } .bad { color: #a3262a }
svg text { font: 12px sans-serif; fill: #222 }";

/// One per label, again from the start when there are more.
const COLOURS: [&str; 6] = [
    "#4c78a8", "#e4873b", "#54a24b", "#b279a2", "#9d755d", "#7f7f7f",
];

pub(super) fn render(report: &Report) -> String {
    let plots: String = METRICS
        .iter()
        .filter(|metric| metric.plotted)
        .map(|metric| plot(report, metric))
        .collect();
    let notes: String = report
        .notes
        .iter()
        .map(|note| format!("<li>{}</li>\n", escape(note)))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Measurements</title>\n<style>\n{STYLE}\n</style></head><body>\n\
         <h1>Measurements</h1>\n{legend}{table}<ul>\n{notes}</ul>\n{plots}</body></html>\n",
        legend = legend(report),
        table = table(report),
    )
}

fn legend(report: &Report) -> String {
    let labels = report.labels.iter().enumerate().map(|(index, label)| {
        format!(
            "<span style=\"color: {}\">&#9632;</span> {} ",
            colour(index),
            escape(label)
        )
    });
    format!("<p>{}</p>\n", labels.collect::<String>())
}

fn table(report: &Report) -> String {
    let mut heading = String::from("<th>workload</th><th>figure</th><th>unit</th>");
    for label in &report.labels {
        heading.push_str(&format!("<th>{}</th>", escape(label)));
    }
    if let [first, others @ ..] = &report.labels[..] {
        for other in others {
            heading.push_str(&format!("<th>{} / {}</th>", escape(other), escape(first)));
        }
    }
    let mut rows = String::new();
    let mut last = "";
    for row in &report.rows {
        let workload = if row.workload == last {
            ""
        } else {
            &row.workload
        };
        last = &row.workload;
        rows.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td>",
            escape(workload),
            row.metric.name,
            row.metric.unit
        ));
        for value in &row.values {
            rows.push_str(&format!(
                "<td>{}</td>",
                value.map_or_else(String::new, figure)
            ));
        }
        for label in 1..report.labels.len() {
            rows.push_str(&ratio(row, label));
        }
        rows.push_str("</tr>\n");
    }
    format!("<table>\n<tr>{heading}</tr>\n{rows}</table>\n")
}

/// Coloured where the difference is more than measuring twice would give.
fn ratio(row: &Row, label: usize) -> String {
    let Some(ratio) = row.ratio(label) else {
        return "<td></td>".to_owned();
    };
    let class = match row.metric.better {
        Better::Neither => "",
        _ if (0.95..=1.05).contains(&ratio) => "",
        Better::More if ratio > 1.0 => "good",
        Better::Less if ratio < 1.0 => "good",
        _ => "bad",
    };
    format!("<td class=\"{class}\">{}</td>", figure(ratio))
}

const BAR: usize = 14;
const GAP: usize = 8;
const LEFT: usize = 190;
const LONGEST: f64 = 480.0;

/// Bars of one metric. Workloads differ by orders of magnitude, so each has the whole width for its own largest value.
fn plot(report: &Report, metric: &Metric) -> String {
    let rows: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.metric.name == metric.name)
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut shapes = String::new();
    let mut y = 0;
    for row in rows {
        let largest = row.values.iter().flatten().copied().fold(0.0, f64::max);
        shapes.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 8,
            y + BAR - 3,
            escape(&row.workload)
        ));
        for (index, value) in row.values.iter().enumerate() {
            if let Some(value) = value {
                let length = if largest > 0.0 {
                    value / largest * LONGEST
                } else {
                    0.0
                };
                shapes.push_str(&format!(
                    "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{}\">{}</text>\n",
                    BAR - 2,
                    colour(index),
                    LEFT as f64 + length + 6.0,
                    y + BAR - 3,
                    figure(*value)
                ));
            }
            y += BAR;
        }
        y += GAP;
    }
    let better = match metric.better {
        Better::More => ", more is better",
        Better::Less => ", less is better",
        Better::Neither => "",
    };
    format!(
        "<h2>{} ({}{better})</h2>\n<svg width=\"760\" height=\"{y}\" role=\"img\">\n{shapes}</svg>\n",
        metric.name, metric.unit
    )
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::{Report, tests::records};
    use super::*;

    #[test]
    fn page() {
        let page = render(&Report::new(&records()));
        for part in [
            "<th>b &amp; c / a</th>",
            "<td>get-pod</td><td>rate</td><td>/s</td><td>1000</td><td>2000</td><td class=\"good\">2.00</td>",
            "<td>idle</td><td>CPU</td><td>ms each</td><td>0</td><td></td><td></td>",
            "<h2>rate (/s, more is better)</h2>",
            "width=\"240.0\" height=\"12\" fill=\"#4c78a8\"",
            "<li>Measured on 1 x &lt;CPU&gt;.</li>",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("latency"), "nothing was measured of it");
        assert!(
            !page.contains("NaN") && !page.contains("http"),
            "nothing is loaded from elsewhere"
        );
    }
}
