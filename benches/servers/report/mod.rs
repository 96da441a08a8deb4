//! The tables, as Markdown.

pub(crate) mod threads;

use crate::experiment::{Line, Target, WHILE_BUSY};
use crate::options::Options;
use crate::outcome::{Outcome, Spread};
use crate::plots::PLOTS;
use crate::syscalls::Calls;

/// Returns the whole of `RESULTS.md`.
pub(crate) fn text(
    outcomes: &[Outcome],
    calls: &[Calls],
    machine: &[String],
    cpu: usize,
    options: &Options,
) -> String {
    let mut text = head("Results", machine, cpu, options);
    text += EXPLANATION;
    text +=
        "| load | measure | rival | backport | rival ÷ measure | backport ÷ measure | target | reached |\n";
    text += "|---|---|---|---|---|---|---|---|\n";
    for outcome in outcomes {
        for line in &outcome.experiment.lines {
            row(&mut text, outcome, line);
        }
    }
    if !calls.is_empty() {
        text += "\n## System calls of the server\n\n| per | server | in all | which |\n|---|---|---|---|\n";
    }
    for calls in calls {
        let all: f64 = calls.calls.iter().map(|call| call.1).sum();
        let each: Vec<_> = calls.calls.iter().map(|(name, each)| format!("{name} {each:.1}")).collect();
        text += &format!("| {} | {} | {all:.1} | {} |\n", calls.unit, calls.peer, each.join(", "));
    }
    if options.writes() {
        text += "\n## Plots\n";
        for plot in &PLOTS {
            text += &format!("\n![{}](plots/{})\n", plot.title, plot.file);
        }
    }
    text
}

/// Returns the whole of `RESULTS-PEERS.md`: a column for each contender.
pub(crate) fn rivals(outcomes: &[Outcome], machine: &[String], cpu: usize, options: &Options) -> String {
    let mut text = head("Other languages", machine, cpu, options);
    text +=
        "The figures of `std loop` are absolute. The others are divided by them within a round. Figures are \
        medians of the rounds.\n\n";
    let Some(first) = outcomes.first() else { return text };
    let labels: Vec<_> = first.experiment.contenders.iter().map(|contender| contender.label).collect();
    text += &format!("| load | {} |\n|---{}|\n", labels.join(" | "), "|---".repeat(labels.len()));
    for outcome in outcomes {
        for line in &outcome.experiment.lines {
            text += &format!("| {} ", line.title);
            for index in 0..labels.len() {
                let cell =
                    match (index, outcome.figure(index, line.metric), outcome.ratio(index, line.metric)) {
                        (0, Some(figure), _) => format!("{} {}", number(figure.median), line.unit),
                        (_, _, Some(ratio)) => format!("{:.2}", ratio.median),
                        _ => "failed".to_owned(),
                    };
                text += &format!("| {cell} ");
            }
            text.push_str("|\n");
        }
    }
    text
}

fn head(title: &str, machine: &[String], cpu: usize, options: &Options) -> String {
    let mut text = format!("# {title}\n\n");
    for line in machine {
        text += &format!("- {line}\n");
    }
    text += &format!("- Command: `cargo bench --bench servers{}`\n", arguments(options));
    text += &format!("- Server and load generator share CPU {cpu}; up to {} rounds\n\n", options.rounds());
    text
}

const EXPLANATION: &str = "\
CPU time is the user and system time of the server process, by its process clock. If a row does not say otherwise, \
the measure is a hand-written `std::net` loop (a thread per connection, a buffer of 64 KiB, nodelay), and the rival \
is tokio (its default runtime, the same buffer, nodelay). Figures are medians of the rounds. The contenders take \
turns, and each turn has a fresh process. A ratio is made within a round. The table shows the median of the ratios, \
with their quartiles in brackets.\n\n";

fn arguments(options: &Options) -> String {
    let mut words: Vec<String> = options.filters.clone();
    if options.quick {
        words.insert(0, "--quick".to_owned());
    }
    if options.all_peers {
        words.insert(0, "--peers all".to_owned());
    }
    if options.threads {
        words.insert(0, "threads".to_owned());
    }
    if words.is_empty() {
        String::new()
    } else {
        format!(" -- {}", words.join(" "))
    }
}

fn row(text: &mut String, outcome: &Outcome, line: &Line) {
    let contenders = &outcome.experiment.contenders;
    let last = contenders.iter().rposition(|contender| contender.label != WHILE_BUSY).unwrap_or(0);
    let figure = |index: usize| match outcome.figure(index, line.metric) {
        Some(figure) => {
            let label = contenders[index].label;
            let known = ["std loop", "tokio", "backport"].contains(&label);
            let label = if known { String::new() } else { format!(" ({label})") };
            format!("{} {}{label}", number(figure.median), line.unit).trim_end().to_owned()
        }
        None => "failed".to_owned(),
    };
    let compared = matches!(line.target, Target::Ratio(_) | Target::Compared);
    let ratio = |index: usize| if compared { outcome.ratio(index, line.metric) } else { None };
    let (rival, by_rival) = if last == 2 {
        (figure(1), ratio(1).map_or_else(|| "–".to_owned(), |ratio| format!("{:.2}", ratio.median)))
    } else {
        ("–".to_owned(), "–".to_owned())
    };
    let ours = outcome.figure(last, line.metric);
    let (target, reached) = judge(line, ours, ratio(last));
    let by_ours = ratio(last).map_or_else(
        || "–".to_owned(),
        |ratio| format!("**{:.2}** ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high),
    );
    let (title, measure, ours) = (&line.title, figure(0), figure(last));
    let cells = [title, &measure, &rival, &ours, &by_rival, &by_ours, &target, &reached.to_owned()];
    for cell in cells {
        *text += &format!("| {cell} ");
    }
    text.push_str("|\n");
}

fn judge(line: &Line, ours: Option<Spread>, ratio: Option<Spread>) -> (String, &'static str) {
    let (target, figure) = match line.target {
        Target::Ratio(limit) => (format!("≤ {limit:.2}"), ratio.map(|ratio| (ratio.median, limit + 0.005))),
        Target::RatioTo(measure, limit) => {
            (format!("≤ {limit:.2} of {measure}"), ratio.map(|ratio| (ratio.median, limit + 0.005)))
        }
        Target::AtMost(limit) => {
            (format!("≤ {} {}", number(limit), line.unit), ours.map(|ours| (ours.median, limit)))
        }
        Target::Compared | Target::None => return ("–".to_owned(), "–"),
    };
    let reached = match figure {
        Some((figure, limit)) if figure < limit => "yes",
        Some(_) => "**no**",
        None => "failed",
    };
    (target, reached)
}

/// Writes three digits. A number of more digits is rounded to a whole one.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.0995 => format!("{value:.3}"),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
