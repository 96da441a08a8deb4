//! The table of the crate with threads for busy clients only.

use super::{head, judge, number};
use crate::experiment::{Line, Target};
use crate::options::Options;
use crate::outcome::{Outcome, Spread};

/// The places of the contenders in each experiment.
const TOKIO: usize = 1;
const PER_CLIENT: usize = 2;
const WHILE_BUSY: usize = 3;

/// Returns the whole of `RESULTS-THREADS.md`.
pub(crate) fn text(outcomes: &[Outcome], machine: &[String], cpu: usize, options: &Options) -> String {
    let mut text = head("Threads for busy clients only", machine, cpu, options);
    text += EXPLANATION;
    text += "| load | std loop | tokio | per client | while busy | while busy ÷ tokio | while busy ÷ per client | target | reached |\n";
    text += "|---|---|---|---|---|---|---|---|---|\n";
    for outcome in outcomes {
        for line in &outcome.experiment.lines {
            row(&mut text, outcome, line);
        }
    }
    text
}

const EXPLANATION: &str = "\
`per client` is the crate with its default, `Threads::PerClient`. `while busy` is the same echo server with \
`Threads::WhileBusy`. The std loop and tokio are those of [RESULTS.md](RESULTS.md). CPU time is the user and system \
time of the server process, by its process clock. Figures are medians of the rounds. The contenders take turns, and \
each turn has a fresh process. A ratio is made within a round. The table shows the median of the ratios, with their \
quartiles in brackets.\n\n";

fn row(text: &mut String, outcome: &Outcome, line: &Line) {
    let figure = |index| match outcome.figure(index, line.metric) {
        Some(figure) => format!("{} {}", number(figure.median), line.unit).trim_end().to_owned(),
        None if outcome.rounds.iter().all(|round| round[index].is_empty()) => "failed".to_owned(),
        None => "–".to_owned(),
    };
    let compared = !matches!(line.target, Target::None);
    let ratio_to = |index| if compared { outcome.ratio_to(index, WHILE_BUSY, line.metric) } else { None };
    let (by_tokio, by_per_client) = (ratio_to(TOKIO), ratio_to(PER_CLIENT));
    let measure = match line.target {
        Target::RatioTo("tokio", _) => by_tokio,
        _ => by_per_client,
    };
    let (target, reached) = judge(line, outcome.figure(WHILE_BUSY, line.metric), measure);
    let cells = [
        line.title.clone(),
        figure(0),
        figure(TOKIO),
        figure(PER_CLIENT),
        figure(WHILE_BUSY),
        ratio(by_tokio),
        ratio(by_per_client),
        target,
        reached.to_owned(),
    ];
    for cell in cells {
        *text += &format!("| {cell} ");
    }
    text.push_str("|\n");
}

fn ratio(ratio: Option<Spread>) -> String {
    ratio.map_or_else(
        || "–".to_owned(),
        |ratio| format!("**{:.2}** ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high),
    )
}
