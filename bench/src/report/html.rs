//! The report as one page that needs nothing else: data, styles and the code that draws lie in it, and it opens offline.

use super::{Report, load_names};

const TEMPLATE: &str = include_str!("page.html");
const PLACE: &str = "\"@REPORTS@\"";

/// The page for these reports.
pub fn page(reports: &[Report]) -> String {
    let data = serde_json::to_string(&shown(reports)).expect("a report is made of plain data");
    // Inside of a script element only these could end it or begin a comment.
    let data = data.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    assert_eq!(TEMPLATE.matches(PLACE).count(), 1, "the template has one place for data");
    TEMPLATE.replace(PLACE, &data)
}

/// The raw histograms are in the JSON; the page has their curves.
fn shown(reports: &[Report]) -> serde_json::Value {
    let mut value = serde_json::to_value(reports).expect("a report is made of plain data");
    let contenders = |report: &mut serde_json::Value| {
        let list = report["contenders"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let strip = |mut contender: serde_json::Value| {
            for stream in contender["summary"]["streams"].as_array_mut().into_iter().flatten() {
                stream["ack_histogram"] = serde_json::Value::Null;
                stream["end_histogram"] = serde_json::Value::Null;
            }
            contender
        };
        report["contenders"] = list.into_iter().map(strip).collect();
    };
    let list = value.as_array_mut().into_iter().flatten();
    for (shown, loads) in list.zip(load_names(reports)) {
        contenders(shown);
        let named = shown["contenders"].as_array_mut().into_iter().flatten().zip(loads);
        for (shown, load) in named {
            shown["load"] = load.into();
        }
    }
    value
}
