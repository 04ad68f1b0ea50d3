//! The page in a real browser: it draws, and nothing goes wrong on its console.

use super::*;

#[test]
fn the_page_draws_its_plots_without_an_error() {
    let outcome = bench("produce", &["--duration", "3s", "--rounds", "1"]);
    outcome.assert_fine();
    let page = drawn(&outcome, &outcome.page());
    for words in ["Latency by percentile", "Rate over time", "Latency over time", "Where and how"] {
        assert!(page.contains(words), "{words:?} is not on the page");
    }
    let lines_drawn = page.matches("<path d=\"M").count();
    assert!(lines_drawn >= 3, "{lines_drawn} lines are drawn");
}

#[test]
fn a_sweep_draws_a_curve_and_its_steps() {
    let words = ["--from", "200", "--steps", "3", "--p99-ms", "60000", "--duration", "500ms"];
    let outcome = bench("sweep", &words);
    assert_eq!(outcome.code, Some(0), "{}", outcome.lines.join("\n"));
    let page = drawn(&outcome, &outcome.page());
    assert!(page.contains("Latency over throughput"));
    let report = outcome.report();
    let steps = report["sweep"].as_array().expect("steps");
    assert_eq!(rows(&page, "<h3>Steps</h3>"), steps.len(), "a row a step");
    // A dot a step on each of the two curves, p50 and p99.
    let figures = steps.iter().flat_map(|step| [&step["p50_us"], &step["p99_us"]]);
    let dots = figures.filter(|figure| figure.is_f64()).count();
    assert!(dots > 0, "{report}");
    assert_eq!(page.matches("<circle").count(), dots);
    assert_eq!(drawn_without_acks(&outcome).matches("<circle").count(), dots);
}

/// The page of a sweep's report in which no step got an answer in its time: they all came later.
fn drawn_without_acks(outcome: &Outcome) -> String {
    let mut report = outcome.report();
    for step in report["sweep"].as_array_mut().expect("steps") {
        step["acked_per_second"] = 0.0.into();
    }
    let [saved, page] = ["late.json", "late.html"].map(|name| outcome.directory.path().join(name));
    fs::write(&saved, report.to_string()).expect("it can be written");
    let words = [saved.display().to_string(), "--out".to_owned(), page.display().to_string()];
    let words = [&["report"], &words.each_ref().map(String::as_str)[..]].concat();
    let (status, lines) = run("iolite-bench", command(&outcome.directory, &words), DEADLINE);
    assert!(status.success(), "{}", lines.join("\n"));
    drawn(outcome, &page)
}

/// Each load has plots of its own: a bar for each of its contenders and none for those of another.
#[test]
fn a_comparison_draws_bars_and_a_page_of_several_keeps_their_loads_apart() {
    let both =
        ["--target", "iolite", "--target", "calm=iolite,relaxed", "--settle-max", "0s", "--rounds", "1"];
    let own = ["--in-flight", "2", "--own-maximum", "50"];
    let first = bench("compare", &[&both[..], &own].concat());
    first.assert_fine();
    let page = drawn(&first, &first.page());
    assert_eq!(rows(&page, "<h3>At a part of the own maximum</h3>"), 2, "a row for each contender");
    for load in ["as fast as it goes", "at 50 % of the own maximum"] {
        assert_eq!(bars(&page, &format!("Records a second: quick v1, {load}")), 2);
    }
    let second = bench("compare", &[&both[..], &["--workload", "linger-0"]].concat());
    second.assert_fine();
    let all = first.directory.path().join("all.html").display().to_string();
    let [one, two] = [&first, &second].map(|run| run.stem().with_extension("json").display().to_string());
    let (_, lines) =
        run("iolite-bench", command(&first.directory, &["report", &one, &two, "--out", &all]), DEADLINE);
    let page = drawn(&first, Path::new(&all));
    let loads = page.matches("<h3>Records a second: ").count();
    assert_eq!(loads, 3, "{}", lines.join("\n"));
    assert_eq!(bars(&page, "Records a second: linger-0 v1, 400 records/s"), 2);
}

/// The bars of the card with this title.
fn bars(page: &str, title: &str) -> usize {
    let (_, card) = page.split_once(&format!("<h3>{title}")).unwrap_or_else(|| panic!("{title:?}"));
    card.split("</svg>").next().expect("it has a drawing").matches("<rect").count()
}

/// The rows, but for the head, of the table behind this title.
fn rows(page: &str, title: &str) -> usize {
    let (_, card) = page.split_once(title).unwrap_or_else(|| panic!("{title:?} is not on the page"));
    card.split("</table>").next().expect("it has a table").matches("<tr>").count() - 1
}

/// What the browser has made of the page, which must be without an error and show something; without the code that drew it.
fn drawn(outcome: &Outcome, page: &Path) -> String {
    let picture = outcome.directory.path().join("page.png");
    let (status, lines) = browse(outcome, page, &format!("--screenshot={}", picture.display()));
    assert!(status, "{}", lines.join("\n"));
    assert!(fs::metadata(picture).is_ok_and(|file| file.len() > 20_000), "the picture shows something");
    let (status, lines) = browse(outcome, page, "--dump-dom");
    let page = lines.join("\n");
    assert!(status, "{page}");
    assert!(!page.contains(":CONSOLE"), "{page}");
    let (shown, _code) = page.split_once("<script").expect("the page has its code behind what it shows");
    shown.to_owned()
}

fn browse(outcome: &Outcome, page: &Path, action: &str) -> (bool, Vec<String>) {
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]);
    browser.args(["--hide-scrollbars", "--window-size=1280,1800", action]);
    browser.arg(format!("--user-data-dir={}", outcome.directory.path().join("profile").display()));
    browser.arg(format!("file://{}", page.display()));
    let (status, lines) = run("chromium", browser, DEADLINE);
    (status.success(), lines)
}
